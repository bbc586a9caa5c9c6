"""What a request to Kiva carries, and where it goes. The network is played: only its last step is replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import httpcore
import pytest

from kiva_relay import __version__
from kiva_relay.config import loader
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery import client as client_room
from kiva_relay.delivery import outcome
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.outcome import Outcome
from testbed.rig import configuration, scripted_kiva

JSON = "application/json; charset=utf-8"


def url(request: httpcore.Request) -> str:
    there = request.url
    port = "" if there.port is None else f":{there.port}"
    return f"{there.scheme.decode()}://{there.host.decode()}{port}{there.target.decode()}"


def content(request: httpcore.Request) -> bytes:
    assert isinstance(request.stream, Iterable)
    return b"".join(request.stream)


def headers(request: httpcore.Request) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in request.headers}


class Network:
    """Keeps each request as it would have left, and answers what it is told."""

    def __init__(self) -> None:
        self.left: list[httpcore.Request] = []
        self.answer = httpcore.Response(200, content=b'{"a":1}')

    def __call__(self, _transport: object, request: httpcore.Request) -> httpcore.Response:
        self.left.append(request)
        return self.answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", lambda *args: made(*args))
    return made


@pytest.fixture(params=["http://kiva.test/base", "http://kiva.test/base/"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    kiva = loader.load(configuration.write(tmp_path, text=text), environ={}).kiva
    made = Client(kiva.model_copy(update={"api_url": request.param}))
    yield made
    made.close()


def test_a_post_goes_under_the_base_with_its_key_on_a_connection_of_its_own(client: Client, network: Network) -> None:
    found = client.post("/v3/partner/123/loan_draft", b'{"amount":1}', token="t", key="k")
    (left,) = network.left
    assert (left.method, url(left), content(left)) == (
        b"POST",
        "http://kiva.test/base/v3/partner/123/loan_draft",
        b'{"amount":1}',
    )
    names = ("Authorization", "Content-Type", "Connection", "Idempotency-Key")
    assert [headers(left)[name] for name in names] == ["Bearer t", JSON, "close", "k"]
    assert headers(left)["User-Agent"].startswith(f"kiva-relay/{__version__} ")
    assert (found.status, found.content) == (200, b'{"a":1}')


def test_a_get_goes_under_the_base_with_its_questions(client: Client, network: Network) -> None:
    client.get("/v3/partner/123/loans", token="t", params={"status": "issue", "limit": 1})
    (left,) = network.left
    assert (left.method, url(left)) == (b"GET", "http://kiva.test/base/v3/partner/123/loans?status=issue&limit=1")
    assert headers(left)["Authorization"] == "Bearer t"
    assert "Idempotency-Key" not in headers(left)


def test_a_form_goes_to_its_own_address_without_a_token(client: Client, network: Network) -> None:
    client.form("http://login.test/oauth/token", {"client_id": "me", "scope": "read:loans create:loan_draft"})
    (left,) = network.left
    assert (left.method, url(left)) == (b"POST", "http://login.test/oauth/token")
    assert content(left) == b"client_id=me&scope=read%3Aloans+create%3Aloan_draft"
    assert "Authorization" not in headers(left)
    assert headers(left)["Content-Length"] == str(len(content(left)))


@pytest.mark.parametrize("named", ["kiva.test", "kiva.test:8443", "[::1]:8765", "[fd00::1]"])
def test_the_host_is_named_as_it_is_written(kiva: Kiva, network: Network, named: str) -> None:
    """Of an IPv6 address with its brackets, and never with a name and password."""
    for written in (f"https://{named}", f"https://me:secret@{named}/base"):
        asked = Client(kiva.model_copy(update={"api_url": written}), environ={})
        asked.get("/x", token="t")
        asked.close()
        assert headers(network.left[-1])["Host"] == named


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_draft_does_not_follow_a_redirection(client: Client, network: Network, status: int) -> None:
    """It may have been taken where it was sent to; at the other address it would be a second one."""
    network.answer = httpcore.Response(status, headers={"Location": "http://elsewhere.test/"})
    assert client.post("/x", b"{}", token="t", key="k").status == status
    assert len(network.left) == 1


@pytest.fixture
def kiva(tmp_path: Path) -> Kiva:
    text = configuration.WRITTEN.replace("{env: KIVA_SECRET}", "'a secret'")
    return loader.load(configuration.write(tmp_path, text=text), environ={}).kiva


def test_a_loop_gone_wild_is_not_kivas_to_find_out(
    kiva: Kiva, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "MOST_AN_HOUR", 3)
    clock = scripted_kiva.clock()
    client = Client(kiva, clock=clock, environ={})

    def asked() -> Answer:
        return client.post("/x", b"", token="t", key="k")

    assert [asked().status for _ in range(4)] == [200, 200, 200, None]
    refused = asked()
    assert refused.words == "not asked: more than 3 requests within an hour"
    assert (refused.body_complete, refused.read_whole) == (False, False)
    assert outcome.decide(refused, shape=False, now=clock.now()).outcome is Outcome.NOT_PROCESSED
    clock.passes(1_199)
    assert asked().status is None
    clock.passes(1)
    assert [asked().status for _ in range(2)] == [200, None], "a third of an hour is one of three"
    clock.passes(100_000)
    assert [asked().status for _ in range(4)] == [200, 200, 200, None], "what was not used is not saved up"
    assert len(network.left) == 7
    client.close()


def test_a_request_as_a_whole_may_take_what_its_steps_may_take_together(
    kiva: Kiva, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then never exceeds the time-out of a single read."""
    clock = scripted_kiva.clock()

    class Drips(httpcore.MockStream):
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            clock.passes(1)
            return super().read(max_bytes, timeout)

    class Network(httpcore.MockBackend):
        def connect_tcp(self, *_args: object, **_more: object) -> httpcore.NetworkStream:
            return Drips([b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", *[b" "] * 9_999])

    monkeypatch.setattr(httpcore, "SyncBackend", lambda: Network([]))
    client = Client(kiva.model_copy(update={"api_url": "http://kiva.test"}), clock=clock, environ={})
    began = clock.monotonic()
    found = client.get("/x", token="t")
    client.close()
    together = kiva.timeout.connect + kiva.timeout.write + kiva.timeout.read
    assert clock.monotonic() - began == together.total_seconds()
    assert (found.status, found.read_whole) == (200, False)
    assert "the whole request took too long" in found.words
