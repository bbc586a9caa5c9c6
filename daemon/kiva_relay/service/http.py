"""Three pages for machines: /metrics for Prometheus, /healthz (it runs) and /readyz (it can work)."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder

from kiva_relay import log, meter
from kiva_relay.config import value
from kiva_relay.errors import RelayError

_log = log.get(__name__)

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class HttpServer:
    """The pages, served by threads until `close`."""

    url: str
    _http: ThreadingHTTPServer
    _thread: threading.Thread

    def close(self) -> None:
        """Stop answering, and give the port back."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def start(listen: str, *, missing: Callable[[], Sequence[str]]) -> HttpServer:
    """Serve the pages.

    Args:
        listen: `127.0.0.1:9478`; port 0 takes a free one.
        missing: what keeps the relay from working, one sentence each; empty when it is ready. Called for each
            look at /readyz, in a thread of its own.

    Raises:
        RelayError: nothing can listen there.
    """
    host, port = value.address(listen)

    try:
        http = _Http((host, port), missing)
    except OSError as error:
        raise RelayError(
            f"metrics.listen: nothing can listen on {listen}: {error.strerror or error}.",
            hint=f"sudo ss -ltnp 'sport = :{port}'      tells who does; metrics.listen: off does without.",
        ) from None
    thread = threading.Thread(target=http.serve_forever, args=(0.1,), name="exporter", daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    return HttpServer(f"http://{shown}:{http.server_address[1]}", http, thread)


class _Http(ThreadingHTTPServer):
    """Answers each question in a thread, which never keeps the process from ending."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], missing: Callable[[], Sequence[str]]) -> None:
        self.missing = missing
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Page)

    def server_bind(self) -> None:
        """Take the port, without asking DNS for the name of this machine, as the standard library does."""
        TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong in an answer; one who hangs up in the middle is no news."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):
            _log.error("a page could not be made", exc_info=True)


class _Page(BaseHTTPRequestHandler):
    """Answers GET and HEAD; knows three paths."""

    server_version = "kiva-relay"
    sys_version = ""
    timeout = 10
    server: _Http

    def do_GET(self) -> None:
        """Answer one question."""
        status, kind, body = self._answer(urlsplit(self.path).path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        match path:
            case "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                return HTTPStatus.OK, kind, encode(meter.registry)
            case "/healthz":
                return HTTPStatus.OK, _TEXT, b"running\n"
            case "/readyz":
                missing = self.server.missing()
                status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
                return status, _TEXT, "".join(f"{line}\n" for line in missing or ["ready"]).encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"here are /metrics, /healthz and /readyz\n"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server calls it so
        """Keep quiet: a scrape every 15 seconds is no news."""
