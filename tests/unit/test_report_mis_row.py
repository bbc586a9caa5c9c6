"""Which row of the MIS a loan probably is that the MIS does not have under its id."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.account import reconciling
from kiva_relay.outbox import discrepancy
from kiva_relay.report import current, facts
from kiva_relay.report.line import ReportLine
from kiva_relay.words import language, reconcile, report_choice, report_line
from testbed.rig import month as months
from testbed.rig.capturing import CREATED
from testbed.rig.month import OPENING, Month, listed


@pytest.fixture
def month(tmp_path: Path) -> Month:
    return months.begin(tmp_path)


EN = language.of("en")


def said(line: ReportLine) -> list[str]:
    """What makes the answer to a line easier."""
    return report_line.line(line, EN, at=OPENING.date())[1:]


def likely(month: Month) -> dict[str, str | None]:
    return {kiva_id: line.params.get("likely_id") for kiva_id, line in month.lines().items()}


def test_it_is_the_one_of_the_same_client(month: Month) -> None:
    for loan_id in ("M1", "M2", "M3"):
        month.lend(loan_id)
    month.lists(
        listed("A", client_id="C-M1"), listed("B", client_id=" C-M2 "), listed("C", client_id="C-X"), listed("D")
    )
    month.at(OPENING)
    assert likely(month) == {"KA": "M1", "KB": "M2", "KC": None, "KD": None}


def test_what_kiva_lists_under_its_own_id_is_no_other_loan(month: Month) -> None:
    for loan_id in ("M1", "M2", "M3"):
        month.lend(loan_id)
    month.lists(listed("M-2"), listed("M1"), listed(" M3 "))
    month.at(OPENING)
    assert likely(month)["KM-2"] == "M2", "of the same amount, and its id is alike"
    month.lists(listed("M-2"), listed("M1"), listed("M2", status="deleted"), listed("M3"))
    month.look()
    assert likely(month)["KM-2"] == "M2", "Kiva does not have that one any more"
    month.lists(listed("M-2"), listed("M1"), listed("M2"), listed("M3"))
    month.look()
    assert likely(month)["KM-2"] is None


def test_each_amount_is_looked_up_once(month: Month, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a report of 100,000 opened, each loan that was not read yet looked through all rows of its amount."""
    monkeypatch.setattr(facts, "PART", 2)
    for n in range(8):
        month.lend(f"M{n}", lent=500 if n % 2 else 700)
    month.lists(*(listed(f"A{n}", lent=500 if n % 2 else 700, client_id=f"C-M{n}") for n in range(8)))
    month.at(OPENING)
    asked: list[list[str]] = []

    @sa.event.listens_for(month.rig.outbox.engine, "before_cursor_execute")
    def _note(_cx: Any, _cursor: Any, statement: str, given: Any, *_more: Any) -> None:
        if "captured.lent IN" in statement:
            asked.append(sorted(given))

    assert likely(month) == {f"KA{n}": f"M{n}" for n in range(8)}
    assert asked == [["500", "700"]]


def test_two_rows_that_are_as_likely_are_both_named_and_none_is_suggested(month: Month) -> None:
    month.lend("M1", client="C-1")
    month.lend("M2", client="C-1")
    month.lists(listed("A", client_id="C-1"))
    month.at(OPENING)
    line = month.lines()["KA"]
    assert line.params == {"as_likely": ["M1", "M2"]}
    assert said(line) == ["Loans M1 and M2 in the MIS are equally likely: none is suggested."]


