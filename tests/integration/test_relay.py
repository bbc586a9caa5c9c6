"""The whole way, in one process: rows of the MIS to Kiva's ledger, and nothing twice."""

from __future__ import annotations

import json
import os
import re
from datetime import date, timedelta
from decimal import Decimal

import psycopg
import pytest
import sqlalchemy as sa

from kiva_relay import errors, meter
from kiva_relay.service import capture_loop
from testbed.institution import fineract
from testbed.institution.branch import KIVA_FUND
from testbed.judge import expected
from testbed.rig.patience import eventually
from testbed.rig.set_clock import SteppedClock
from testbed.rig.site import Site

FUND = KIVA_FUND


def expect_repayments(house: Site, share: int = 1) -> list[str]:
    """Let Kiva expect a report from every so-many-th active loan; their ids."""
    rows = house.mis(
        "SELECT account_no FROM m_loan WHERE fund_id = %s AND loan_status_id IN (300, 600, 601) AND loan_type_enum < 4"
        " ORDER BY id",
        FUND,
    )
    ids = [row[0] for row in rows][::share]
    house.kiva.seed_loans([{"internal_loan_id": loan, "status": "payingBack"} for loan in ids])
    return ids


def test_a_second_run_sends_nothing(house: Site) -> None:
    expect_repayments(house, share=2)
    first = house.once()
    assert first.captured > 50
    assert first.requests > 3
    before = house.kiva.state()["records"]
    second = house.once()
    assert (second.captured, second.requests, second.due) == (0, 0, 0)
    assert house.kiva.state()["records"] == before


def test_what_kiva_has_already_is_adopted_and_not_sent(house: Site) -> None:
    drafts = house.mis(
        "SELECT account_no FROM m_loan WHERE fund_id = %s AND loan_status_id IN (200, 300) AND loan_type_enum = 1"
        " ORDER BY id DESC LIMIT 9",
        FUND,
    )
    ids = {row[0] for row in drafts}
    house.kiva.seed_loans([{"internal_loan_id": loan, "status": "fundRaising"} for loan in ids])
    house.once()
    adopted = {row.loan_id for row in house.entries(resource="loan_draft", evidence="adopted")}
    assert adopted == ids
    assert not {body["entreps"][0]["loan_id"] for body in house.sent("loan_draft")} & ids


def test_every_draft_says_what_the_mis_says(house: Site) -> None:
    house.once()
    theirs = expected.expected(house.connection, fund_id=FUND, cutoff=date.today(), today=date.today()).drafts
    sent = house.sent("loan_draft")
    assert len(sent) > 5
    for body in sent:
        identity = body.get("internal_loan_id") or body["entreps"][0]["loan_id"]
        draft = theirs[identity]
        assert sum(Decimal(one["amount"]) for one in body["entreps"]) == draft.principal
        assert ("group_name" in body) == (draft.kind in (2, 4))
        assert sum(Decimal(line["principal"]) for line in body["schedule"]) == draft.schedule_principal
        assert body["disburse_time"] == str(draft.disbursal)
        assert "None" not in str(body)


def test_positions_equal_what_the_mis_derives_for_today(house: Site) -> None:
    ids = expect_repayments(house)
    house.once()
    derived = house.mis(f"SELECT account_no, {fineract.REPAID} FROM m_loan l WHERE fund_id = %s", FUND)
    theirs = {loan: Decimal(repaid) for loan, repaid in derived if loan in ids}
    waiting = {row.loan_id for row in house.entries(resource="repayment") if row.state != "delivered"}
    assert len(theirs) > 20
    assert {loan: amount for loan, amount in theirs.items() if loan not in waiting} == house.positions()
    assert not waiting


def test_positions_at_a_past_cut_off_are_the_sum_of_the_transactions_until_then(house: Site) -> None:
    cutoff = date.today().replace(day=1) - timedelta(days=1)
    ids = expect_repayments(house)
    house.changes = {"repayments": {"cutoff": cutoff}}
    house.once()
    sums = house.mis(
        "SELECT l.account_no, coalesce(sum(t.principal_portion_derived) FILTER (WHERE"
        " t.transaction_type_enum IN (2, 21, 22, 23, 24, 26, 28, 31, 33)), 0)"
        " + least(coalesce(sum(t.amount) FILTER (WHERE t.transaction_type_enum = 8), 0),"
        " coalesce(sum(t.principal_portion_derived) FILTER (WHERE t.transaction_type_enum = 6), 0))"
        " FROM m_loan l LEFT JOIN m_loan_transaction t ON t.loan_id = l.id"
        " AND NOT t.is_reversed AND t.transaction_date <= %s"
        " WHERE l.fund_id = %s AND l.disbursedon_date IS NOT NULL GROUP BY l.account_no",
        cutoff,
        FUND,
    )
    theirs = {loan: Decimal(repaid) for loan, repaid in sums if loan in ids}
    assert house.positions() == theirs
    assert theirs != {
        loan: Decimal(repaid)
        for loan, repaid in house.mis("SELECT account_no, principal_repaid_derived FROM m_loan")
        if loan in theirs
    }


