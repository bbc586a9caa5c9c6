"""A request has an end as a whole, whatever its single steps may take. The network below is played."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest

from kiva_relay.delivery import wire
from kiva_relay.delivery.wire import Deadline, Evidence
from testbed.rig import scripted_kiva
from testbed.rig.set_clock import SetClock

ANSWER = [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"o", b"k"]
TIMEOUT = {"connect": 5.0, "read": 20.0, "write": 4.0, "pool": 1.0}


class Network(httpcore.NetworkBackend, httpcore.NetworkStream):
    """A network on which each step takes a second. Keeps how long each step was given."""

    def __init__(self, clock: SetClock) -> None:
        self.clock, self.given = clock, list[tuple[str, float | None]]()
        self.left, self.comes = list[bytes](), iter(ANSWER)

    def _step(self, name: str, timeout: float | None) -> None:
        self.given.append((name, timeout))
        self.clock.passes(1)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_more: Any) -> httpcore.NetworkStream:
        self._step(f"connect {host}:{port}", timeout)
        return self

    def start_tls(
        self, _trusts: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._step(f"tls {server_hostname}", timeout)
        return self

    def read(self, _max_bytes: int, timeout: float | None = None) -> bytes:
        self._step("read", timeout)
        return next(self.comes, b"")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._step("write", timeout)
        self.left.append(buffer)

    def close(self) -> None:
        self.given.append(("close", None))

    def get_extra_info(self, _info: str) -> Any:
        return None


@pytest.fixture
def clock() -> SetClock:
    return scripted_kiva.clock()


@pytest.fixture
def network(clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network(clock)
    monkeypatch.setattr(httpcore, "SyncBackend", lambda: made)
    return made


@pytest.fixture
def asks(clock: SetClock, network: Network) -> Iterator[Callable[..., httpcore.Response]]:
    """Asks, with so many seconds for all of it."""
    deadline = Deadline(clock)
    pool = wire.pool(deadline, trusts=ssl.create_default_context(), proxy=None, keeps=0)

    def ask(seconds: float, url: str = "http://kiva.test/x", content: bytes = b"") -> httpcore.Response:
        deadline.begin(seconds)
        return pool.request("POST", url, content=content, extensions={"timeout": TIMEOUT})

    with pool:
        yield ask


def test_a_step_takes_what_is_left_and_never_more_than_its_own_time_out(
    asks: Callable[..., httpcore.Response], network: Network
) -> None:
    answer = asks(9.0, "https://kiva.test/x")
    assert (answer.status, answer.content) == (200, b"ok")
    # Nine seconds for all: connect and write may take less than is left, a read only what is left.
    assert [step for step in network.given if step[0] != "close"] == [
        ("connect kiva.test:443", 5.0),
        ("tls kiva.test", 5.0),
        ("write", 4.0),
        ("read", 6.0),
        ("read", 5.0),
        ("read", 4.0),
        ("read", 3.0),
    ]
    assert network.given[-1] == ("close", None)


@pytest.mark.parametrize(
    ("seconds", "late"),
    [
        (1.0, httpcore.ConnectTimeout),
        (2.0, httpcore.WriteTimeout),
        (3.0, httpcore.ReadTimeout),
        (5.0, httpcore.ReadTimeout),
    ],
)
def test_where_nothing_is_left_the_step_is_late(
    asks: Callable[..., httpcore.Response], network: Network, seconds: float, late: type[Exception]
) -> None:
    """The moment itself is late already: a time-out of 0 means to a socket that it may not wait at all."""
    with pytest.raises(late, match="the whole request took too long"):
        asks(seconds, "https://kiva.test/x")
    assert len([step for step in network.given if step[0] != "close"]) == seconds


def test_a_large_body_leaves_in_pieces_that_are_each_in_time(
    asks: Callable[..., httpcore.Response], network: Network
) -> None:
    """A server that takes a byte a minute was given the whole time-out for each byte."""
    body = bytes(range(256)) * 1_000
    assert asks(30.0, content=body).content == b"ok"
    assert b"".join(network.left).endswith(b"\r\n\r\n" + body)
    assert max(map(len, network.left)) <= 64 * 1024
    network.comes = iter(ANSWER)
    with pytest.raises(httpcore.WriteTimeout):
        asks(4.0, content=body)


def test_without_a_time_out_of_its_own_a_step_takes_what_is_left(clock: SetClock) -> None:
    deadline = Deadline(clock)
    deadline.begin(3.0)
    clock.passes(1)
    assert deadline.left(None, httpcore.ReadTimeout) == 2.0


def _sees(*events: tuple[str, bytes]) -> bool:
    seen = Evidence()
    for name, method in events:
        seen(f"http11.{name}", {"request": httpcore.Request(method, "http://kiva.test/x")})
    return seen.body_complete


def test_a_body_has_left_when_all_of_it_is_written() -> None:
    headers, body, written = ("send_request_headers.started", "send_request_body.started", "send_request_body.complete")
    assert not _sees()
    assert not _sees((headers, b"POST"), (body, b"POST"))
    assert _sees((headers, b"POST"), (body, b"POST"), (written, b"POST"))
    assert _sees((headers, b"POST"), (written, b"POST"), ("receive_response_headers.started", b"POST"))


def test_what_left_for_the_proxy_has_not_left_for_kiva() -> None:
    headers, written = "send_request_headers.started", "send_request_body.complete"
    asked_proxy = ((headers, b"CONNECT"), (written, b"CONNECT"))
    assert not _sees(*asked_proxy)
    assert not _sees(*asked_proxy, (headers, b"POST"))
    assert _sees(*asked_proxy, (headers, b"POST"), (written, b"POST"))


def test_a_request_that_is_tried_again_on_another_connection_begins_anew() -> None:
    headers, written = "send_request_headers.started", "send_request_body.complete"
    assert not _sees((headers, b"POST"), (written, b"POST"), (headers, b"POST"))
