"""Which row of the MIS a loan probably is that the MIS does not have under its id."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.account import reconciling
from kiva_relay.outbox import discrepancy
from kiva_relay.report import facts
from testbed.rig import month as months
from testbed.rig.capturing import CREATED
from testbed.rig.month import OPENING, Month, listed


@pytest.fixture
def month(tmp_path: Path) -> Month:
    return months.begin(tmp_path)


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
    month.lend("M1", lent=500)
    month.lend("M2", lent=700)
    month.lists(*(listed(f"A{n}", lent=500 if n % 2 else 700, client_id="C-M1" if n % 2 else "C-M2") for n in range(8)))
    month.at(OPENING)
    asked: list[list[str]] = []

    @sa.event.listens_for(month.rig.outbox.engine, "before_cursor_execute")
    def _note(_cx: Any, _cursor: Any, statement: str, given: Any, *_more: Any) -> None:
        if "captured.lent IN" in statement:
            asked.append(sorted(given))

    assert set(likely(month).values()) == {"M1", "M2"}
    assert asked == [["500", "700"]]


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
    month.lists(
        listed("KV/93"),
        listed("A", client_id="C-2"),
        listed("B", client_id="C-3"),
        listed("C"),
        listed("D", client_id="C-2", lent=501),
    )
    month.at(OPENING)
    outbox = month.rig.outbox
    assert reconciling.run(outbox, month.rig.settings, now=OPENING) is not None
    with outbox.read() as tx:
        by_night = {one.kiva_id: one.suggested for one in discrepancy.every(tx) if one.kind == "unknown_here"}
    assert by_night == likely(month) == {"KKV/93": "000000093", "KA": "M2", "KB": None, "KC": None, "KD": None}
