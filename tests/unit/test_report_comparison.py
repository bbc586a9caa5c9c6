"""Last month's file against what would be reported: which loans went the wrong way, and whether the basis fits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from kiva_relay.report import comparison
from kiva_relay.report.comparison import Basis, Comparison
from kiva_relay.report.handmade import Handmade, HandmadeRow
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.resource import loan_id as spelled

REPAID, OUTSTANDING = "cumulative_principal", "principal_outstanding"


def a_line(loan_id: str, position: int | None, lent: int | None = 1200) -> ReportLine:
    return ReportLine(
        kiva_id=f"k{loan_id}",
        loan_id=loan_id,
        kind=ReportLineKind.MISSING if position is None else ReportLineKind.ON_ITS_WAY,
        position=None if position is None else Decimal(position),
        lent=None if lent is None else Decimal(lent),
    )


def compared(
    now: Mapping[str, int | None], by_hand: dict[str, int], *, basis: str = REPAID, lent: int | None = 1200
) -> Comparison:
    rows = {
        spelled.key(loan_id): HandmadeRow(line, loan_id, Decimal(amount))
        for line, (loan_id, amount) in enumerate(by_hand.items(), start=1)
    }
    lines = [a_line(loan_id, position, lent) for loan_id, position in now.items()]
    return comparison.compare(lines, Handmade(Path("october.csv"), rows, None), basis=basis)


# A book of loans of 1,200 in twelve instalments, one repaid each month, from the newest to the oldest.
BOOK = {f"L{months}": 100 * months for months in range(1, 12)}
MONTH_BEFORE = {loan_id: repaid - 100 for loan_id, repaid in BOOK.items()}
LEFT = {loan_id: 1200 - repaid for loan_id, repaid in BOOK.items()}
LEFT_BEFORE = {loan_id: 1200 - repaid for loan_id, repaid in MONTH_BEFORE.items()}


@pytest.mark.parametrize("lent", [1200, None])
@pytest.mark.parametrize(
    ("basis", "now", "by_hand", "verdict"),
    [
        (REPAID, BOOK, MONTH_BEFORE, Basis.FITS),
        (OUTSTANDING, LEFT, LEFT_BEFORE, Basis.FITS),
        (REPAID, BOOK, BOOK, Basis.FITS),
    ],
)
def test_amounts_that_go_the_right_way_fit(
    basis: str, now: Mapping[str, int | None], by_hand: dict[str, int], verdict: Basis, lent: int | None
) -> None:
    found = compared(now, by_hand, basis=basis, lent=lent)
    assert (found.basis, found.compared, len(found.against)) == (verdict, 11, 0)


@pytest.mark.parametrize(("basis", "now", "by_hand"), [(REPAID, BOOK, LEFT_BEFORE), (OUTSTANDING, LEFT, MONTH_BEFORE)])
def test_a_swapped_basis_is_seen_also_where_many_loans_are_near_their_end(
    basis: str, now: Mapping[str, int | None], by_hand: dict[str, int]
) -> None:
    found = compared(now, by_hand, basis=basis)
    assert found.basis is Basis.SWAPPED
    assert found.as_it_should


def test_without_the_principal_half_of_them_tell() -> None:
    assert compared({"A": 1, "B": 2, "C": 9}, {"A": 5, "B": 5, "C": 5}, lent=None).basis is Basis.SWAPPED
    assert compared({"A": 1, "B": 6, "C": 9}, {"A": 5, "B": 5, "C": 5}, lent=None).basis is Basis.FITS


def test_a_repayment_that_was_reversed_is_named_and_the_basis_fits() -> None:
    found = compared({**BOOK, "L6": 400}, MONTH_BEFORE)
    assert found.basis is Basis.FITS
    assert [(one.line.loan_id, one.grew) for one in found.against] == [("L6", Decimal(-100))]


def test_the_largest_difference_is_named_first() -> None:
    found = compared({**BOOK, "L6": 100, "L9": 700}, MONTH_BEFORE)
    assert [one.line.loan_id for one in found.against] == ["L6", "L9"]


def test_a_file_of_a_later_month_is_no_swapped_basis() -> None:
    assert compared(MONTH_BEFORE, BOOK).basis is Basis.UNCLEAR


def test_ids_are_the_same_by_their_key() -> None:
    found = compared({"A/12": 200}, {" A/12\u200b ": 100})
    assert found.compared == 1
    assert not found.only_here
    assert not found.only_by_hand


def test_what_only_one_of_them_has_is_named() -> None:
    found = compared({"A": 200, "B": 50, "C": None, "D": None}, {"A": 100, "X": 10, "D": 30})
    assert [row.loan_id for row in found.only_by_hand] == ["X"]
    assert [line.loan_id for line in found.only_here] == ["B"]
    assert [line.loan_id for line in found.without_amount] == ["D"]


def test_zeros_that_a_spreadsheet_took_are_told_and_not_guessed() -> None:
    found = compared({"000412": 200, "00043": 5, "0043": 6}, {"412": 100, "43": 1})
    assert found.compared == 0
    assert found.basis is Basis.NOTHING_TO_COMPARE
    assert {loan_id: line.loan_id for loan_id, line in found.perhaps.items()} == {"412": "000412"}


def test_a_loan_in_other_letters_is_another_loan() -> None:
    found = compared({"kv/93": 200}, {"KV/93": 100})
    assert found.compared == 0


def test_two_loans_of_one_id_are_compared_by_the_one_with_an_amount() -> None:
    assert compared({"A": None, "A ": 200}, {"A": 100}).compared == 1
