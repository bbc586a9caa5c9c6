"""Histories through the end of a window: undecided loans, a close, what a person sends late, and a finalised report.

October is reported without trouble. Then it is December, the report of November is open for some hours or minutes,
and the world goes wrong as in every history; the institution takes repayments back, so that amounts fall and a person
is asked.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kiva_relay import errors
from kiva_relay.config.repayments import Repayments
from kiva_relay.outbox import decision, hold, report
from kiva_relay.outbox.store import Overtaken
from kiva_relay.report import current, decide, finalising
from kiva_relay.report.decide import LineAnswer
from kiva_relay.report.line import DECIDED, ReportLine, ReportLineKind
from kiva_relay.resource import window
from testbed.simulation import judge, run
from testbed.simulation.run import History, Mood
from testbed.simulation.workshop import Workshop

_WINDOW = {"opens_on": {"day": 1, "at": "06:00"}, "closes_on": {"day": 3, "at": "18:00"}, "timezone": "UTC"}
_OCTOBER = datetime(2026, 11, 1, 7, 0, tzinfo=UTC)
_BEGINS = datetime(2026, 12, 3, 14, 0, tzinfo=UTC)
"""At the earliest."""
_CLOSES = datetime(2026, 12, 3, 18, 0, tzinfo=UTC)
_BEFORE_IT_CLOSES = (240, 60, 8)
"""Minutes, of which the dice choose: a request is on its way, or in doubt, for some minutes only."""
_PERIOD = "2026-11"
_ASKS_LATE = (ReportLineKind.CLOSED_WITHOUT, ReportLineKind.CLOSED_WRONG, ReportLineKind.CLOSED_UNKNOWN)
_STEPS = (20, 240, 700, 1200, 3600, 7200)
_ANSWERS_ONLY_WHAT_ASKS = 0.8
"""How often, once it has closed: else she answers any line, one more time."""
_SETTLED = 8
_SOMETHING_IS_NEW = -1
ACTORS = {"courier": 8, "capture": 7, "refresher": 3, "institution": 6, "reporter": 5, "time": 6}


def any_mood(dice: random.Random) -> Mood:
    """Some world or other."""
    return Mood(
        trouble=dice.choice([0.0, 0.1, 0.4]),
        kills=dice.choice([0, 1, 3]),
        drafts_visible=True,
        lag=timedelta(0),
        switch=dice.choice([0.0, 0.05, 0.15]),
        resources=("repayment",),
        steps=40,
        actors=ACTORS,
        loans=3,
        starts=_OCTOBER,
    )


class MonthEnd(History):
    """One of them. `said` are the amounts that a person sent late, by loan, each with when she did.

    `unheard` are the loans, with the decision, of which nothing was owed by the next look at the MIS.
    """

    def __init__(self, seed: int, shop: Workshop, mood: Mood | None = None) -> None:
        super().__init__(seed, shop, mood or any_mood(random.Random(seed)))
        chosen = Repayments.model_validate({**_WINDOW, "batch": 3})
        self.settings = self.settings.model_copy(update={"repayments": chosen})
        self.said: list[tuple[str, Decimal, datetime]] = []
        self.finalised: datetime | None = None
        self.unheard: list[tuple[str, int | None]] = []
        self._sends_since: datetime | None = None

    def run(self) -> list[str]:
        """Live through it; what is wrong with it in the end, nothing as a rule."""
        self._october()
        for _ in range(self.mood.steps):
            self._alive(self.step)
        self.calm, self.kiva.trouble = True, 0
        self._rest(max(self.clock.moment, _CLOSES + timedelta(minutes=30)))
        self._alive(self._send_all_late)
        self._rest(self.clock.moment + timedelta(minutes=1))
        return [*judge.order_of_positions(self), *self._booked(), *self._lines()]

    def _october(self) -> None:
        """Every loan is reported, and nothing goes wrong."""
        trouble, self.kiva.trouble, self.calm = self.kiva.trouble, 0, True
        for _ in range(self.dice.randint(1, self.mood.loans)):
            key = self.mis.open_loan()
            self.mis.loans[key]["repaid"] = Decimal(50)
            self.mis.positions[key] = [Decimal(50)]
            self.kiva.add(f"L{key}", "payingBack", listed_from=self.clock.now())
        self._alive(self.begin)
        self._rest(self.clock.moment)
        assert len(self.kiva.ledger) == len(self.mis.loans)
        self.clock.moment = _CLOSES - timedelta(minutes=self.dice.choice(_BEFORE_IT_CLOSES))
        self.kiva.trouble, self.calm = trouble, False

    def _rest(self, moment: datetime) -> None:
        """Nothing goes wrong any more: all loops turn until what was lost is settled."""
        self.clock.moment = max(self.clock.moment, moment)
        for _ in range(_SETTLED):
            self.kiva.arrive()
            for act in (self._release, *self.loops.values()):
                self._alive(act)
            self.clock.moment += timedelta(minutes=20)
            if judge.picture(self).taken and not self.kiva.under_way() and judge.picture(self).at_rest:
                return

    def _act(self, who: str) -> None:
        if who == "reporter":
            self._report()
        elif who == "time":
            before, self.clock.moment = self.clock.moment, self.clock.moment + self._some_time()
            if before < _CLOSES <= self.clock.moment:
                self._read_to = _SOMETHING_IS_NEW
            self.kiva.arrive()
            self.tell("time passes")
        elif who == "courier":
            self._sends_since = self.clock.moment
            try:
                super()._act(who)
            finally:
                self._sends_since = None
        elif who == "capture" and self.loops:
            asked = self._waits_for_a_look()
            super()._act(who)
            self.unheard += [line for line in self._waits_for_a_look() if line in asked]
        else:
            super()._act(who)

    def _waits_for_a_look(self) -> list[tuple[str, int | None]]:
        """What was sent late and is owed by the next look at the MIS: loans, each with the number of the decision."""
        decided = [one for one in self._shown() if (one.kind, one.cause) == (ReportLineKind.ON_ITS_WAY, DECIDED)]
        return [(one.loan_id, one.decided) for one in decided]

    def _some_time(self) -> timedelta:
        """No more than the judge grants a request: a relay that stands still for longer has no lease to send by."""
        some = timedelta(seconds=self.dice.choice(_STEPS))
        if self._sends_since is None:
            return some
        return max(min(some, self._sends_since + judge.ON_ITS_WAY - self.clock.moment), timedelta(0))

    # ---------------------------------------------------------------- the person who reports

    def _report(self) -> None:
        """She decides about a line, sends one late, or now and then finalises the report."""
        self._release()
        late = self._is_closed()
        if late and self.finalised is None and self.dice.random() < 0.1:
            self._finalise()
            return
        asks = late and self.dice.random() < _ANSWERS_ONLY_WHAT_ASKS
        wanted = [
            one
            for one in self._shown()
            if one.position is not None and (one.kind in _ASKS_LATE if asks else one.needs_a_person or late)
        ]
        if wanted:
            self._send(self.dice.choice(wanted), late=late)

    def _release(self) -> None:
        with self.outbox.begin() as tx:
            for held in hold.in_force(tx):
                hold.release(tx, held.what, by="awa", note="looked", now=self.clock.now())

    def _is_closed(self) -> bool:
        with self.outbox.read() as tx:
            found = report.of(tx, _PERIOD)
        return found is not None and found.closed_at is not None

    def _shown(self) -> list[ReportLine]:
        with self.outbox.read() as tx:
            found = report.of(tx, _PERIOD)
            return [] if found is None else list(current.each_line(tx, self.settings, _PERIOD))

    def _send(self, line: ReportLine, *, late: bool) -> None:
        now = self.clock.now()
        answer = LineAnswer("send", None, "she called", late=late)
        try:
            with self.outbox.begin() as tx:
                decide.decide(tx, self.settings, line, answer, period=_PERIOD, by="awa", now=now)
        except (errors.UsageError, Overtaken) as error:
            self.tell(f"awa is told: {error}")
            return
        self._read_to = _SOMETHING_IS_NEW  # who decides wakes the relay
        if late:
            self.said.append((line.loan_id, line.position or Decimal(0), now))
        self.tell(f"awa: {line.loan_id} {line.position}{' late' * late} --send")

    def _send_all_late(self) -> None:
        """What was not sent by the end is, unless it was finalised; also what changed after she saw it."""
        for _ in range(3):
            for line in self._shown():
                if self.finalised is None and line.kind in _ASKS_LATE and line.position is not None:
                    self._send(line, late=True)
            self._rest(self.clock.moment)

    def _finalise(self) -> None:
        try:
            with self.outbox.begin() as tx:
                finalising.finalise(tx, self.settings, _PERIOD, by="awa", note="PA2", now=self.clock.now())
        except (errors.UsageError, Overtaken) as error:
            self.tell(f"awa is told: {error}")
        else:
            self.finalised = self.clock.moment
            self.tell("awa finalises the report")

    # ---------------------------------------------------------------- the judge

    def _booked(self) -> list[str]:
        """What Kiva got while no window was open, and nobody had sent late; or after it was finalised."""
        wrong = []
        for record in self.kiva.ledger:
            left = [moment for moment in (record.at, record.at - judge.ON_ITS_WAY) if moment >= _BEGINS]
            if any(window.report(self.settings, moment).is_open for moment in left) or record.at < _BEGINS:
                continue
            amount = Decimal(str(record.body["amount"]))
            if not any((loan, said) == (record.loan_id, amount) and at <= record.at for loan, said, at in self.said):
                wrong.append(
                    f"{record.loan_id}: {amount} was booked after the report had closed, and nobody sent it late"
                )
            elif self.finalised is not None and record.at - judge.ON_ITS_WAY > self.finalised:
                wrong.append(f"{record.loan_id}: {amount} was booked after the report had been finalised")
        return wrong

    def _lines(self) -> list[str]:
        """Each expected loan has its line, which says what Kiva has; what was sent late is there, or unknown."""
        shown = self._shown()
        wrong = [f"{loan} was sent late, and a look at the MIS owed nothing of it" for loan, _decision in self.unheard]
        if len(shown) != len(self.mis.loans):
            wrong.append(f"{len(shown)} lines, and Kiva expects {len(self.mis.loans)} loans")
        for line in shown:
            taken = [record for record in self.kiva.ledger if record.loan_id == line.loan_id and record.at >= _BEGINS]
            last = Decimal(str(taken[-1].body["amount"])) if taken else None
            if line.kind is ReportLineKind.ACCEPTED and line.at_kiva != last:
                wrong.append(f"{line.loan_id}: its line says that Kiva has {line.at_kiva}; it has {last}")
            if line.kind is ReportLineKind.ON_ITS_WAY:
                wrong.append(f"{line.loan_id} is on its way for ever ({line.cause})")
            decided = self._late_of(line.kiva_id)
            if decided and self.finalised is None and line.kind in (
                ReportLineKind.CLOSED_WITHOUT, ReportLineKind.CLOSED_WRONG
            ):  # fmt: skip
                wrong.append(f"{line.loan_id} was sent late, and stands as {line.kind} ({line.cause})")
        return wrong

    def _late_of(self, kiva_id: str) -> bool:
        with self.outbox.read() as tx:
            found: Any = decision.in_force(tx, _PERIOD).get(kiva_id)
        return found is not None and bool(found.late)


def tried(seed: int, shop: Workshop, *, mood: Mood | None = None) -> History | None:
    """Live through one seed; the history when it went wrong."""
    return run.tried(seed, shop, mood=mood, kind=MonthEnd)
