from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from kiva_relay.sandbox.config import Delays
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig.partner_caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

PACE = Delays(publish_after=timedelta(hours=1), fund_after=timedelta(hours=2))


def open_sandbox(config: KivaConfig) -> Iterator[tuple[Sandbox, Caller]]:
    with (
        server.start(config=config) as running,
        Sandbox(running.url) as sandbox,
        Caller(running.url) as caller,
    ):
        yield sandbox, caller


@pytest.fixture
def paced() -> Iterator[tuple[Sandbox, Caller]]:
    yield from open_sandbox(KivaConfig(coordinator=PACE))


@pytest.fixture
def visible() -> Iterator[tuple[Sandbox, Caller]]:
    yield from open_sandbox(KivaConfig(drafts_visible=True, listing_lag=timedelta(minutes=10)))


@pytest.fixture
def plain() -> Iterator[tuple[Sandbox, Caller]]:
    yield from open_sandbox(KivaConfig())


def test_a_draft_becomes_a_loan_that_is_paid_back(paced: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = paced
    caller.draft("A-1")
    caller.draft("A-2", location="Thies: Senegal")
    assert [one["status"] for one in sandbox.loans()] == ["draft", "draft"]
    assert caller.loans("inactive")["total_records"] == 0
    sandbox.put_clock_forward(timedelta(minutes=61))
    assert [row["internal_loan_id"] for row in caller.loans("fundRaising")["data"]] == ["A-1"]
    (refused,) = sandbox.loans(status="draft")
    assert refused["refused"] == ["location: 'Thies: Senegal' is not among Kiva's locations"]
    sandbox.put_clock_forward(timedelta(hours=2))
    (row,) = caller.loans("payingBack")["data"]
    assert (row["internal_loan_id"], row["internal_client_id"]) == ("A-1", "C-A-1")
    assert caller.report({"loan_id": "A-1", "amount": 5}).json()["problems"] == []


def test_nothing_is_published_unless_asked(plain: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = plain
    for number in range(3):
        caller.draft(f"A-{number}")
    sandbox.put_clock_forward(timedelta(days=5))
    caller.use_token(caller.token()["access_token"])
    assert caller.loans("fundRaising")["total_records"] == 0
    assert sandbox.publish("A-1") == {"published": 1, "refused": {}}
    assert sandbox.publish_all(status="payingBack")["published"] == 2
    assert sandbox.state()["loans"] == {"fundRaising": 1, "payingBack": 2}


def test_a_group_loan_is_known_by_its_own_id(plain: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = plain
    members = [{"loan_id": f"M-{number}", "client_id": f"C-{number}", "amount": 100.5} for number in (1, 2)]
    caller.post(
        "loan_draft",
        {"internal_loan_id": "G-1", "internal_client_id": "GC", "group_name": "Takku", "entreps": members},
    )
    sandbox.publish_all()
    (row,) = caller.loans("fundRaising")["data"]
    assert (row["internal_loan_id"], row["name"], row["borrower_count"]) == ("G-1", "Takku", 2)
    assert row["loan_local_price"] == "201.00"


def test_drafts_are_listed_late_where_they_are_listed(visible: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = visible
    caller.draft("A-1")
    assert caller.loans("inactive")["total_records"] == 0
    sandbox.put_clock_forward(timedelta(minutes=11))
    caller.draft("A-2")
    assert [row["internal_loan_id"] for row in caller.loans("inactive")["data"]] == ["A-1"]


def test_a_deleted_draft_is_gone_and_the_ledger_says_so(plain: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = plain
    uuid = caller.draft("A-1").json()["loan_draft_uuid"]
    sandbox.delete_draft(uuid)
    assert sandbox.publish_all()["published"] == 0
    assert [record["note"] for record in sandbox.ledger()] == ["deleted"]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        sandbox.delete_draft(uuid)


def test_statuses_move_by_the_mis_id_whatever_stands_in_it(plain: tuple[Sandbox, Caller]) -> None:
    sandbox, caller = plain
    sandbox.seed_loans([{"internal_loan_id": "LOAN/12/2024"}, {"internal_loan_id": "LOAN/12/2024"}])
    sandbox.set_status("LOAN/12/2024", "defaulted")
    assert caller.loans("defaulted")["total_records"] == 2
    assert len(sandbox.loans(loan_id="LOAN/12/2024")) == 2
