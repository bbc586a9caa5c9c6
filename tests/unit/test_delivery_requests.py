"""What a request to Kiva carries, and where it goes. The network is played: only its last step is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kiva_relay import __version__
from kiva_relay.config import loader
from kiva_relay.delivery.client import Client
from testbed.rig import configuration

JSON = "application/json; charset=utf-8"


class Network:
    """Keeps each request as it would have left, and answers what it is told."""

    def __init__(self) -> None:
        self.left: list[httpx.Request] = []
        self.answer = httpx.Response(200, json={"a": 1})

    def __call__(self, _transport: object, request: httpx.Request) -> httpx.Response:
        self.left.append(request)
        return self.answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *args: made(*args))
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
    assert (left.method, str(left.url), left.content) == (
        "POST",
        "http://kiva.test/base/v3/partner/123/loan_draft",
        b'{"amount":1}',
    )
    names = ("Authorization", "Content-Type", "Connection", "Idempotency-Key")
    assert [left.headers[name] for name in names] == ["Bearer t", JSON, "close", "k"]
    assert left.headers["User-Agent"].startswith(f"kiva-relay/{__version__} ")
    assert (found.status, found.content) == (200, b'{"a":1}')


def test_a_get_goes_under_the_base_with_its_questions(client: Client, network: Network) -> None:
    client.get("/v3/partner/123/loans", token="t", params={"status": "issue", "limit": 1})
    (left,) = network.left
    assert (left.method, str(left.url)) == ("GET", "http://kiva.test/base/v3/partner/123/loans?status=issue&limit=1")
    assert left.headers["Authorization"] == "Bearer t"
    assert "Idempotency-Key" not in left.headers


def test_a_form_goes_to_its_own_address_without_a_token(client: Client, network: Network) -> None:
    client.form("http://login.test/oauth/token", {"client_id": "me", "scope": "read:loans create:loan_draft"})
    (left,) = network.left
    assert (left.method, str(left.url)) == ("POST", "http://login.test/oauth/token")
    assert left.content == b"client_id=me&scope=read%3Aloans+create%3Aloan_draft"
    assert "Authorization" not in left.headers


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_draft_does_not_follow_a_redirection(client: Client, network: Network, status: int) -> None:
    """It may have been taken where it was sent to; at the other address it would be a second one."""
    network.answer = httpx.Response(status, headers={"Location": "http://elsewhere.test/"})
    assert client.post("/x", b"{}", token="t", key="k").status == status
    assert len(network.left) == 1
