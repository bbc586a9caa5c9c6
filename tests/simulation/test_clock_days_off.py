"""Two days of the real relay with the clock of its machine six days off: no position goes in a wrong month, and no
draft is refused as too late or sent too early.

By a virtual clock: the world has its own hour, and the relay's machine another. Kiva books what it gets in the month in
which it gets it, so each position has to be of the report that is open by the world's hour. Now and then a loan is
granted that PA2 publishes for three more days, or today only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest
import sqlalchemy as sa

from kiva_relay.config.repayments import Repayments
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, table
from kiva_relay.resource import window
from kiva_relay.resource.loan_draft import DAYS_BACK
from testbed.simulation.run import History, Mood
from testbed.simulation.workshop import Workshop, workshop

pytestmark = pytest.mark.long

SIX_DAYS = timedelta(days=6)
# The report is open from the 1st to the 5th: six days off, it is another month, or another answer.
BEGINS = (
    datetime(2026, 11, 28, tzinfo=UTC),
    datetime(2026, 11, 30, 22, 0, tzinfo=UTC),
    pytest.param(datetime(2026, 12, 4, tzinfo=UTC), marks=pytest.mark.night),
)
HOURS = 48
HOLD_FOR = timedelta(minutes=50)
SET_AT, RESTARTED_AT, SET_BACK_AT = 5, 20, 40


def _day(begins: datetime) -> str:
    return f"{begins:%m-%d}"


Dates = Callable[[History], Mapping[str, str]]


def of(moment: datetime, **more: str) -> dict[str, str]:
    return {"date": format_datetime(moment, usegmt=True), **more}


_turns = itertools.cycle([1, 0])
DATES: dict[str, Dates] = {
    "right": lambda history: of(history.clock.moment),
    "none": lambda _history: {},
    "out of a cache": lambda history: of(history.clock.moment - SIX_DAYS, age="518400"),
    "contradicting": lambda history: of(history.clock.moment + next(_turns) * SIX_DAYS),
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as opened:
        yield opened


def monthly(settings: Settings) -> Settings:
    chosen = Repayments.model_validate(
        {"opens_on": {"day": 1, "at": "06:00"}, "closes_on": {"day": 5, "at": "18:00"}, "timezone": "Africa/Dakar"}
    )
    resting = settings.delivery.model_copy(update={"hold_for": HOLD_FOR})
    return settings.model_copy(update={"repayments": chosen, "delivery": resting})


def is_night(history: History) -> bool:
    """Has the hour come, in the last half hour, at which what changed is sent?"""
    hour = history.settings.repayments.send_at
    return (history.clock.moment.hour, history.clock.moment.minute) == (hour.hour, hour.minute)


class TwoDays:
    """What the relay does in them. `wrong` are the positions that Kiva booked in another month than they are of."""

    def __init__(self, shop: Workshop, begins: datetime, dates: Dates) -> None:
        both = ("repayment", "loan_draft")
        mood = Mood(0, 0, drafts_visible=True, lag=timedelta(0), switch=0, resources=both, starts=begins)
        self.history = History(1, shop, mood)
        self.history.settings = monthly(self.history.settings)
        self.granted: dict[str, datetime] = {}
        self.hours = 0
        self.history.kiva.dates = lambda: dates(self.history)
        key = self.history.mis.open_loan()
        self.loan = self.history.mis.loans[key]
        self.history.kiva.add(self.loan["account"], "payingBack", listed_from=begins)
        self.key, self.taken, self.seen, self.open_hours, self.nights = key, 0, 0, 0, 0
        self.wrong: list[str] = []

    def begins(self, *, mis_is_right: bool) -> None:
        self.history.begin()
        self.mis_is_right = mis_is_right
        self._ask_mis()
        for loop in self.history.loops.values():  # what the backfill finds does not rest
            loop()

    def _ask_mis(self) -> None:
        clock = self.history.clock
        self.history.kiva_time.hear_mis(clock.moment if self.mis_is_right else clock.now())

    def hour(self) -> None:
        history = self.history
        self.hours += 1
        for half in range(2):
            history.clock.moment += timedelta(minutes=30)
            if half == 0 and self.hours % 4 == 0:
                self._grants()
            self.loan["repaid"] += Decimal(1)
            history.mis._wrote("loan", self.key)
            self._ask_mis()
            history.keep_time()
            for loop in history.loops.values():
                loop()
            right = window.report(history.settings, history.clock.moment)
            self.open_hours += right.is_open
            self.nights += right.is_open and is_night(history)
            new = history.kiva.ledger[self.seen :]
            self.seen += len(new)
            for record in new:
                if record.resource == "repayment":
                    self.taken += 1
                    self._judge(record.body["amount"], right)
                else:
                    self._judge_draft(record.loan_id)

    def _grants(self) -> None:
        """A loan that was given so long ago that this is its last day but three, or its last."""
        history = self.history
        key = history.mis.open_loan()
        loan, today = history.mis.loans[key], history.clock.moment.date()
        loan["disbursed"] = today - timedelta(days=DAYS_BACK - 3 * (len(self.granted) % 2))
        history.mis._wrote("loan", key)
        self.granted[loan["account"]] = history.clock.moment

    def _judge_draft(self, account: str) -> None:
        rested = self.history.clock.moment - self.granted[account]
        if rested < HOLD_FOR:
            self.wrong.append(f"{self.history.clock.moment}: the draft of {account} went after {rested}")

    def drafts(self) -> list[str]:
        """Loans that should be at Kiva by now, and are not."""
        there = {record.loan_id for record in self.history.kiva.ledger if record.resource == "loan_draft"}
        late = self.history.clock.moment - HOLD_FOR - timedelta(hours=1)
        return [account for account, granted in self.granted.items() if granted < late and account not in there]

    def _judge(self, amount: object, right: window.RepaymentReport) -> None:
        columns = table.entry.c
        with self.history.outbox.read() as tx:
            rows = tx.execute(
                sa.select(columns.period, columns.amount).where(
                    columns.state == "delivered", columns.resource == "repayment"
                )
            ).all()
        periods = {row.period for row in rows if Decimal(str(row.amount)) == Decimal(str(amount))}
        if not right.is_open or periods != {right.period}:
            self.wrong.append(f"{self.history.clock.moment}: {amount} of {periods}, and it is {right}")

    def restarts(self) -> None:
        with self.history.outbox.begin() as tx:
            self.history.kiva_time.keep(tx)
        self.history.begin()
        self._ask_mis()

    def is_held(self) -> bool:
        with self.history.outbox.read() as tx:
            return any(one.reason == "clock" for one in hold.in_force(tx))


@pytest.mark.parametrize("begins", BEGINS, ids=_day)
@pytest.mark.parametrize("off", [SIX_DAYS, -SIX_DAYS], ids=["ahead", "back"])
@pytest.mark.parametrize("dates", DATES)
def test_a_clock_that_is_set_in_mid_run_sends_nothing_of_a_wrong_month(
    dates: str, off: timedelta, begins: datetime, shop: Workshop
) -> None:
    """Also where the MIS is on the same machine, so that its clock is wrong with it."""
    days = TwoDays(shop, begins, DATES[dates])
    days.begins(mis_is_right=False)
    for hour in range(HOURS):
        if hour == SET_AT:
            days.history.clock.off = off
        if hour == RESTARTED_AT:
            days.restarts()
        if hour == SET_BACK_AT:
            days.history.clock.off = timedelta(0)
        days.hour()
    days.history.end()
    assert not days.wrong
    assert not days.drafts()
    if dates == "right":
        assert days.taken >= days.nights
    elif dates != "contradicting":
        assert not days.is_held()
        assert days.taken or not days.open_hours


@pytest.mark.parametrize("begins", BEGINS, ids=_day)
@pytest.mark.parametrize("off", [SIX_DAYS, -SIX_DAYS], ids=["ahead", "back"])
@pytest.mark.parametrize("dates", DATES)
def test_a_clock_that_is_wrong_from_the_start_sends_nothing_of_a_wrong_month(
    dates: str, off: timedelta, begins: datetime, shop: Workshop
) -> None:
    """With an MIS on another machine, whose clock is right."""
    days = TwoDays(shop, begins, DATES[dates])
    days.history.clock.off = off
    days.begins(mis_is_right=True)
    for hour in range(HOURS):
        if hour == RESTARTED_AT:
            days.restarts()
        days.hour()
    days.history.end()
    assert not days.wrong
    assert not days.drafts()
    if dates == "right":
        assert days.taken >= days.nights


def test_a_person_who_releases_it_is_believed(shop: Workshop) -> None:
    days = TwoDays(shop, BEGINS[0], DATES["none"])
    days.begins(mis_is_right=False)
    days.hour()
    days.history.clock.off = SIX_DAYS
    days.hour()
    assert days.is_held()
    with days.history.outbox.begin() as tx:
        hold.release(tx, "repayment", by="amina", note="the clock is right", now=days.history.clock.now())
    days.hour()
    days.history.end()
    assert not days.is_held()
    assert days.taken
