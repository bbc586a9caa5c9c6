"""The life of a loan so far, made up: paid on time or not, refunded, written off, reversed, replayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from testbed.institution import loan, schedule
from testbed.institution.fineract import Kind, Money, Row, Status
from testbed.institution.loan import Stamp, Terms
from testbed.institution.schedule import ZERO, Instalment, Movement, Split

if TYPE_CHECKING:
    from decimal import Decimal
    from random import Random

DAY = timedelta(days=1)

_BLANK: Row = dict.fromkeys(
    [
        "approvedon_date",
        "approvedon_userid",
        "disbursedon_date",
        "disbursedon_userid",
        "closedon_date",
        "closedon_userid",
        "overpaidon_date",
        "rejectedon_date",
        "rejectedon_userid",
        "withdrawnon_date",
        "withdrawnon_userid",
        "writtenoffon_date",
        "accrued_till",
        "charged_off_on_date",
    ]
)


@dataclass
class Past:
    """Rows without ids: one of `m_loan`, those of its schedule, those of its transactions.

    `replayed` pairs places in `money`: the copy and the row that it replaced.
    """

    loan: Row
    schedule: list[Row]
    money: list[Row] = field(default_factory=list)
    replayed: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Desk:
    """Where a loan is kept: who writes, in which office, and which day it is (nothing is later)."""

    office_id: int
    user: int
    today: date
    rng: Random

    def chance(self, percent: float) -> bool:
        """True as often as that."""
        return self.rng.random() * 100 < percent

    def stamp(self, on: date, *, late: bool = False) -> Stamp:
        """A moment of that day in the branch's working hours, or some days later; never after yesterday, UTC."""
        days = self.rng.randrange(1, 5) if late else 0
        # Branches east of Greenwich begin their day while it is still yesterday in UTC.
        seconds = self.rng.randrange(-1_000, 50_000)
        at = datetime.combine(on, time(), UTC) + timedelta(days=days, seconds=seconds)
        end = datetime.combine(self.today, time(), UTC) - timedelta(seconds=self.rng.randrange(1, 3600))
        return Stamp(self.user, min(at, end))


def of(terms: Terms, wish: Status, *, loan_id: int, account_no: str, desk: Desk) -> Past:
    """A loan that is, or was, what `wish` says; an active one that happens to be paid off is closed."""
    submitted = desk.stamp(terms.submitted)
    row = {**loan.application(terms, account_no=account_no), **_BLANK, **loan.sums([]), **submitted.created}
    row |= {"is_charged_off": False, "version": 1}
    lines = terms.plan()
    past = Past(row, [])
    if wish is Status.REJECTED:
        row |= {
            "loan_status_id": int(wish),
            "rejectedon_date": terms.expected,
            "rejectedon_userid": desk.user,
        }
    elif wish is Status.WITHDRAWN:
        row |= {
            "loan_status_id": int(wish),
            "withdrawnon_date": terms.expected,
            "withdrawnon_userid": desk.user,
        }
    elif wish is not Status.SUBMITTED:
        granted = min(terms.submitted + 2 * DAY, terms.expected, desk.today - DAY)
        row |= loan.approved(granted, desk.user) | desk.stamp(granted).modified | {"version": 2}
    if wish in {Status.ACTIVE, Status.CLOSED, Status.OVERPAID, Status.WRITTEN_OFF}:
        # The members of one application get their money on the same day.
        shift = 0 if terms.kind is Kind.GLIM else desk.rng.choice((-1, 0, 0, 0, 0, 1, 2))
        start = terms.expected + shift * DAY
        lines = terms.plan(start)
        _live(past, lines, wish, terms, loan_id=loan_id, desk=desk)
    written = Stamp(desk.user, row["last_modified_on_utc"])
    past.schedule = [loan.instalment(loan_id, line) | written.created for line in lines]
    return past


