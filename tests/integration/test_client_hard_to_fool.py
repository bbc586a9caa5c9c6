"""The HTTP client against real sockets: proxies, codings, drips, cookies."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiva_relay import __version__
from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import document, outcome
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.document import NotUnderstood
from kiva_relay.delivery.outcome import Outcome
from testbed.rig import configuration, patience, raw_server
from testbed.rig.outboxes import NOW
from testbed.rig.raw_server import http

KEY = "k"


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva


def at(kiva: Kiva, url: str, *, read: float = 20.0, **changes: Any) -> Kiva:
    timeout = kiva.timeout.model_copy(update={"read": timedelta(seconds=patience.seconds(read))})
    return kiva.model_copy(update={"api_url": url, "token_url": f"{url}/token", "timeout": timeout} | changes)


def posted(kiva: Kiva, environ: Mapping[str, str] | None = None) -> Answer:
    made = Client(kiva, environ=environ or {})
    try:
        return made.post("/x", b'{"amount":1}', token="t", key=KEY)
    finally:
        made.close()


def becomes(answer: Answer) -> Outcome:
    return outcome.decide(answer, shape=False, now=NOW).outcome


# ---------------------------------------------------------------- what is sent, and what is kept


def test_it_says_who_it_is_and_asks_for_no_coding(kiva: Kiva) -> None:
    with raw_server.serving(lambda connection, _request: connection.sendall(http(b"{}"))) as server:
        assert document.read(posted(at(kiva, server.url))) == {}
    head = server.requests[0].lower()
    assert f"user-agent: kiva-relay/{__version__} (partner 123)".encode() in head
    assert b"accept-encoding: identity" in head
    assert b"authorization: bearer t" in head
    assert b"connection: close" in head
    assert server.requests[0].endswith(b'{"amount":1}')


def test_no_cookie_is_kept_and_no_redirect_followed(kiva: Kiva) -> None:
    def serve(connection: socket.socket, _request: bytes) -> None:
        more = (f"Location: http://127.0.0.1:{server.port}/other", "Set-Cookie: a=b; Path=/")
        connection.sendall(http(b"{}", *more, status="302 Found"))

    with raw_server.serving(serve) as server:
        made = Client(at(kiva, server.url), environ={})
        answers = [made.get("/x", token="t"), made.get("/x", token="t"), made.form(f"{server.url}/token", {"a": "b"})]
        made.close()
    assert [answer.status for answer in answers] == [302, 302, 302]
    assert len(server.requests) == 3
    assert all(b"cookie" not in request.lower() for request in server.requests)


def test_five_kilobytes_stay_five_kilobytes(kiva: Kiva) -> None:
    bomb = gzip.compress(gzip.compress(b" " * 50_000_000))
    reply = http(bomb, "Content-Encoding: gzip, gzip")
    with raw_server.serving(lambda connection, _request: connection.sendall(reply)) as server:
        found = posted(at(kiva, server.url))
    assert (found.status, found.read_whole, found.content) == (200, False, b"")
    assert isinstance(document.read(found), NotUnderstood)
    assert becomes(found) is Outcome.IN_DOUBT


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_a_slow_drip_ends(kiva: Kiva, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """One byte now and then passes every time-out of a single read; the request as a whole has an end."""

    def serve(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"H" if not start else b" ")
            threading.Event().wait(0.02)

    with raw_server.serving(serve) as server:
        made = Client(at(kiva, server.url), environ={})
        monkeypatch.setattr(made, "_longest", 1.0)
        found = made.post("/x", b"{}", token="t", key=KEY)
        made.close()
    assert found.body_complete
    assert not found.read_whole
    assert "ReadTimeout" in (found.error or "")
    assert becomes(found) is Outcome.IN_DOUBT


# ---------------------------------------------------------------- proxies


def _close(_connection: socket.socket, _request: bytes) -> None:
    """Without a word."""


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 403 Forbidden\r\n\r\n", http(b"who?", status="407 Proxy Authentication Required"), http(b"", status="502 Bad Gateway"), b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"]
)  # fmt: skip
def test_what_a_proxy_refuses_was_surely_not_processed(kiva: Kiva, reply: bytes) -> None:
    """The trace tells of the CONNECT's own body as well: behind a proxy each of these was in doubt."""
    with raw_server.serving(lambda connection, _request: connection.sendall(reply)) as server:
        found = posted(at(kiva, "https://partner-api.example", proxy=server.url))
    assert server.requests[0].startswith(b"CONNECT partner-api.example:443")
    assert (found.status, found.body_complete) == (None, False)
    assert becomes(found) is Outcome.NOT_PROCESSED


def test_a_proxy_that_hangs_has_not_processed_it_either(kiva: Kiva) -> None:
    def hang(connection: socket.socket, _request: bytes) -> None:
        connection.recv(1)

    with raw_server.serving(hang) as server:
        found = posted(at(kiva, "https://partner-api.example", read=0.2, proxy=server.url))
    assert "ReadTimeout" in found.words
    assert becomes(found) is Outcome.NOT_PROCESSED


def test_what_left_through_a_proxy_and_was_lost_is_in_doubt(kiva: Kiva) -> None:
    with raw_server.serving(_close) as server:
        found = posted(at(kiva, "http://partner-api.example", proxy=server.url))
    assert found.body_complete
    assert becomes(found) is Outcome.IN_DOUBT
