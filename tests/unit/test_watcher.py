"""Who watches from outside is asked once, in time, by the proxy of the environment, and nothing of the answer is read."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import httpcore
import pytest

from kiva_relay import errors
from kiva_relay.clock import SystemClock
from kiva_relay.delivery import watcher


class Watcher(http.server.BaseHTTPRequestHandler):
    """Answers by the number in its path, and then goes on for ever."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        self.send_response(int(self.path.rpartition("/")[2].partition("?")[0]))
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def log_message(self, *_args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    Watcher.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Watcher) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
def test_it_is_asked_once_and_no_redirect_is_followed(server: http.server.ThreadingHTTPServer, status: int) -> None:
    there = f"127.0.0.1:{server.server_port}"
    assert watcher.tell(f"http://{there}/ping/{status}?a=1", clock=SystemClock(), environ={}) == status
    assert Watcher.asked == [(f"/ping/{status}?a=1", there)]


def test_by_the_proxy_of_the_environment(server: http.server.ThreadingHTTPServer) -> None:
    environ = {"http_proxy": f"http://127.0.0.1:{server.server_port}"}
    assert watcher.tell("http://watcher.test/200", clock=SystemClock(), environ=environ) == 200
    assert Watcher.asked == [("http://watcher.test/200", "watcher.test")]


def test_nobody_there_and_a_proxy_that_makes_no_sense() -> None:
    with pytest.raises(httpcore.ConnectError):
        watcher.tell("http://127.0.0.1:9/", clock=SystemClock(), environ={})
    with pytest.raises(errors.UsageError, match="all_proxy"):
        watcher.tell("http://127.0.0.1:9/", clock=SystemClock(), environ={"all_proxy": "socks5://127.0.0.1:9"})


def test_one_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_SECONDS", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Watcher) as silent:  # it listens, and serves nobody
        began = time.monotonic()
        with pytest.raises(httpcore.ReadTimeout):
            watcher.tell(f"http://127.0.0.1:{silent.server_port}/200", clock=SystemClock(), environ={})
        assert time.monotonic() - began >= 0.2
