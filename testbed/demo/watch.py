"""Watches the demo from outside: what the outbox and the stand-in show, as numbers and as events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.errors import RelayError
from kiva_relay.outbox import entry, mirror, opening, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import State
from testbed.demo.event import Event
from testbed.demo.stage import Stage
from testbed.institution.branch import KIVA_FUND
from testbed.institution.shift import Deed, Shift
from testbed.judge import expected
from testbed.judge.case import Case

_BECOMES = {"granted": "loan_draft", "approved": "loan_draft", "noted for Kiva": "journal"}
"""What a teller does, and what Kiva gets of it. A position may be an older one on its way: it is not timed."""

_FOLLOWED_FOR = timedelta(seconds=60)
_NAMES = {"loan_draft": "draft", "repayments": "repayment report", "journals": "journal", "journal": "journal"}


@dataclass(frozen=True)
class View:
    """One look: how many entries of each resource are in each state, and so on."""

    entries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    kiva: Mapping[str, Any] = field(default_factory=dict)
    behind: timedelta | None = None
    published: int = 0
    kills: int = 0

    def count(self, *states: str, resource: str = "") -> int:
        """Entries in some states."""
        return sum(n for (of, state), n in self.entries.items() if state in states and resource in ("", of))


class Watch:
    """Looks again and again, and notices what is new. Close it."""

    def __init__(self, stage: Stage, shift: Shift) -> None:
        self._stage, self._shift = stage, shift
        self._outbox: Outbox | None = None
        self._record = self._request = 0
        self._followed: deque[Deed] = deque()
        self._states: dict[int, tuple[str, str | None]] = {}
        self._lags: deque[timedelta] = deque(maxlen=20)

    def close(self) -> None:
        """Close the outbox."""
        if self._outbox is not None:
            self._outbox.close()

    def look(self, *, published: int, kills: int) -> tuple[View, list[Event]]:
        """The numbers of now, and what happened since the last look. The coordinator and the script give theirs."""
        events = [*self._accepted(), *self._went_wrong()]
        counts: Counter[tuple[str, str]] = Counter()
        outbox = self._opened()
        if outbox is not None:
            with outbox.read() as tx:
                columns = table.entry.c
                query = sa.select(columns.resource, columns.state, sa.func.count()).group_by(
                    columns.resource, columns.state
                )
                counts.update({(resource, state): number for resource, state, number in tx.execute(query)})
                events += self._moved(tx)
        behind = sorted(self._lags)[len(self._lags) // 2] if self._lags else None
        view = View(counts, dict(self._shift.done), self._stage.sandbox.state(), behind, published, kills)
        return view, sorted(events, key=lambda one: one.at)

    def quiet(self, since: datetime) -> bool:
        """Is everything that the MIS committed by `since` read, sent and settled, as far as it can be?"""
        outbox = self._opened()
        if outbox is None:
            return False
        loans = self._stage.sandbox.loans()
        to_move = [loan for loan in loans if loan["record"] and loan["status"] in ("draft", "fundRaising")]
        if any(not loan["refused"] for loan in to_move):
            return False
        moved = max((datetime.fromisoformat(loan["since"]) for loan in loans), default=since)
        with outbox.read() as tx:
            marks = tx.execute(sa.select(table.watermark.c.moved_at, table.watermark.c.scan)).all()
            refresh = mirror.last_complete(tx, started_after=max(moved, since))
            if not marks or refresh is None or refresh.ended_at is None:
                return False
            read_after = max(since, refresh.ended_at)
            if any(mark.scan or mark.moved_at is None or mark.moved_at <= read_after for mark in marks):
                return False
            again = sa.select(sa.func.count()).select_from(table.captured).where(table.captured.c.again)
            return tx.execute(again).scalar_one() == 0 and not self._under_way(tx)

    def in_doubt(self, resource: str) -> int:
        """How many entries of a resource are in doubt or being sent."""
        outbox = self._opened()
        if outbox is None:
            return 0
        columns = table.entry.c
        states = columns.state.in_([State.IN_DOUBT.value, State.SENDING.value])
        with outbox.read() as tx:
            query = sa.select(sa.func.count()).select_from(table.entry).where(states, columns.resource == resource)
            return tx.execute(query).scalar_one()

    def case(self) -> Case:
        """All that the judge compares, read now."""
        stage = self._stage
        outbox = self._opened()
        if outbox is None:
            raise RelayError(f"The relay made no outbox. See {stage.relay.log}.")
        with psycopg.connect(stage.mis, autocommit=True) as connection:
            due = expected.expected(connection, fund_id=KIVA_FUND, cutoff=stage.today, today=stage.today)
        with outbox.read() as tx:
            entries = [entry.of(row) for row in tx.execute(sa.select(table.entry))]
            doubts = (
                sa.select(table.batch_member.c.entry_id)
                .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
                .where(table.attempt.c.outcome == "in_doubt")
            )
            doubted = frozenset(tx.execute(doubts).scalars())
        return Case(
            owed=due,
            history=stage.history,
            since=stage.since,
            ledger=stage.sandbox.ledger(),
            loans=stage.sandbox.loans(),
            entries=entries,
            doubted=doubted,
        )

    def faults(self) -> Counter[str]:
        """How often each fault struck, by its kind."""
        return Counter(one["fault"] for one in self._stage.sandbox.requests() if one["fault"])

    def _opened(self) -> Outbox | None:
        """The outbox, as soon as the relay has made it."""
        if self._outbox is None:
            try:
                self._outbox = opening.open_outbox(self._stage.settings, create=False)
            except RelayError:
                return None
        return self._outbox

    def _under_way(self, tx: Connection) -> bool:
        """Is there something that goes on by itself, and soon?

        A journal in doubt does not: it waits for a person. A position whose answer was lost twice goes an hour later.
        """
        columns = table.entry.c
        moving = columns.state.in_([State.READY.value, State.SENDING.value])
        soon = sa.or_(columns.resource == "loan_draft", sa.and_(columns.resource == "repayment", columns.repeats == 0))
        settling = sa.and_(columns.state == State.IN_DOUBT.value, soon)
        return tx.execute(sa.select(columns.id).where(moving | settling).limit(1)).first() is not None

    def _accepted(self) -> Iterator[Event]:
        """What tellers did and Kiva has now."""
        while self._shift.deeds:
            deed = self._shift.deeds.popleft()
            if deed.act.kiva and _became(deed):
                self._followed.append(deed)
        records = self._stage.sandbox.ledger(since=self._record, bodies=False)
        self._record = records[-1]["number"] if records else self._record
        got = {
            (one["resource"], loan): datetime.fromisoformat(one["time"]) for one in records for loan in one["loan_ids"]
        }
        now = self._stage.clock.now()
        waiting, self._followed = self._followed, deque()
        for deed in waiting:
            resource, act = _became(deed), deed.act
            at = got.get((resource, act.identity))
            if at is not None and at >= deed.at:
                lag = at - deed.at
                self._lags.append(lag)
                became = f"{_NAMES[resource]} at Kiva {lag.total_seconds():.1f} s later"
                yield Event(
                    at, f"loan {act.identity}  {act.what}{'' if resource == 'journal' else ' in the MIS'} → {became}"
                )
            elif now - deed.at < _FOLLOWED_FOR:
                self._followed.append(deed)

    def _went_wrong(self) -> Iterator[Event]:
        """Calls that the stand-in was told to spoil."""
        requests = self._stage.sandbox.requests(since=self._request)
        for call in requests:
            if call["outcome"] == "open" and call["fault"] != "slow":
                break  # looked at again when it has ended
            self._request = call["number"]
            if call["fault"] in _HAPPENED:
                name = _NAMES.get(call["on"], call["on"])
                loan = f" of loan {call['loan_ids'][0]}" if len(call["loan_ids"]) == 1 else ""
                text = f"{name}{loan}: {_HAPPENED[call['fault']]}"
                yield Event(datetime.fromisoformat(call["time"]), text, loud=True)

    def _moved(self, tx: Connection) -> Iterator[Event]:
        """Doubts that came and went, and what began to wait for a person."""
        columns = table.entry.c
        doubtful = columns.state.in_([State.IN_DOUBT.value, State.REFUSED.value]) | columns.reason.in_(
            ["position_fell", "position_exceeds_principal"]
        )
        query = sa.select(table.entry).where(doubtful | columns.id.in_(list(self._states)))
        for row in tx.execute(query):
            one = entry.of(row)
            before, after = self._states.get(one.id), (one.state.value, one.reason)
            if before == after:
                continue
            self._states[one.id] = after
            if before is not None and before[0] == State.IN_DOUBT.value and one.state is not State.IN_DOUBT:
                if one.resource == "loan_draft":
                    yield Event(one.changed_at, f"loan {one.loan_id}  {_settled(one)} (entry {one.id})", loud=True)
            elif one.state is State.IN_DOUBT and one.resource == "journal":
                text = "nobody can look this up: it waits for a person"
                yield Event(one.changed_at, f"loan {one.loan_id}  {text} (entry {one.id})", loud=True)
            elif one.reason == "position_fell":
                text = "the amount repaid fell → kept back, a person decides"
                yield Event(one.changed_at, f"loan {one.loan_id}  {text}")
            if one.state in (State.DELIVERED, State.SUPERSEDED, State.WITHDRAWN):
                del self._states[one.id]


_HAPPENED = {
    "drop_before": "cut off on purpose before Kiva had it",
    "drop_after": "Kiva took it, its answer was cut off on purpose → not sent again, being looked for",
    "cut_answer": "Kiva took it, its answer was cut in half on purpose → not sent again, being looked for",
    "status": "Kiva said on purpose: come back later → sent again then",
}


def _became(deed: Deed) -> str:
    """The resource that Kiva gets; "" for what is not followed."""
    what = deed.act.what
    return _BECOMES.get(what, _BECOMES.get(what.split()[0], ""))


def _settled(one: entry.Entry) -> str:
    if one.state is State.DELIVERED and one.evidence != "receipt":
        return "found at Kiva: the lost answer had been a yes"
    if one.state in (State.READY, State.SENDING, State.DELIVERED):
        return "not at Kiva, that is proven now: sent again"
    return f"settled: {one.state.value}"