def _live(past: Past, lines: list[Instalment], wish: Status, terms: Terms, *, loan_id: int, desk: Desk) -> None:
    start = lines[0].fromdate
    past.loan |= loan.disbursed(start, desk.user, lines)

    def enter(kind: Money, movement: Movement, split: Split | None) -> Row:
        stamp = desk.stamp(movement.on, late=desk.chance(10))
        row = loan.transaction(
            loan_id,
            desk.office_id,
            kind,
            on=movement.on,
            submitted=max(movement.on, stamp.at.date()),
            amount=movement.amount,
            split=split,
        )
        past.money.append(row | stamp.created)
        return past.money[-1]

    enter(Money.DISBURSEMENT, Movement(start, terms.principal), Split(ZERO, ZERO, ZERO, terms.principal))
    movements = _movements(lines, wish, digits=terms.digits, desk=desk)
    splits = schedule.replay(lines, [movement for _, movement in movements])
    for (kind, movement), split in zip(movements, splits, strict=True):
        enter(kind, movement, split)
    overpaid = sum((split.overpaid for split in splits), ZERO)
    last = movements[-1][1].on if movements else start
    past.loan |= loan.standing(lines, overpaid=overpaid, on=last, user=desk.user)
    for line in lines:
        if line.due < desk.today and line.interest:
            row = enter(Money.ACCRUAL, Movement(line.due, line.interest), Split(ZERO, line.interest, ZERO, ZERO))
            row["outstanding_loan_balance_derived"] = None
    if past.loan["loan_status_id"] == Status.ACTIVE and movements:
        split = Split(*_owed(lines), ZERO, ZERO)
        movement = Movement(desk.today - DAY, split.principal + split.interest)
        if wish is Status.WRITTEN_OFF:
            enter(Money.WRITE_OFF, movement, split)
            for line in lines:
                line.written_off = bool(line.outstanding)
            past.loan |= {"loan_status_id": int(Status.WRITTEN_OFF), "writtenoffon_date": movement.on}
            past.loan |= {"closedon_date": movement.on, "closedon_userid": desk.user}
            if desk.chance(30):
                enter(
                    Money.RECOVERY,
                    Movement(movement.on, schedule.rounded(movement.amount / 10, terms.digits)),
                    None,
                )
        elif desk.chance(4):
            enter(Money.CHARGE_OFF, movement, split)
            past.loan |= {"is_charged_off": True, "charged_off_on_date": movement.on}
    past.loan |= loan.sums(lines, overpaid=overpaid)
    _disturb(past, desk)
    past.loan["last_modified_on_utc"] = max(row["last_modified_on_utc"] for row in past.money)
    past.loan["version"] = 2 + len(past.money)


def _movements(lines: list[Instalment], wish: Status, *, digits: int, desk: Desk) -> list[tuple[Money, Movement]]:
    found: list[tuple[Money, Movement]] = []
    good = wish in {Status.CLOSED, Status.OVERPAID}
    for line in lines:
        on = max(line.due + desk.rng.randrange(-3, 6) * DAY, lines[0].fromdate + DAY)
        if on >= desk.today or (wish is Status.WRITTEN_OFF and line.number > len(lines) // 2):
            break
        amount = line.principal + line.interest
        if not good and desk.chance(12):
            if desk.chance(50):
                continue
            amount = schedule.rounded(amount / 2, digits)
        kind = desk.rng.choices((Money.REPAYMENT, Money.MERCHANT_REFUND, Money.GOODWILL), (97, 2, 1))[0]
        found.append((kind, Movement(on, amount)))
        if desk.chance(0.2):
            back = desk.rng.choice((Money.CHARGEBACK, Money.REFUND))
            found.append((back, Movement(on, min(amount, line.principal), back=True)))
    if wish is Status.OVERPAID and found:
        found.append((Money.REPAYMENT, Movement(found[-1][1].on, lines[0].principal)))
    return found


def _owed(lines: list[Instalment]) -> tuple[Decimal, Decimal]:
    principal = sum((line.principal - line.principal_paid for line in lines), ZERO)
    return principal, sum((line.outstanding for line in lines), ZERO) - principal


def _disturb(past: Past, desk: Desk) -> None:
    """A repayment that was keyed in twice and reversed; one that was replayed after a back-dated entry."""
    repayments = [n for n, row in enumerate(past.money) if row["transaction_type_enum"] == Money.REPAYMENT]
    if not repayments:
        return
    place = desk.rng.choice(repayments)
    row = past.money[place]
    if desk.chance(20):
        row["external_id"] = f"MM-{row['loan_id']:06}-{place}"
    gone = {**row, "is_reversed": True, "reversed_on_date": row["submitted_on_date"], "external_id": None}
    if desk.chance(4):
        past.money.append({**gone, "manually_adjusted_or_reversed": True})
    if desk.chance(3):
        interest = row["amount"]  # as it was split before the earlier entry was known
        past.money[place] = {**gone, "principal_portion_derived": None, "interest_portion_derived": interest}
        past.money.append(row)
        past.replayed.append((len(past.money) - 1, place))
