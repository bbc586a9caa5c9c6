from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kiva_relay.sandbox.server import SandboxServer
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.kiva.state import KivaState
from testbed.rig import patience
from testbed.rig.partner_caller import SCOPES, Caller, draft_body

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def running() -> Iterator[SandboxServer[KivaState]]:
    with server.start() as one:
        yield one


@pytest.fixture
def sandbox(running: SandboxServer[KivaState]) -> Iterator[Sandbox]:
    with Sandbox(running.url) as one:
        yield one


@pytest.fixture
def caller(running: SandboxServer[KivaState]) -> Iterator[Caller]:
    with Caller(running.url) as one:
        yield one


def test_a_token_as_kiva_gives_it(caller: Caller) -> None:
    token = caller.token()
    assert token["scope"] == SCOPES
    assert (token["token_type"], token["expires_in"], token["partnerId"]) == ("bearer", 43199, "123")
    assert caller.token(scope="")["scope"] == SCOPES


def test_fewer_scopes_than_asked_and_what_they_forbid() -> None:
    config = KivaConfig(scopes=("read:loans",))
    with server.start(config=config) as one, Caller(one.url) as caller:
        assert caller.token()["scope"] == "read:loans"
        assert caller.draft("A-1").status_code == 403
        assert caller.loans("payingBack")["total_records"] == 0


def test_credentials_and_audience_that_are_not_known() -> None:
    config = KivaConfig(client_id="client", client_secret="secret")
    with server.start(config=config) as one, Caller(one.url) as caller:
        assert caller.ask_token(client_secret="wrong").status_code == 401
        assert caller.ask_token(client_id="clïent").status_code == 401
        assert caller.ask_token(client_secret="").status_code == 401
        assert caller.ask_token(audience="https://elsewhere").status_code == 403
        assert caller.ask_token(grant_type="password").status_code == 400


def test_bad_tokens_are_401_and_expired_ones_403(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.put_clock_forward(timedelta(hours=13))
    assert caller.draft("A-1").status_code == 403
    caller.use_token("nonsense")
    assert caller.draft("A-1").status_code == 401
    del caller.http.headers["authorization"]
    assert caller.draft("A-1").status_code == 401
    assert sandbox.ledger() == []


@pytest.mark.parametrize("what", ["loan_draft", "repayments", "journals"])
def test_another_partner_does_not_exist(caller: Caller, what: str) -> None:
    caller.partner = "124"
    assert caller.post(what, {}).status_code == 404
    assert caller.http.get("/v3/partner/124/loans?status=payingBack").status_code == 404
    assert caller.http.get("/v3/partner/124/config/themes").status_code == 404
    assert caller.http.get("/v2/partner/123/loans?status=payingBack").status_code == 404


def test_a_draft_is_kept_whole_and_no_duplicate_is_noticed(caller: Caller, sandbox: Sandbox) -> None:
    photo = "data:image/png;base64," + "A" * 100_000
    body = draft_body("LOAN/12/2024", image_encoded=photo, nobody_knows_this=1)
    headers = {"idempotency-key": "same"}
    receipts = [caller.http.post("/v3/partner/123/loan_draft", json=body, headers=headers).json() for _ in "ab"]
    assert receipts[0]["loan_draft_uuid"] != receipts[1]["loan_draft_uuid"]
    records = sandbox.ledger(resource="loan_draft")
    assert [record["body"] for record in records] == [body, body]
    assert [record["receipt"] for record in records] == receipts
    assert [record["number"] for record in records] == [1, 2]
    assert {record["answer"] for record in records} == {"answered"}
    assert [entry["idempotency_key"] for entry in sandbox.requests() if entry["record"]] == ["same", "same"]
    assert len(sandbox.ledger(loan_id="LOAN/12/2024", bodies=False)) == 2


def test_digits_arrive_as_they_were_sent(caller: Caller, sandbox: Sandbox) -> None:
    content = b'{\r\n "entreps": [{"loan_id": "A-1", "amount": 1234567890123.40}]\r\n}'
    headers = {"content-type": "application/json"}
    assert caller.http.post("/v3/partner/123/loan_draft", content=content, headers=headers).status_code == 200
    assert str(sandbox.ledger()[0]["body"]["entreps"][0]["amount"]) == "1234567890123.40"


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("loan_draft", []),
        ("loan_draft", {"entreps": {}}),
        ("loan_draft", {"entreps": [{"amount": "12"}]}),
        ("loan_draft", {"entreps": [{"loan_id": 12}]}),
        ("loan_draft", {"client_waiver_signed": "yes"}),
        ("loan_draft", {"activity_id": 1.5}),
        ("loan_draft", {"disburse_time": "23/11/2026"}),
        ("loan_draft", {"not_pictured": ["true"]}),
        ("repayments", [{"loan_id": "A-1", "amount": 1}]),
        ("repayments", {"repayments": []}),
        ("repayments", {"repayments": [{"loan_id": "A-1"}]}),
        ("repayments", {"repayments": [{"amount": 1}]}),
        ("repayments", {"repayments": [{"loan_id": str(number), "amount": 1} for number in range(301)]}),
        ("journals", []),
        ("journals", {"journals": [{"internal_loan_id": "A-1"}]}),
        ("journals", "text"),
    ],
)
def test_a_body_of_another_shape_is_refused_and_not_kept(
    caller: Caller, sandbox: Sandbox, what: str, document: object
) -> None:
    answer = caller.post(what, document)
    assert answer.status_code == 400
    assert answer.json().keys() == {"code", "message"}
    assert sandbox.ledger() == []