@pytest.mark.parametrize(
    "other",
    [
        {"client_id": "C-M1"},
        {"client_id": "C-M1", "status": "fundRaising"},
        {"client_id": " c-m1", "amount": "500.00"},
    ],
    ids=["as it", "not expected yet", "written in another way"],
)
def test_a_row_that_is_as_likely_for_two_loans_is_suggested_for_none(month: Month, other: dict[str, Any]) -> None:
    month.lend("M1")
    month.lists(listed("A", client_id="C-M1"))
    month.at(OPENING)
    assert likely(month) == {"KA": "M1"}
    month.lists(listed("A", client_id="C-M1"), replace(listed("B"), **other))
    month.look()
    line = month.lines()["KA"]
    assert line.params == {"shared_id": "M1", "shared_with": ["B"]}
    assert said(line) == ["Loan M1 in the MIS may as well be B at Kiva: it is not suggested."]
    assert not [each for each in report_choice.choices(line, EN) if each.verb == "is" and each.value]
    with month.rig.outbox.read() as tx:
        alone = current.line_of(tx, month.rig.settings, "2026-11", "KA")
    assert alone is not None
    assert alone.params == line.params, "one line read alone is the line of the report"


@pytest.mark.parametrize("kept_by", ["its own id", "another amount", "a person", "its end"])
def test_a_loan_that_is_another_one_takes_no_suggestion_away(month: Month, kept_by: str) -> None:
    month.lend("M1")
    month.lend("M2", client="C-M1", lent=500)
    other = {
        "its own id": listed("M2", client_id="C-M1"),
        "another amount": listed("B", client_id="C-M1", lent=501),
        "a person": listed("B", client_id="C-M1"),
        "its end": listed("B", client_id="C-M1", status="ended"),
    }[kept_by]
    month.types("M2", status="closed" if kept_by != "its own id" else "active")
    month.lists(listed("A", client_id="C-M1"), other)
    month.at(OPENING)
    if kept_by == "a person":
        assert likely(month) == {"KA": None, "KB": None}
        month.types("M2", status="active")
        month.look()
        month.decides(month.lines()["KB"], "is", "M2")
        month.look()
    assert likely(month)["KA"] == "M1"


def test_the_amount_alone_proves_nothing_and_a_date_far_off_speaks_against_it(month: Month) -> None:
    month.lend("M1")
    month.lists(listed("A"))
    month.at(OPENING)
    assert likely(month)["KA"] is None, "many loans have the same amount"
    day = CREATED.date()
    for days, wanted in ((20, "M1"), (200, None)):
        month.lists(listed("A", client_id="C-M1", created_on=(day + timedelta(days=days)).isoformat()))
        month.look()
        assert likely(month)["KA"] == wanted


def test_report_and_reconcile_name_the_same_loan(month: Month) -> None:
    month.lend("000000093")
    month.lend("M2", client="C-2")
    month.lend("M3", client="C-3")
    month.lend("M4", client="C-3")
    month.lend("M5", client="C-5")
    month.lists(
        listed("KV/93"),
        listed("A", client_id="C-2"),
        listed("B", client_id="C-3"),
        listed("C"),
        listed("D", client_id="C-2", lent=501),
        listed("E", client_id="C-5"),
        listed("F", client_id="C-5", status="fundRaising"),
    )
    month.at(OPENING)
    outbox = month.rig.outbox
    assert reconciling.run(outbox, month.rig.settings, now=OPENING) is not None
    with outbox.read() as tx:
        strange = {one.kiva_id: one for one in discrepancy.every(tx) if one.kind == "unknown_here"}
    by_night = {kiva_id: one.suggested for kiva_id, one in strange.items()}
    assert likely(month) == {
        "KKV/93": "000000093",
        "KA": "M2",
        **dict.fromkeys(("KB", "KC", "KD", "KE")),
    }
    assert by_night == {**likely(month), "KF": None}
    said_by_night = {kiva_id: reconcile.line(one, EN).rpartition("   ")[2] for kiva_id, one in strange.items()}
    assert said_by_night["KB"] == "M3 and M4 in the MIS are equally likely: none is suggested"
    assert said_by_night["KE"] == "M5 in the MIS may as well be F at Kiva: it is not suggested"
    assert said_by_night["KF"] == "M5 in the MIS may as well be E at Kiva: it is not suggested"
