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
    """A loan that both have, and that went the wrong way: by hand, and now.

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
        as_it_should: of how many loans of both the amount went the right way, or stayed: up for an amount repaid.
        against: loans of both whose amount went the other way, those with the largest difference first.
        without_amount: loans of both for which the relay has no amount.
        only_by_hand: loans of the file that Kiva does not expect in this report.
        only_here: loans of the report with an amount, that the file does not have.
        perhaps: rows of the file, and the loan that they probably mean: a spreadsheet took the zeros before its id.
    """

    basis: Basis
    as_it_should: int
    against: tuple[ComparedLoan, ...]
    without_amount: tuple[LoanAmounts, ...]
    only_by_hand: tuple[HandmadeRow, ...]
    only_here: tuple[LoanAmounts, ...]
    perhaps: Mapping[str, LoanAmounts]

    @property
    def compared(self) -> int:
        """How many loans both have an amount of."""
        return self.as_it_should + len(self.against)


def compare(lines: Iterable[LoanAmounts], by_hand: Handmade, *, basis: str) -> Comparison:
    """A report's lines against a file; `basis` as of the setting `repayments.basis`."""
    known: dict[str, LoanAmounts] = {}
    for line in lines:
        # Two loans of Kiva's may share an id: the one with an amount is compared.
        key = spelled.key(line.loan_id)
        if known.setdefault(key, line).position is None:
            known[key] = line
    compared, nearer = 0, [0, 0]
    against: list[ComparedLoan] = []
    without_amount: list[LoanAmounts] = []
    only_by_hand: list[HandmadeRow] = []
    owed = basis == OUTSTANDING
    for key, row in by_hand.rows.items():
        of_both = known.get(key)
        if of_both is None:
            only_by_hand.append(row)
        elif (now := of_both.position) is None:
            without_amount.append(of_both)
        else:
            # Of a hundred thousand nothing is kept but of those that went wrong: up for an amount repaid is right.
            compared += 1
            was = row.amount
            if now > was if owed else now < was:
                against.append(ComparedLoan(of_both, row, now, now - was))
            lent = of_both.lent if of_both.lent is not None else of_both.lent_at_kiva
            if lent is not None and (this := abs(now - was)) != (other := abs(now - (lent - was))):
                nearer[other < this] += 1
    only_here = [line for key, line in known.items() if key not in by_hand.rows]
    return Comparison(
        basis=_basis(compared, len(against), *nearer),
        as_it_should=compared - len(against),
        against=tuple(sorted(against, key=lambda one: (-abs(one.grew), one.line.loan_id))),
        without_amount=tuple(without_amount),
        only_by_hand=tuple(only_by_hand),
        only_here=tuple(line for line in only_here if line.position is not None),
        perhaps=_without_zeros(only_by_hand, only_here),
    )


def _basis(compared: int, against: int, this: int, other: int) -> Basis:
    """By which basis last month's amounts lie nearer to this month's; where nothing tells, by how many went wrong.

    A book has loans at their beginning and at their end: on the wrong basis the latter go the right way all the same.

    Args:
        compared: how many loans both have an amount of.
        against: of how many it went the wrong way.
        this: how many amounts of the file are nearer to ours as they are.
        other: of how many what was lent less the amount of the file is nearer. Where nothing tells, it is neither.
    """
    if not compared:
        return Basis.NOTHING_TO_COMPARE
    if other > this:
        return Basis.SWAPPED if against else Basis.UNCLEAR
    if 2 * against < compared:
        return Basis.FITS
    return Basis.UNCLEAR if this > other else Basis.SWAPPED


def _without_zeros(rows: Sequence[HandmadeRow], lines: Sequence[LoanAmounts]) -> dict[str, LoanAmounts]:
    """By the id of the file: the one loan whose id is the same but for zeros at its beginning."""
    by_number: dict[str, list[LoanAmounts]] = {}
    for line in lines:
        by_number.setdefault(spelled.key(line.loan_id).lstrip("0"), []).append(line)
    found = {row.loan_id: by_number.get(spelled.key(row.loan_id).lstrip("0"), []) for row in rows}
    return {loan_id: alike[0] for loan_id, alike in found.items() if len(alike) == 1 and loan_id.strip("0")}
