"""Sends what is due: prepare, claim, testify, send, classify, settle. One request at a time, no step twice.

The order of the steps is the promise: the attempt is durable in the outbox, and the witness synced, before the
first byte leaves; what the answer means is written in one transaction with the entry's new state. Nothing here
repeats a request: a repeat is a new attempt, decided by the state machine.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors, log, meter
from kiva_relay.delivery import batch as batches
from kiva_relay.delivery import breaker, outcome, stop
from kiva_relay.delivery.access import Access, Blame
from kiva_relay.delivery.breaker import Asked
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.outcome import Meaning, Outcome
from kiva_relay.delivery.token import Token
from kiva_relay.outbox import adoption, hold, meta, mirror, query, recovery, report, sending, store, table, upload
from kiva_relay.outbox.entry import LATE, Entry
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State

ORDER = ("repayment", "loan_draft", "journal")
_READ_EVERY = 5_000
"""After so many attempts the place in the witness is remembered again: the next start reads from there."""

_CANNOT_RECORD_WAIT_SECONDS = 5
_SAID_AGAIN_AFTER = 60  # tries
_WITNESS_AWAY_FOR = timedelta(minutes=1)
_IN_TURN = 5
WAITS_FOR = (Asked.SENDING, Asked.TOKEN, Asked.PROBE)
"""A page of a list that fails keeps nothing from being sent; that Kiva answers nothing harmless at all does."""

_columns = table.entry.c
# By the index of states, whose last column is the moment: only the first of them is read.
_FIRST_DUE = {
    resource: sa.select(sa.func.min(_columns.due_at)).where(
        _columns.resource == resource, _columns.state == State.READY.value
    )
    for resource in ORDER
}
_FIRST_OF_EACH = sa.select(*(first.scalar_subquery().label(name) for name, first in _FIRST_DUE.items()))

_log = log.get("delivery")


class Courier:
    """The one who sends. `at` is called with the name of each step boundary; tests end the process there.

    `lost`: an answer was lost since somebody set it back; then something harmless is to be asked first. `leaves`: what
    is under way is its last request, as long as that is set.
    `next_due`: when the first of what was ready at the last round is, or was, due; None: nothing was ready.
    """

    def __init__(
        self, context: DeliveryContext, *, stop: threading.Event, at: Callable[[str], None] = lambda _name: None
    ) -> None:
        self._context, self._stop, self._at = context, stop, at
        self._access = Access(context)
        self._outbox_id = ""
        self._last_attempt = 0
        self._testified = 0
        self.lost = self.leaves = False
        self.next_due: datetime | None = None

    def deliver(self) -> int:
        """Send all that is due and may go; how many requests were made. Stops claiming at once when asked to."""
        requests = 0
        while sent := self.round():
            requests += sent
        return requests

    def round(self) -> int:
        """Send some of what is due, of each resource; how many requests were made."""
        context = self._context
        with context.outbox.glance() as cx:
            each = cx.execute(_FIRST_OF_EACH).one()._mapping  # noqa: SLF001 - SQLAlchemy's public name
        first = {one: each[one] for one in ORDER if one in context.settings.resources}
        self.next_due = min((moment for moment in first.values() if moment is not None), default=None)
        now = context.clock.now()
        return sum(self._turn(one) for one, moment in first.items() if moment is not None and moment <= now)

    def _turn(self, resource: str) -> int:
        """Some requests of one resource, so that a heap of drafts does not keep the others waiting."""
        for sent in range(_IN_TURN):
            if self._stop.is_set() or self.leaves or not self._one(resource):
                return sent
        return _IN_TURN

    def _one(self, resource: str) -> bool:
        """One request of a resource, if something is due; false when nothing went."""
        situation = self._situation(resource)
        if situation is None or stop.why_not(situation) is not None:
            return False
        token = self._access.token()
        if token is None or not self._access.may_send(resource, token, is_held=situation.passes is not None):
            return False
        batch = self._claim(resource)
        if batch is None:
            return False
        if not self._testify(batch):
            return False
        answer = self._send(batch, token)
        self._at("answered")
        self._settle(batch, answer, token)
        return True

    def _situation(self, resource: str) -> stop.SendingSituation | None:
        """What decides whether something that is due may be sent now; None where nothing is."""
        context = self._context
        with context.outbox.read() as tx:
            first = _first_due(tx, resource)
            if first is None or first > context.clock.now():
                return None
            holds = hold.in_force(tx)
            is_open = resource != "repayment" or self._report_is_open(tx) or self._has_late(tx)
            is_listed = resource != "loan_draft" or self._list_is_known(tx)
            _doubts, last_doubt = breaker.doubts_in_a_row(tx, resource)
        sends, pause = context.settings.kiva.send, context.destination.pause(*WAITS_FOR)
        return stop.SendingSituation(
            resource=resource,
            passes=hold.passes(holds, resource),
            fault_may_be_over=self._access.may_try(holds, resource),
            sends=sends,
            pause=pause,
            has_room=not sends or bool(pause) or context.has_room(),
            report_is_open=is_open,
            list_is_known=is_listed,
            last_doubt=last_doubt,
            last_harmless=context.destination.last_harmless_success,
        )

    def _claim(self, resource: str) -> Batch | None:
        context = self._context
        with context.outbox.begin() as tx:
            now = context.clock.now()  # in here: the hour may move along between two transactions
            self._must_know_what_it_sent(tx)
            if self._testified >= _READ_EVERY and recovery.was_read(tx, context.witness):
                self._testified = 0
            batch = None
            only = LATE if resource == "repayment" and not self._report_is_open(tx) else None
            if only == LATE and not self._takes_late(tx):
                return None
            limit = self._limit(tx, resource)
            period = context.report().period if resource == "repayment" else None
            self._outbox_id = meta.OUTBOX_ID.get(tx) or ""
            sender = sending.Sender(context.outbox.server, context.witness.id, self._outbox_id)
            while batch is None and (due := query.due(tx, resource, limit=limit, now=now, period=period, origin=only)):
                batch = sending.claim(
                    tx,
                    resource,
                    _may_go(tx, due, now=now, today=context.day_at_kiva()) if resource == "loan_draft" else due,
                    fence=context.lease.fence,
                    now=now,
                    request=lambda bodies: batches.request(resource, bodies, context.settings.kiva),
                    sender=sender,
                )
                if batch is None and hold.passes(hold.in_force(tx), resource) == 0:
                    break
        self._at("claimed")
        return batch

    def _report_is_open(self, tx: Connection) -> bool:
        """By every clock that may be right; and no person has finalised it."""
        reports = self._context.reports()
        if [one.is_open for one in reports] != [True]:
            return False
        known = report.of(tx, reports[0].period)
        return known is None or known.closed_at is None

    def _list_is_known(self, tx: Connection) -> bool:
        """Was what Kiva has read whole since this process started, or said by a person?"""
        since = self._context.started_at
        return mirror.last_complete(tx, started_after=since) is not None or mirror.is_taken(tx, since=since)

    def _has_late(self, tx: Connection) -> bool:
        """Is something due that a person sends late, and does it still go?"""
        now = self._context.clock.now()
        return self._takes_late(tx) and bool(query.due(tx, "repayment", limit=1, now=now, origin=LATE))

    def _takes_late(self, tx: Connection) -> bool:
        """Is it closed, and not finalised: does what a person sends late still go? By every clock that may be right."""
        reports = self._context.reports()
        if len({one.period for one in reports}) != 1 or any(one.opens_next for one in reports):
            return False
        known = report.of(tx, reports[0].period)
        return known is not None and known.takes_late

    def _limit(self, tx: Connection, resource: str) -> int:
        limit = batches.limit(resource, self._context.settings)
        return limit if limit == 1 else stop.at_once(limit, doubts=breaker.doubts_in_a_row(tx, resource)[0])

    def _must_know_what_it_sent(self, tx: Connection) -> None:
        """An outbox that lacks what we wrote into it was put back while we ran: the next start sees how far.

        Raises:
            OutboxPutBack: it was; nothing more is sent by this process.
        """
        if self._last_attempt and not query.has_attempt(tx, self._last_attempt):
            raise errors.OutboxPutBack(
                f"The outbox {self._context.outbox.url} was put back to an older state while the relay ran. Nothing"
                " more is sent; the next start takes from the witness what is missing, and holds.",
                hint="sudo systemctl restart kiva-relay\nkiva-relay status",
            )

    def _testify(self, batch: Batch) -> bool:
        """Tell the witness; false when that is impossible: then nothing was sent, and nothing is."""
        try:
            self._context.witness.testify(
                outbox_id=self._outbox_id,
                attempt=batch.attempt_id,
                resource=batch.resource,
                identities=[entry.identity for entry in batch.entries],
                loans=[entry.loan_id for entry in batch.entries],
            )
        except OSError as error:
            _log.error("The witness cannot be written. Nothing is sent meanwhile", cause=str(error))
            self._put_back(batch, str(error))
            return False
        self._last_attempt = batch.attempt_id
        self._testified += 1
        self._at("testified")
        return True

    def _put_back(self, batch: Batch, words: str) -> None:
        """Not a byte has left: it is ready again, a little later."""
        verdict = EntryVerdict(State.READY, due_in=_WITNESS_AWAY_FOR)
        ending = Ending(Outcome.NOT_PROCESSED, body_complete=False, status=None, detail=words)

        def put_back(tx: Connection) -> None:
            verdicts = dict.fromkeys((entry.id for entry in batch.entries), verdict)
            sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=self._context.clock.now())

        self._record(put_back, attempt=batch.attempt_id, outcome=ending.outcome)

    def _record(self, write: Callable[[Connection], None], **about: object) -> None:
        """Write down what became of an attempt. While that is impossible, nothing else is sent."""
        for times in itertools.count():
            try:
                with self._context.outbox.begin() as tx:
                    write(tx)
            except errors.Unreachable as error:
                if times % _SAID_AGAIN_AFTER == 0:
                    words = "An answer cannot be stored; nothing else is sent until it is"
                    _log.error(words, cause=str(error), **about)
                self._context.clock.wait(threading.Event(), _CANNOT_RECORD_WAIT_SECONDS)
            else:
                return

    def _tell_witness(self, batch: Batch, verdicts: Mapping[int, EntryVerdict]) -> None:
        """What the answer decided, for an outbox that may be restored; where this fails, that one is in doubt."""
        ended: dict[str, dict[str, Any] | None] = {}
        for entry in batch.entries:
            verdict = verdicts[entry.id]
            if verdict.target is State.DELIVERED:
                receipt = verdict.receipt or {}
                ended[entry.identity] = {name: value for name, value in receipt.items() if name != "problems"}
            elif verdict.target is not State.IN_DOUBT:
                ended[entry.identity] = None
        try:
            self._context.witness.ended(outbox_id=self._outbox_id, attempt=batch.attempt_id, ended=ended)
        except OSError as error:
            _log.warning("The witness could not record what became of it", attempt=batch.attempt_id, cause=str(error))

    def _send(self, batch: Batch, token: Token) -> Answer:
        kiva = self._context.settings.kiva
        self._context.lease.still_held()
        key = batches.key(self._outbox_id, batch.attempt_id)
        return self._context.client.post(batches.path(batch.resource, kiva), batch.request, token=token.text, key=key)

    def _settle(self, batch: Batch, answer: Answer, token: Token) -> None:
        """Write down what became of it. While that is impossible, nothing else is sent."""
        given = batches.receipt(batch.resource, answer, self._context.settings.kiva)
        decision = outcome.decide(answer, shape=given is not None, now=self._context.at_kiva())
        again, blamed = self._when_again(batch.resource, answer, decision, token)
        verdicts, ended_as = batches.judged(batch.entries, answer, decision, given, again=again)
        ending = Ending(
            ended_as,
            answer.body_complete,
            answer.status,
            answer.words if ended_as != Outcome.ACCEPTED else None,
            batches.problems_of_the_call(batch.entries, given),
        )
        self._tell_witness(batch, verdicts)
        moved: list[Entry] = []

        def settle(tx: Connection) -> None:
            now = self._context.clock.now()
            moved[:] = sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=now)
            if ended_as is Outcome.ACCEPTED and batch.resource == "repayment":
                upload.keep(tx, batches.upload(batch, given or {}, now=now))
            self._consequences(tx, batch, answer, ended_as, blamed=blamed, now=now)

        receipt = {name: value for name, value in (given or {}).items() if name != "problems"}
        self._record(settle, attempt=batch.attempt_id, outcome=ended_as, receipt=receipt)
        self.lost = ended_as is Outcome.IN_DOUBT or self.lost
        self._at("settled")
        self._report(batch, moved, answer, ended_as)

    def _when_again(
        self, resource: str, answer: Answer, decision: Meaning, token: Token
    ) -> tuple[timedelta | None, bool]:
        """How long until to try again what was surely not processed, and whether we are to blame and must be held."""
        destination = self._context.destination
        if not decision.blame:
            self._access.accepted(resource, token if decision.success_seen else None)
        if decision.outcome is Outcome.ACCEPTED and destination.answered(Asked.SENDING):
            _log.info("Kiva answers again. Nothing was lost")
        if decision.outcome is not Outcome.NOT_PROCESSED:
            return None, False
        if decision.unreachable:
            return destination.unreachable(answer.words, Asked.SENDING), False
        if not decision.blame:
            return destination.asked_to_wait(decision.retry_after, Asked.SENDING), False
        return timedelta(0), self._access.refused(resource, token, answer.status) is Blame.US

    def _consequences(
        self, tx: Connection, batch: Batch, answer: Answer, ended_as: str, *, blamed: bool, now: datetime
    ) -> None:
        """Holds that follow from this attempt, in its own transaction."""
        resource = batch.resource
        if blamed:
            params = {"status": str(answer.status), "path": batches.path(resource, self._context.settings.kiva)}
            hold.put(tx, resource, "destination_fault", now=now, params=params)
        doubts = breaker.doubts_in_a_row(tx, resource)[0] if ended_as == Outcome.IN_DOUBT else 0
        refusals = breaker.refusals_in_a_row(tx, resource) if ended_as == Outcome.REFUSED else 0
        reason = stop.hold_after(ended_as, doubts=doubts, refusals=refusals)
        if reason is not None:
            hold.put(tx, resource, reason, now=now)

    def _report(self, batch: Batch, moved: list[Entry], answer: Answer, ended_as: str) -> None:
        meter.deliveries.labels(resource=batch.resource, outcome=ended_as).inc(len(moved))
        if ended_as == Outcome.ACCEPTED:
            meter.last_success.labels(resource=batch.resource).set(self._context.clock.now().timestamp())
        if any(entry.evidence == "warned" for entry in moved):
            _log.warning("Kiva accepted the call and named a problem of it. A person looks", attempt=batch.attempt_id)
        say = _log.info if ended_as == Outcome.ACCEPTED else _log.warning
        not_clear = ended_as == Outcome.IN_DOUBT and answer.status is not None
        say(
            _NOT_CLEAR if not_clear else _SENTENCES[ended_as],
            resource=batch.resource,
            attempt=batch.attempt_id,
            entries=len(moved),
            loan=moved[0].loan_id if len(moved) == 1 else None,
            status=answer.status,
        )


_NOT_CLEAR = "Kiva's answer does not say whether it took it. It is not sent again until that is settled"
_SENTENCES = {
    "accepted": "Kiva accepted it",
    "refused": "Kiva refused it",
    "not_processed": "It was surely not processed, and is sent again",
    "in_doubt": "The answer was lost. It is not sent again until that is settled",
}


def _first_due(cx: Connection, resource: str) -> datetime | None:
    """When the first of what is ready of a resource is, or was, due; None when nothing is ready."""
    return cx.execute(_FIRST_DUE[resource]).scalar()


def _may_go(tx: Connection, due: list[Entry], *, now: datetime, today: date) -> list[Entry]:
    """The drafts that may be sent; those that Kiva has already are adopted, the late ones refused."""
    found = adoption.of_entries(tx, due)
    rest = []
    for entry in due:
        if entry.id in found:
            store.adopt(tx, entry, found[entry.id], Actor.COURIER, now=now)
        elif (late := batches.too_late(entry, today=today)) is not None:
            store.move(tx, entry, State.REFUSED, Actor.COURIER, now=now, refusals=[late.to_json()])
        else:
            rest.append(entry)
    return rest