@pytest.mark.parametrize("days", [40, -40])
def test_a_clock_in_another_month_reports_the_month_that_kiva_has(house: Site, days: int) -> None:
    """The whole relay by a wrong clock of the machine; Kiva's `Date` says the right one."""
    expect_repayments(house, share=5)
    house.changes = {"repayments": {"cutoff": "end_of_previous_month", "when": "continuous"}}
    clock = SteppedClock()
    clock.by = timedelta(days=days)
    with clock.everywhere():
        house.once(time=clock)
    positions = house.entries(resource="repayment")
    assert positions
    assert {row.period for row in positions} == {f"{date.today():%Y-%m}"}
    late = [row for row in house.entries(resource="loan_draft") if "too_late_to_publish" in str(row.refusals)]
    assert not late


@pytest.mark.long
def test_where_kiva_gives_its_loans_but_not_its_lists_only_what_needs_them_waits(house: Site) -> None:
    ids = expect_repayments(house)
    fault = house.kiva.fault("status", on="config", status=404, every=1)
    house.once()
    assert len(house.positions()) == len(ids)
    assert not house.sent("loan_draft")
    waiting = house.entries(resource="loan_draft", state="waiting", reason="lists_unknown")
    assert waiting
    shown = house.command("status").stdout
    assert "its lists (activities, locales, locations, themes) have not been given yet" in shown
    assert "refuses the relay itself" not in shown
    house.kiva.clear_faults(fault)
    house.once()
    assert not house.entries(resource="loan_draft", reason="lists_unknown", state="waiting")
    assert {row.identity for row in waiting} & {row.identity for row in house.entries(state="delivered")}
    assert "not given yet" not in house.command("status").stdout


def test_changes_arrive_while_it_runs(house: Site) -> None:
    ids = expect_repayments(house)
    teller = house.teller()
    with house.daemon():
        eventually(lambda: len(house.positions()) == len(ids))
        granted = eventually(lambda: kiva_only(teller.grant_individual()))
        eventually(lambda: house.sent("loan_draft", granted))
        loan, before = next((loan, amount) for loan, amount in house.positions().items() if active(house, loan))
        repay(house, loan, Decimal(7))
        eventually(lambda: house.positions()[loan] == before + 7)
        note(house, loan, "KIVA: She bought a second sewing machine.")
        note(house, loan, "husband ill, asks for delay, do not call before noon")
        body = eventually(lambda: [one for one in journals(house) if "sewing machine" in one["body"]])[0]
    assert body["internal_loan_id"] == loan
    assert body["body"] == "She bought a second sewing machine."
    assert not [one for one in journals(house) if "husband" in one["body"]]


def kiva_only(act: object) -> str | None:
    return getattr(act, "identity", None) if getattr(act, "kiva", False) else None


def active(house: Site, loan: str) -> bool:
    rows = house.mis("SELECT 1 FROM m_loan WHERE account_no = %s AND loan_status_id = 300", loan)
    return bool(rows)


def journals(house: Site) -> list[dict[str, str]]:
    return [item for call in house.sent("journal") for item in call]


def repay(house: Site, loan: str, principal: Decimal) -> None:
    """Post a repayment as Fineract does: a transaction, and the loan's derived sum, in one transaction."""
    with house.connection.transaction():
        house.mis(
            "INSERT INTO m_loan_transaction (loan_id, office_id, is_reversed, transaction_type_enum, transaction_date,"
            " amount, principal_portion_derived, submitted_on_date, created_by, created_on_utc, last_modified_by,"
            " last_modified_on_utc)"
            " SELECT id, 1, false, 2, current_date, %s, %s, current_date, 1, now(), 1, now() FROM m_loan"
            " WHERE account_no = %s",
            principal,
            principal,
            loan,
        )


def note(house: Site, loan: str, text: str) -> None:
    house.mis(
        "INSERT INTO m_note (loan_id, client_id, note_type_enum, note, created_by, created_on_utc, last_modified_by,"
        " last_modified_on_utc) SELECT id, client_id, 200, %s, 1, now(), 1, now() FROM m_loan WHERE account_no = %s",
        text,
        loan,
    )


