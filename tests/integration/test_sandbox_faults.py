from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from testbed.kiva import odd, server
from testbed.kiva.control import Sandbox
from testbed.rig import patience
from testbed.rig.partner_caller import Caller, draft_body
from testbed.rig.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with server.start() as running, Sandbox(running.url) as one:
        yield one


@pytest.fixture
def caller(sandbox: Sandbox) -> Iterator[Caller]:
    with Caller(sandbox.url) as one:
        yield one


def traced(caller: Caller, document: object) -> tuple[list[str], Exception]:
    """What httpx saw of a draft that fails."""
    seen: list[str] = []
    trace = {"trace": lambda name, info: seen.append(name.partition(".")[2])}
    with pytest.raises(httpx.TransportError) as caught:
        caller.http.post("/v3/partner/123/loan_draft", json=document, extensions=trace)
    return seen, caught.value


def last(sandbox: Sandbox) -> dict[str, Any]:
    return sandbox.requests()[-1]


@pytest.mark.parametrize("reset", [False, True])
def test_dropped_before_anything_was_applied(sandbox: Sandbox, caller: Caller, *, reset: bool) -> None:
    sandbox.fault("drop_before", on="loan_draft", reset=reset)
    seen, why = traced(caller, draft_body("A-1"))
    assert "send_request_body.complete" in seen
    assert isinstance(why, httpx.ReadError if reset else httpx.RemoteProtocolError)
    assert sandbox.ledger() == []
    assert (last(sandbox)["outcome"], last(sandbox)["status"]) == ("dropped_before", None)
    assert caller.draft("A-1").status_code == 200


