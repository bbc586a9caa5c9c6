"""Three pages for machines: /metrics for Prometheus, /healthz (it runs) and /readyz (it can work)."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from kiva_relay import log, meter
from kiva_relay.config import value
from kiva_relay.errors import RelayError
from kiva_relay.frozen import dataclass

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = log.get(__name__)


@dataclass(frozen=True)
class HttpServer:
    """The pages, served by threads until `close`."""

    url: str
    _server: _Server
    _thread: threading.Thread
    _end: socket.socket

    def close(self) -> None:
        """Stop answering, and give the port back."""
        self._end.close()
        self._thread.join()
        self._server.server_close()


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
        server = _Server((host, port), pages(missing))
    except OSError as error:
        raise RelayError(
            f"metrics.listen: nothing can listen on {listen}: {error.strerror or error}.",
            hint=f"sudo ss -ltnp 'sport = :{port}'      tells who does; metrics.listen: off does without.",
        ) from None
    end, ended = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(server, ended), name="exporter", daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    return HttpServer(f"http://{shown}:{server.server_address[1]}", server, thread, end)


def _serve(server: _Server, ended: socket.socket) -> None:
    """Answer until the other end of `ended` is closed. The library's own loop wakes up to see whether it should end."""
    with ended, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while all(key.fileobj is server for key, _ in selector.select()):
            server.handle_request()


def pages(missing: Callable[[], Sequence[str]]) -> WSGIApplication:
    """The three pages as a WSGI application; `missing` as for `start`."""
    metrics: WSGIApplication = make_wsgi_app(meter.registry)  # type: ignore[no-untyped-call, unused-ignore]

    def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/healthz":
                status, text = HTTPStatus.OK, "running\n"
            case "/readyz":
                status, text = _ready(missing)
            case _:
                status, text = HTTPStatus.NOT_FOUND, "here are /metrics, /healthz and /readyz\n"
        body = text.encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """A page; of one that is asked for by HEAD, all but the body."""
        if environ["REQUEST_METHOD"] != "HEAD":
            return page(environ, start_response)
        page({**environ, "REQUEST_METHOD": "GET"}, start_response)
        return []

    return answer


def _ready(missing: Callable[[], Sequence[str]]) -> tuple[HTTPStatus, str]:
    try:
        lacks = missing()
    except Exception:  # noqa: BLE001 - wsgiref would write its words, which may be personal, to standard error
        _log.exception("a page could not be made")
        return HTTPStatus.INTERNAL_SERVER_ERROR, "it could not be found out; see the log\n"
    status = HTTPStatus.SERVICE_UNAVAILABLE if lacks else HTTPStatus.OK
    return status, "".join(f"{line}\n" for line in lacks or ["ready"])


class _Handler(WSGIRequestHandler):
    """Answers one connection. A scrape every 15 seconds is no news."""

    timeout = 10  # seconds

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server calls it so
        """Keep quiet."""


class _Server(ThreadingWSGIServer):
    """prometheus-client's threading server, on IPv4 or IPv6."""

    timeout = 0  # somebody who is gone again by now is not waited for

    def __init__(self, address: tuple[str, int], app: WSGIApplication) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Take the port, without asking DNS for the name of this machine, as the standard library does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Somebody who hangs up in the middle of an answer is no news."""
