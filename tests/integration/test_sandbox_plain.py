"""The stand-in of the product: Kiva without faults, looked at and not moved."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from kiva_relay.sandbox import server
from kiva_relay.sandbox.config import Delays, SandboxConfig
from kiva_relay.sandbox.state import SandboxState
from testbed.kiva.control import Sandbox
from testbed.rig.partner_caller import Caller, draft_body
from testbed.rig.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = Delays(publish_after=timedelta(0), fund_after=timedelta(0))


@pytest.fixture
def running() -> Iterator[server.SandboxServer[SandboxState]]:
    with server.start(server.plain(SandboxConfig(coordinator=AT_ONCE))) as one:
        yield one


def test_it_takes_what_kiva_takes_and_shows_what_it_took(running: server.SandboxServer[SandboxState]) -> None:
    with Caller(running.url) as caller, Sandbox(running.url) as sandbox:
        receipt = caller.draft("A-1").json()
        caller.draft("A-2", location="Thies: Senegal")
        assert [loan["internal_loan_id"] for loan in caller.loans("payingBack")["data"]] == ["A-1"]
        assert caller.report({"loan_id": "A-1", "amount": 5}).json()["problems"] == []
        draft, _, position = sandbox.ledger()
        assert (draft["body"], draft["receipt"], draft["answer"]) == (draft_body("A-1"), receipt, "answered")
        assert position["loan_ids"] == ["A-1"]
        (refused,) = sandbox.loans(status="draft")
        assert refused["refused"] == ["location: 'Thies: Senegal' is not among Kiva's locations"]
        assert [call["status"] for call in sandbox.requests()] == [200] * 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "faults"),
        ("POST", "loans"),
        ("POST", "publish"),
        ("POST", "clock"),
        ("PATCH", "loans/A-1"),
        ("DELETE", "drafts/1"),
        ("GET", "state"),
    ],
)
def test_nothing_of_it_is_moved_by_hand(running: server.SandboxServer[SandboxState], method: str, path: str) -> None:
    answer = httpx.request(method, f"{running.url}/sandbox/{path}", json={"kind": "drop_after"}, trust_env=False)
    assert answer.status_code in (404, 405)


def test_a_call_whose_caller_hangs_up_is_not_taken(running: server.SandboxServer[SandboxState]) -> None:
    with Caller(running.url) as caller, Sandbox(running.url) as sandbox:
        host, port = running.url.removeprefix("http://").split(":")
        token = caller.http.headers["authorization"]
        head = (
            f"POST /v3/partner/123/loan_draft HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\n"
            "content-type: application/json\r\ncontent-length: 5000\r\n\r\n{"
        )
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(head.encode())
        eventually(lambda: sandbox.requests()[-1]["outcome"] == "caller_left")
        assert sandbox.ledger() == []