def test_applied_and_the_answer_lost(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("drop_after", on="loan_draft")
    seen, _ = traced(caller, draft_body("A-1"))
    assert "send_request_body.complete" in seen
    assert "receive_response_headers.complete" not in seen
    (record,) = sandbox.ledger()
    assert (record["answer"], record["loan_ids"]) == ("answer_lost", ["A-1"])
    assert last(sandbox)["record"] == record["number"]


def test_half_an_answer(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("cut_answer", on="loan_draft")
    seen, _ = traced(caller, draft_body("A-1"))
    assert "receive_response_headers.complete" in seen
    assert "receive_response_body.complete" not in seen
    assert [record["answer"] for record in sandbox.ledger()] == ["answer_lost"]


def test_aborted_while_the_body_is_sent(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("drop_in_body", on="loan_draft")
    seen, _ = traced(caller, draft_body("A-1", image_encoded="A" * 8_000_000))
    assert "send_request_body.failed" in seen
    assert sandbox.ledger() == []
    assert last(sandbox)["outcome"] == "dropped_in_body"


def test_a_caller_that_hangs_up_in_mid_body_is_not_applied(sandbox: Sandbox, caller: Caller) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    head = f"POST /v3/partner/123/loan_draft HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5000\r\n\r\n{{"
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head.encode())
    eventually(lambda: last(sandbox)["outcome"] == "caller_left")
    assert sandbox.ledger() == []


def test_a_slow_answer_is_lost_to_a_caller_that_gives_up(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("slow", on="loan_draft", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        caller.http.post("/v3/partner/123/loan_draft", json=draft_body("A-1"), timeout=0.1)
    eventually(sandbox.ledger)
    eventually(lambda: [record["answer"] for record in sandbox.ledger()] == ["answer_lost"])


def test_a_late_call_lands_after_its_caller_has_gone(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("slow", on="loan_draft", seconds=patience.seconds(0.5), late=True)
    with pytest.raises(httpx.ReadTimeout):
        caller.http.post("/v3/partner/123/loan_draft", json=draft_body("A-1"), timeout=0.1)
    assert sandbox.ledger() == []
    eventually(sandbox.ledger)
    eventually(lambda: sandbox.ledger()[0]["answer"] == "answer_lost")


@pytest.mark.parametrize("applied", [False, True])
def test_another_status(sandbox: Sandbox, caller: Caller, *, applied: bool) -> None:
    sandbox.fault("status", status=503, retry_after=7, applied=applied)
    answer = caller.draft("A-1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert [record["answer"] for record in sandbox.ledger()] == ["answer_lost"] * applied
    sandbox.fault("status", status=502, body="<html>Bad gateway</html>")
    gateway = caller.draft("A-1")
    assert gateway.headers["content-type"].startswith("text/html")
    assert "retry-after" not in gateway.headers


def test_garbage_in_a_200(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("garbage", applied=True)
    answer = caller.draft("A-1")
    assert (answer.status_code, answer.text[:9]) == (200, "<!doctype")
    assert [record["answer"] for record in sandbox.ledger()] == ["answer_lost"]


def test_tokens_revoked(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("revoke_tokens", on="loan_draft")
    assert [caller.draft("A-1").status_code for _ in "ab"] == [401, 401]
    caller.use_token(caller.token()["access_token"])
    assert caller.draft("A-1").status_code == 200
    sandbox.fault("revoke_tokens", on="loan_draft", status=403)
    assert caller.draft("A-1").status_code == 403


def test_a_scope_withdrawn_and_given_back(sandbox: Sandbox, caller: Caller) -> None:
    number = sandbox.fault("forbid_scope", scope="create:loan_draft")
    assert caller.draft("A-1").status_code == 403
    assert "create:loan_draft" not in caller.token()["scope"]
    assert caller.loans("payingBack")["total_records"] == 0
    sandbox.clear_faults(number)
    assert caller.draft("A-1").status_code == 200


def test_problems_as_ordered(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.seed_loans([{"internal_loan_id": "A-1"}, {"internal_loan_id": "A-2"}])
    problem = {"code": "X1", "details": "No", "severity": "error"}
    sandbox.fault("problem", loan_id="A-2", problem=problem)
    assert caller.report({"loan_id": "A-1", "amount": 1}).json()["problems"] == []
    assert caller.report({"loan_id": "A-2", "amount": 1}).json()["problems"] == [{"loan_id": "A-2", **problem}]
    sandbox.fault("problem", problem=problem)
    sandbox.fault("problem", problem={"loan_id": "Z-9", **problem})
    found = caller.report({"loan_id": "A-1", "amount": 1}).json()["problems"]
    assert found == [problem, {"loan_id": "Z-9", **problem}]


def test_a_fault_for_one_loan_of_several(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("status", status=500, loan_id="A-2")
    assert [caller.draft(loan_id).status_code for loan_id in ("A-1", "A-2", "A-2")] == [200, 500, 200]
    assert [(fault["seen"], fault["fired"]) for fault in sandbox.faults()] == [(1, 1)]


def test_a_connection_lost_is_followed_by_a_good_one(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("drop_after", on="post", every=2)
    for number in range(1, 9):
        try:
            caller.draft(f"A-{number}")
        except httpx.RemoteProtocolError:
            assert number % 2 == 0
    lost = [record["answer"] == "answer_lost" for record in sandbox.ledger()]
    assert lost == [False, True] * 4


def test_tokens_can_fail_too(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fault("drop_before", on="token")
    with pytest.raises(httpx.RemoteProtocolError):
        caller.ask_token()
    assert caller.ask_token().status_code == 200


def test_closing_does_not_wait_for_a_slow_answer() -> None:
    with (
        server.start() as running,
        Sandbox(running.url) as sandbox,
        Caller(running.url, timeout=patience.seconds(20)) as caller,
    ):
        sandbox.fault("slow", on="loan_draft", seconds=60)
        outcome: list[object] = []
        thread = threading.Thread(target=lambda: outcome.append(caller.draft("A-1")))
        thread.start()
        eventually(sandbox.ledger)
        began = time.monotonic()
        running.close()
        thread.join()
        assert time.monotonic() - began < patience.seconds(5)


@pytest.mark.parametrize("name", [*odd.ODD])
def test_each_odd_answer_is_given_and_applied_or_not_as_it_says(sandbox: Sandbox, caller: Caller, name: str) -> None:
    """What an odd answer to a draft looks like is the reader's business; what became of the draft stands in the ledger."""
    sandbox.fault("odd", answer=name, on="loan_draft")
    (struck,) = sandbox.faults()
    with caller.http.stream("POST", "/v3/partner/123/loan_draft", json=draft_body("A-1")) as found:
        assert b"".join(found.iter_raw())
    if "loan_draft" in struck["on"]:
        assert len(sandbox.ledger()) == odd.ODD[name].applied
    else:
        assert found.status_code == 200
