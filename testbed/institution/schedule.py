"""What is due when, and how money is split that comes in: Fineract's usual way, interest first.

A loan's money is replayed from its beginning each time, as Fineract does it when an entry is back-dated or
reversed: the split of a payment depends on all that came before it.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ZERO = Decimal(0)


@dataclass
class Instalment:
    """One line of a schedule; the amounts paid grow as money is replayed over it."""

    number: int
    fromdate: date
    due: date
    principal: Decimal
    interest: Decimal
    principal_paid: Decimal = ZERO
    interest_paid: Decimal = ZERO
    met_on: date | None = None
    written_off: bool = False

    @property
    def outstanding(self) -> Decimal:
        """Principal and interest still due, written off or not."""
        return self.principal + self.interest - self.principal_paid - self.interest_paid


@dataclass(frozen=True)
class Movement:
    """Money that came in, or principal that was taken back (`back`)."""

    on: date
    amount: Decimal
    back: bool = False


@dataclass(frozen=True)
class Split:
    """What became of a movement, and the principal that the loan owed after it."""

    principal: Decimal
    interest: Decimal
    overpaid: Decimal
    balance: Decimal


def plan(principal: Decimal, *, monthly_rate: Decimal, count: int, start: date, digits: int) -> list[Instalment]:
    """Equal parts of principal each month, interest on what is left; the rest is on the last instalment."""
    part = rounded(principal / count, digits)
    lines = []
    left = principal
    for number in range(1, count + 1):
        share = part if number < count else left
        interest = rounded(left * monthly_rate, digits)
        begin, due = months_after(start, number - 1), months_after(start, number)
        lines.append(Instalment(number, begin, due, share, interest))
        left -= share
    return lines


def replay(lines: Sequence[Instalment], movements: Iterable[Movement]) -> list[Split]:
    """Split movements, in the order given, over a schedule on which nothing was paid yet."""
    splits = []
    for movement in movements:
        if movement.back:
            principal, interest, rest = _take_back(lines, movement.amount), ZERO, ZERO
        else:
            principal, interest, rest = _pay(lines, movement)
        balance = sum((line.principal - line.principal_paid for line in lines), ZERO)
        splits.append(Split(principal, interest, rest, balance))
    return splits


def rounded(amount: Decimal, digits: int) -> Decimal:
    """An amount as the currency has it."""
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


@lru_cache(maxsize=100_000)
def months_after(day: date, months: int) -> date:
    """The same day of a later month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _pay(lines: Sequence[Instalment], movement: Movement) -> tuple[Decimal, Decimal, Decimal]:
    principal = interest = ZERO
    rest = movement.amount
    for line in lines:
        if not rest:
            break
        if not line.outstanding:
            continue
        to_interest = min(rest, line.interest - line.interest_paid)
        to_principal = min(rest - to_interest, line.principal - line.principal_paid)
        line.interest_paid += to_interest
        line.principal_paid += to_principal
        if not line.outstanding:
            line.met_on = movement.on
        interest += to_interest
        principal += to_principal
        rest -= to_interest + to_principal
    return principal, interest, rest


def _take_back(lines: Sequence[Instalment], amount: Decimal) -> Decimal:
    """Un-pay principal, the newest instalment first; returns what could be taken."""
    rest = amount
    for line in reversed(lines):
        taken = min(rest, line.principal_paid)
        if taken:
            line.principal_paid -= taken
            line.met_on = None
            rest -= taken
    return amount - rest