def test_a_draft_that_waits_follows_its_correction_and_its_rejection(house: Site) -> None:
    house.once()
    with house.relay() as relay:
        loans = [
            row[0]
            for row in house.mis(
                "SELECT l.account_no FROM m_loan l JOIN m_client c ON c.id = l.client_id WHERE fund_id = %s"
                " AND loan_type_enum = 1 AND loan_status_id = 300 AND firstname IS NOT NULL ORDER BY l.id LIMIT 2",
                FUND,
            )
        ]
        house.mis(
            "UPDATE m_loan SET loan_status_id = 200, disbursedon_date = NULL, expected_disbursedon_date = current_date"
            " WHERE account_no = ANY(%s)",
            loans,
        )
        relay.stop.set()  # capture only
        capture = relay.capture_loop.capture()
        relay.stop.clear()
        capture.cycle()
        assert {row.state for row in house.entries() if row.loan_id in loans} >= {"ready"}
        corrected, rejected = loans
        house.mis("UPDATE m_loan_repayment_schedule SET interest_amount = 123 WHERE loan_id ="
                  " (SELECT id FROM m_loan WHERE account_no = %s)", corrected)  # fmt: skip
        house.mis("UPDATE m_loan SET loan_status_id = 500 WHERE account_no = %s", rejected)
        relay.once()
    (body,) = house.sent("loan_draft", corrected)
    assert {Decimal(line["interest"]) for line in body["schedule"]} == {Decimal(123)}
    assert not house.sent("loan_draft", rejected)
    assert [row.state for row in house.entries(loan_id=rejected)][-1] == "withdrawn"


def test_a_loan_that_cannot_be_mapped_is_on_record_and_holds_nobody_up(house: Site) -> None:
    house.mis("UPDATE m_client SET firstname = NULL, fullname = NULL WHERE id IN"
              " (SELECT client_id FROM m_loan WHERE fund_id = %s AND loan_status_id = 300 AND loan_type_enum = 1)",
              FUND)  # fmt: skip
    house.once()
    refused = [row for row in house.entries(state="refused") if '"name_empty"' in str(row.refusals).replace("'", '"')]
    assert refused
    assert refused[0].body is None
    assert house.sent("loan_draft")


def test_the_outbox_of_another_destination_is_refused(house: Site) -> None:
    house.once()
    house.changes = {"kiva": {"partner_id": "124"}}
    with pytest.raises(errors.OutboxRefused, match=r"belongs to kiva\.partner_id 123"), house.relay():
        pass


@pytest.mark.long
def test_who_keeps_a_transaction_open_is_said_in_the_log_a_metric_and_status(
    house: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(capture_loop, "_PINNED_FOR_LONG", 6.0)  # seconds; five are the tolerance of clocks
    with psycopg.connect(house.url) as old, house.daemon():
        old.execute("SELECT 1")
        who = f"session {old.info.backend_pid} of postgres"
        # Another test's transaction on this server may be the older one for a moment.
        eventually(
            lambda: who in [sample.labels["session"] for sample in next(iter(meter.mis_pinned.collect())).samples]
        )
        old.rollback()
        eventually(lambda: not next(iter(meter.mis_pinned.collect())).samples)
    assert f'session="{who}"' in capsys.readouterr().err


@pytest.mark.long
def test_a_role_with_the_grants_that_check_prints_suffices_and_cannot_write(house: Site) -> None:
    name = f"reader_{os.getpid()}"
    house.mis(f"CREATE ROLE {name} LOGIN PASSWORD 'r'")
    house.mis("REVOKE ALL ON SCHEMA public FROM public")
    house.mis(f"GRANT CONNECT ON DATABASE {sa.make_url(house.url).database} TO {name}")
    try:
        url = sa.make_url(house.url).set(username=name, password="r").render_as_string(hide_password=False)
        house.changes = {"mis": {"url": url}}
        printed = house.command("check", "--grants")
        assert printed.returncode == 0, printed.stderr
        for statement in printed.stdout.splitlines():
            assert re.match(r"GRANT (SELECT ON|USAGE ON SCHEMA|pg_read_all_stats TO) |-- ", statement), statement
            house.mis(statement)
        expect_repayments(house)
        house.once()
        assert {row.resource for row in house.entries(state="delivered")} >= {"loan_draft", "repayment"}
        found = json.loads(house.command("check", "--json").stdout)["findings"]
        assert [one["word"] for one in found if one["about"] == "grants"] == ["ok"]
    finally:
        house.mis(f"DROP OWNED BY {name}")
        house.mis(f"DROP ROLE {name}")