def test_what_is_not_json_is_refused(caller: Caller) -> None:
    url = "/v3/partner/123/loan_draft"
    json = {"content-type": "application/json"}
    assert caller.http.post(url, content=b"{", headers=json).status_code == 400
    assert caller.http.post(url, content='{"location": "Thiès"}'.encode("latin-1"), headers=json).status_code == 400
    assert caller.http.post(url, content=b"{}").status_code == 415
    assert caller.http.post(url, content=b"{}", headers=json).status_code == 200


def test_positions_are_answered_loan_by_loan(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.seed_loans([
        {"internal_loan_id": "A-1", "price": "1000.00"},
        {"internal_loan_id": "A-2", "status": "defaulted"},
        {"internal_loan_id": "A-3", "status": "ended"},
    ])  # fmt: skip
    answer = caller.report(
        {"loan_id": "A-1", "amount": 1000.5, "client_id": "C-1"},
        {"loan_id": "A-2", "amount": 0},
        {"loan_id": "A-2", "amount": 1},
        {"loan_id": "A-3", "amount": 5},
        {"loan_id": "A-4", "amount": 5},
    )
    receipt = answer.json()
    assert answer.status_code == 200
    assert receipt.keys() == {"code", "message", "upload_id", "problems"}
    assert [(problem["loan_id"], problem["severity"]) for problem in receipt["problems"]] == [
        ("A-1", "warning"),
        ("A-2", "error"),
        ("A-3", "error"),
        ("A-4", "error"),
    ]
    (record,) = sandbox.ledger(resource="repayment")
    assert record["loan_ids"] == ["A-1", "A-2", "A-3", "A-4"]
    assert record["body"]["repayments"][0]["amount"] == Decimal("1000.5")


@pytest.mark.parametrize("path", ["partner", "partners"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_journals_in_both_spellings_wait_for_a_person(
    caller: Caller, sandbox: Sandbox, path: str, *, wrapped: bool
) -> None:
    rows = [{"internal_loan_id": "A-1", "subject": "News", "body": "The cow is well."}]
    document: object = {"journals": rows} if wrapped else rows
    answer = caller.http.post(f"/v3/{path}/123/journals", json=document)
    assert answer.status_code == 201
    assert sandbox.ledger()[0]["note"] == ""
    assert caller.http.get(answer.json()["confirm_url"]).status_code == 200
    assert [(one["note"], one["receipt"]) for one in sandbox.ledger()] == [("confirmed", answer.json())]


def test_other_spellings_of_answers() -> None:
    config = KivaConfig(spelling="camel", receipts="list")
    with server.start(config=config) as one, Caller(one.url) as caller, Sandbox(one.url) as sandbox:
        sandbox.seed_loans([{"internal_loan_id": "A-1"}])
        assert "loanDraftUuid" in caller.draft("A-2").json()
        (receipt,) = caller.report({"loan_id": "A-9", "amount": 1}).json()
        assert receipt["problems"][0]["loanId"] == "A-9"
        page = caller.loans("payingBack")
        assert page["totalRecords"] == 1
        assert page["data"][0]["internalLoanId"] == "A-1"


def test_every_loan_is_found_page_by_page_and_by_query(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.seed_loans(
        {"internal_loan_id": f"A/{number:04}", "name": "Ngọc Ánh", "price": "1500.00", "currency": "KES"}
        for number in range(650)
    )
    pages = [caller.loans("payingBack", offset=offset, limit=300) for offset in (0, 300, 600)]
    found = [row["internal_loan_id"] for page in pages for row in page["data"]]
    assert {page["total_records"] for page in pages} == {650}
    assert sorted(found) == [f"A/{number:04}" for number in range(650)]
    assert len(caller.loans("payingBack")["data"]) == 20
    assert caller.loans("payingback")["total_records"] == 0
    assert caller.loans("payingBack", query="a/0649")["total_records"] == 1
    assert caller.loans("payingBack", query="ngọc")["total_records"] == 650
    row = caller.loans("payingBack", query="A/0649")["data"][0]
    assert (row["loan_local_price"], row["loan_price"], row["partner_id"]) == ("1500.00", "11.54", 123)
    assert caller.loans("payingBack", query=row["kiva_id"])["total_records"] == 1


@pytest.mark.parametrize("query", [{}, {"limit": "301"}, {"limit": "0"}, {"offset": "-1"}, {"offset": "x"}])
def test_a_query_that_makes_no_sense(caller: Caller, query: dict[str, str]) -> None:
    status = {"status": "payingBack"} if query else {}
    assert caller.http.get("/v3/partner/123/loans", params=status | query).status_code == 400


def test_kivas_lists(caller: Caller) -> None:
    def items(name: str) -> list[dict[str, Any]]:
        document = caller.http.get(f"/v3/partner/123/config/{name}").json()
        assert document["message"] == f"Found {len(document[name])} value(s) for configuration '{name}'"
        assert document["code"] == "api.success"
        found: list[dict[str, Any]] = document[name]
        return found

    locations = items("locations")
    assert {"country": "Senegal", "location": "Thiès", "full_name": "Thiès: Senegal"} in locations
    assert {one["country"] for one in locations} >= {"Kenya", "Vietnam", "Peru", "Philippines", "Lebanon"}
    assert len({one["activity_id"] for one in items("activities")}) == len(items("activities"))
    assert {"theme_type_id": 48, "theme_type": "General"} in items("themes")
    assert any(one["currency"] == "XOF" and one["language_code"] == "fr" for one in items("locales"))
    assert caller.http.get("/v3/partner/123/config/sectors").status_code == 404


def test_twenty_thousand_records_are_read_by_the_page(running: SandboxServer[KivaState], sandbox: Sandbox) -> None:
    sandbox.seed_loans({"internal_loan_id": f"A-{number}"} for number in range(20_000))
    page = httpx.get(f"{running.url}/sandbox/loans?limit=10", timeout=patience.seconds(5)).json()
    assert len(page["loans"]) == 10
    assert page["total"] == 20_000
    assert len(sandbox.loans(status="payingBack")) == 20_000


def test_only_sensible_orders_are_taken(sandbox: Sandbox) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="Did you mean 'drop_after'"):
        sandbox.fault("drop_afer")
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        sandbox.set_status("A-1", "ended")
    with pytest.raises(httpx.HTTPStatusError, match="unknown field 'loan_id'"):
        sandbox.seed_loans([{"loan_id": "A-1"}])
    with pytest.raises(httpx.HTTPStatusError, match="internal_loan_id"):
        sandbox.seed_loans([{}])
