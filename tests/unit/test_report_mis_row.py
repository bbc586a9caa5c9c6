"""Which row of the MIS a loan probably is that the MIS does not have under its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.report import facts
from testbed.rig import month as months
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
    month.lists(listed("A"), listed("M1"), listed(" M3 "))
    month.at(OPENING)
    assert likely(month)["KA"] == "M2", "of the same amount, and the only one that is left"
    month.lists(listed("A"), listed("M1"), listed("M2", status="deleted"), listed("M3"))
    month.look()
    assert likely(month)["KA"] == "M2", "Kiva does not have that one any more"
    month.lists(listed("A"), listed("M1"), listed("M2"), listed("M3"))
    month.look()
    assert likely(month)["KA"] is None


def test_each_amount_is_looked_up_once(month: Month, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a report of 100,000 opened, each loan that was not read yet looked through all rows of its amount."""
    monkeypatch.setattr(facts, "PART", 2)
    month.lend("M1", lent=500)
    month.lend("M2", lent=700)
    month.lists(*(listed(f"A{number}", lent=500 if number % 2 else 700) for number in range(8)))
    month.at(OPENING)
    asked: list[list[str]] = []

    @sa.event.listens_for(month.rig.outbox.engine, "before_cursor_execute")
    def _note(_cx: Any, _cursor: Any, statement: str, given: Any, *_more: Any) -> None:
        if "captured.lent IN" in statement:
            asked.append(sorted(given))

    assert set(likely(month).values()) == {"M1", "M2"}
    assert asked == [["500", "700"]]
