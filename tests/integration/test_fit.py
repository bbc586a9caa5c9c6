"""A MIS that is upgraded under the relay: one mapping stands still, the others go on, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kiva_relay.capture import fit, vanished
from kiva_relay.capture.cycle import Capture
from kiva_relay.outbox import hold
from kiva_relay.outbox.database import Outbox
from kiva_relay.source import rest
from testbed.institution.branch import KIVA_FUND
from testbed.rig.site import Site

DRAFTS = "loan_draft.individual"


@pytest.fixture
def capture(house: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Capture]:
    """An capture that has read everything and never rests after a failure."""
    monkeypatch.setattr(rest, "REST", 0.0)
    monkeypatch.setattr(fit, "TRY_AGAIN", 0.0)
    with house.relay() as relay:
        relay.once()
        yield relay.capture_loop.capture()


def loan(house: Site) -> str:
    """A loan whose draft is on record."""
    drafts = {row.loan_id for row in house.entries(resource="loan_draft")}
    rows = house.mis(
        "SELECT account_no FROM m_loan WHERE fund_id = %s AND loan_type_enum = 1 AND loan_status_id = 300", KIVA_FUND
    )
    return next(str(row[0]) for row in rows if row[0] in drafts)


def entries(house: Site, resource: str, loan_id: str) -> int:
    return len(house.entries(resource=resource, loan_id=loan_id))


def write_note(house: Site, loan_id: str) -> None:
    house.mis(
        "INSERT INTO m_note (loan_id, note_type_enum, note, created_on_utc, last_modified_on_utc, created_by,"
        " last_modified_by) SELECT id, 200, 'KIVA: She doubled her stall.', now(), now(), 1, 1 FROM m_loan"
        " WHERE account_no = %s",
        loan_id,
    )


def test_a_column_that_vanished_stops_its_mappings_and_no_other_until_it_is_back(house: Site, capture: Capture) -> None:
    mine = loan(house)
    journals, drafts = entries(house, "journal", mine), entries(house, "loan_draft", mine)
    house.mis("ALTER TABLE m_loan_repayment_schedule RENAME COLUMN interest_amount TO interest")
    house.mis("UPDATE m_loan SET principal_amount = principal_amount + 1 WHERE account_no = %s", mine)
    write_note(house, mine)
    capture.cycle()
    assert "interest_amount" in capture.stopped[DRAFTS]
    assert not {name for name in capture.stopped if not name.startswith("loan_draft")}
    assert (entries(house, "journal", mine), entries(house, "loan_draft", mine)) == (journals + 1, drafts)
    assert capture.cycle() == 0
    assert not capture.scanning()
    house.mis("ALTER TABLE m_loan_repayment_schedule RENAME COLUMN interest TO interest_amount")
    assert capture.cycle() >= 1
    assert capture.stopped == {}
    assert capture.cycle() == 0


def test_a_table_that_vanished_stops_only_the_mapping_that_reads_it(house: Site, capture: Capture) -> None:
    mine = loan(house)
    house.mis("ALTER TABLE m_note RENAME TO m_remark")
    house.mis("UPDATE m_loan SET principal_repaid_derived = principal_repaid_derived WHERE account_no = %s", mine)
    assert capture.cycle() == 0
    assert set(capture.stopped) == {"journal"}
    assert "m_note" in capture.stopped["journal"]
    house.mis("ALTER TABLE m_remark RENAME TO m_note")
    write_note(house, mine)
    journals = entries(house, "journal", mine)
    capture.cycle()
    assert capture.stopped == {}
    assert entries(house, "journal", mine) == journals + 1


def test_a_column_that_holds_something_else_stops_its_mappings(house: Site, capture: Capture) -> None:
    house.mis("ALTER TABLE m_loan_repayment_schedule ALTER COLUMN interest_amount TYPE text")
    house.mis("UPDATE m_loan SET approved_principal = approved_principal + 1 WHERE account_no = %s", loan(house))
    capture.cycle()
    assert "schedule.interest_amount was number and is text now" in capture.stopped[DRAFTS]
    house.mis(
        "ALTER TABLE m_loan_repayment_schedule ALTER COLUMN interest_amount TYPE numeric(19, 6)"
        " USING interest_amount::numeric"
    )
    capture.cycle()
    assert capture.stopped == {}


@pytest.mark.long
def test_a_column_that_the_upgrade_emptied_holds_its_mappings_until_a_person_looked(
    house: Site, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vanished, "ENOUGH", 5)
    monkeypatch.setattr(vanished, "LAST", 8)
    monkeypatch.setattr(vanished, "ALWAYS", 0.9)  # one loan of this book has no purpose
    capture.sweep()  # the whole book says what is usual
    while capture.scanning():
        capture.cycle()
    house.mis("UPDATE m_loan SET approved_principal = approved_principal + 1")
    capture.cycle()
    assert held(house) == []
    house.mis("UPDATE m_loan SET loanpurpose_cv_id = NULL")
    capture.cycle()
    assert f"stream:{DRAFTS}" in held(house)
    told = house.command("status").stdout
    assert "suddenly empty" in told
    assert "loanpurpose_cv_id" in told
    assert (
        house.command("release", f"stream:{DRAFTS}", "--note", "purposes are no longer asked for", "--yes").returncode
        == 0
    )
    house.mis("UPDATE m_loan SET approved_principal = approved_principal + 1")
    capture.cycle()
    assert f"stream:{DRAFTS}" not in held(house)


def held(house: Site) -> list[str]:
    """What is held because values vanished."""
    outbox = Outbox(f"sqlite:///{house.folder / 'outbox.db'}")
    try:
        with outbox.read() as tx:
            return [one.what for one in hold.in_force(tx) if one.reason == "values_vanished"]
    finally:
        outbox.close()
