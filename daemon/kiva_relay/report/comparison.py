"""What the relay would report, against the file that was uploaded by hand last month. Pure, and nothing is sent.

An amount repaid grows from month to month, an amount outstanding shrinks. Where most loans go the other way, one of the
two files means the other thing, and every line of the invoice would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from kiva_relay.frozen import dataclass
from kiva_relay.report.handmade import Handmade, HandmadeRow
from kiva_relay.report.line import LoanAmounts
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.repayment import OUTSTANDING


class Basis(StrEnum):
    """What the amounts of both say about what they mean."""

    FITS = "fits"
    SWAPPED = "probably_swapped"
    UNCLEAR = "unclear"  # most loans go the wrong way and the other basis would not explain it, or the reverse
    NOTHING_TO_COMPARE = "nothing_to_compare"


class ComparedLoan(NamedTuple):
    """A loan that both have: by hand, and now.

    Attributes:
        line, by_hand: the loan in each.
        now: what the relay would report.
        grew: by how much the amount is higher now; negative: lower.
    """

    line: LoanAmounts
    by_hand: HandmadeRow
    now: Decimal
    grew: Decimal


@dataclass(frozen=True)
class Comparison:
    """A file made by hand, against the lines of a report.

    Attributes:
        basis: whether both mean the same by an amount.
        as_it_should: loans of both whose amount went the right way, or stayed: up for an amount repaid.
        against: loans of both whose amount went the other way, those with the largest difference first.
        without_amount: loans of both for which the relay has no amount.
        only_by_hand: loans of the file that Kiva does not expect in this report.
        only_here: loans of the report with an amount, that the file does not have.
        perhaps: rows of the file, and the loan that they probably mean: a spreadsheet took the zeros before its id.
    """

    basis: Basis
    as_it_should: tuple[ComparedLoan, ...]
    against: tuple[ComparedLoan, ...]
    without_amount: tuple[LoanAmounts, ...]
    only_by_hand: tuple[HandmadeRow, ...]
    only_here: tuple[LoanAmounts, ...]
    perhaps: Mapping[str, LoanAmounts]

    @property
    def compared(self) -> int:
        """How many loans both have an amount of."""
        return len(self.as_it_should) + len(self.against)


def compare(lines: Iterable[LoanAmounts], by_hand: Handmade, *, basis: str) -> Comparison:
    """A report's lines against a file; `basis` as of the setting `repayments.basis`."""
    known: dict[str, LoanAmounts] = {}
    for line in lines:
        # Two loans of Kiva's may share an id: the one with an amount is compared.
        key = spelled.key(line.loan_id)
        if key not in known or known[key].position is None:
            known[key] = line
    both = [(known[key], row) for key, row in by_hand.rows.items() if key in known]
    compared = [
        ComparedLoan(line, row, position, position - row.amount)
        for line, row in both
        if (position := line.position) is not None
    ]
    # Up for an amount repaid, down for one outstanding; no product of Decimals for each of a hundred thousand.
    as_it_should: list[ComparedLoan] = []
    against: list[ComparedLoan] = []
    for one in compared:
        goes_wrong = one.grew > 0 if basis == OUTSTANDING else one.grew < 0
        (against if goes_wrong else as_it_should).append(one)
    only_by_hand = tuple(row for key, row in by_hand.rows.items() if key not in known)
    only_here = tuple(line for key, line in known.items() if key not in by_hand.rows and line.position is not None)
    return Comparison(
        basis=_basis(compared, len(against)),
        as_it_should=tuple(as_it_should),
        against=tuple(sorted(against, key=lambda one: (-abs(one.grew), one.line.loan_id))),
        without_amount=tuple(line for line, _ in both if line.position is None),
        only_by_hand=only_by_hand,
        only_here=only_here,
        perhaps=_without_zeros(only_by_hand, [line for key, line in known.items() if key not in by_hand.rows]),
    )


def _basis(compared: Sequence[ComparedLoan], against: int) -> Basis:
    """By which basis last month's amounts lie nearer to this month's; where nothing tells, by how many went wrong.

    A book has loans at their beginning and at their end: on the wrong basis the latter go the right way all the same.
    """
    if not compared:
        return Basis.NOTHING_TO_COMPARE
    nearer = [_nearer_by_the_other(one) for one in compared]
    this, other = nearer.count(False), nearer.count(True)
    if other > this:
        return Basis.SWAPPED if against else Basis.UNCLEAR
    if 2 * against < len(compared):
        return Basis.FITS
    return Basis.UNCLEAR if this > other else Basis.SWAPPED


def _nearer_by_the_other(one: ComparedLoan) -> bool | None:
    """Is what was lent less the amount of the file nearer to ours than that amount itself? None: nothing tells."""
    line, by_hand, now, grew = one
    lent = line.lent if line.lent is not None else line.lent_at_kiva
    if lent is None:
        return None
    this, other = abs(grew), abs(now - (lent - by_hand.amount))
    return None if this == other else other < this


def _without_zeros(rows: Sequence[HandmadeRow], lines: Sequence[LoanAmounts]) -> dict[str, LoanAmounts]:
    """By the id of the file: the one loan whose id is the same but for zeros at its beginning."""
    by_number: dict[str, list[LoanAmounts]] = {}
    for line in lines:
        by_number.setdefault(spelled.key(line.loan_id).lstrip("0"), []).append(line)
    found = {row.loan_id: by_number.get(spelled.key(row.loan_id).lstrip("0"), []) for row in rows}
    return {loan_id: alike[0] for loan_id, alike in found.items() if len(alike) == 1 and loan_id.strip("0")}
