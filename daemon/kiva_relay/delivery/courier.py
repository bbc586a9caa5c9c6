"""Sends what is due: prepare, claim, testify, send, classify, settle. One request at a time, no step twice.

The order of the steps is the promise: the attempt is durable in the outbox, and the witness synced, before the
first byte leaves; what the answer means is written in one transaction with the entry's new state. Nothing here
repeats a request: a repeat is a new attempt, decided by the state machine.
"""

from __future__ import annotations

import threading
import uuid
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
from kiva_relay.outbox import adoption, hold, meta, mirror, query, sending, store, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource import window

ORDER = ("repayment", "loan_draft", "journal")
_CANNOT_RECORD_WAIT_SECONDS = 5
_WITNESS_AWAY_FOR = timedelta(minutes=1)
_IN_TURN = 5
_WAITS_FOR = (Asked.SENDING, Asked.TOKEN, Asked.PROBE)
"""A page of a list that fails keeps nothing from being sent; that Kiva answers nothing harmless at all does."""

_log = log.get("delivery")


class Courier:
    """The one who sends. `at` is called with the name of each step boundary; tests end the process there."""

    def __init__(
        self, context: DeliveryContext, *, stop: threading.Event, at: Callable[[str], None] = lambda _name: None
    ) -> None:
        self._context, self._stop, self._at = context, stop, at
        self._access = Access(context)
        self._outbox_id = ""
        self._last_attempt = 0

    def deliver(self) -> int:
        """Send all that is due and may go; how many requests were made. Stops claiming at once when asked to."""
        requests = 0
        while sent := self.round():
            requests += sent
        return requests

    def round(self) -> int:
        """Send some of what is due, of each resource; how many requests were made."""
        return sum(self._turn(resource) for resource in ORDER if resource in self._context.settings.resources)

    def _turn(self, resource: str) -> int:
        """Some requests of one resource, so that a heap of drafts does not keep the others waiting."""
        for sent in range(_IN_TURN):
            if self._stop.is_set() or not self._one(resource):
                return sent
        return _IN_TURN

    def _one(self, resource: str) -> bool:
        """One request of a resource, if something is due; false when nothing went."""
        if not self._something_due(resource) or stop.why_not(self._situation(resource)) is not None:
            return False
        token = self._access.token()
        if token is None or not self._access.may_send(resource, token):
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

    def _something_due(self, resource: str) -> bool:
        columns, now = table.entry.c, self._context.clock.now()
        due = (columns.resource == resource, columns.state == State.READY.value, columns.due_at <= now)
        with self._context.outbox.read() as tx:
            return tx.execute(sa.select(columns.id).where(*due).limit(1)).first() is not None

    def _situation(self, resource: str) -> stop.SendingSituation:
        """What decides whether something that is due may be sent now."""
        context = self._context
        with context.outbox.read() as tx:
            passes, may_try = hold.passes(tx, resource), self._access.may_try(tx, resource)
            listed = mirror.last_complete(tx, started_after=context.started_at) is not None
            _doubts, last_doubt = breaker.doubts_in_a_row(tx, resource)
        sends, pause = context.settings.kiva.send, context.destination.pause(*_WAITS_FOR)
        return stop.SendingSituation(
            resource=resource,
            passes=passes,
            fault_may_be_over=may_try,
            sends=sends,
            pause=pause,
            has_room=not sends or bool(pause) or context.has_room(),
            report_is_open=window.report(context.settings, context.at_kiva()).is_open,
            list_is_known=listed,
            last_doubt=last_doubt,
            last_harmless=context.destination.last_harmless_success,
        )

    def _claim(self, resource: str) -> Batch | None:
        context, now = self._context, self._context.clock.now()
        with context.outbox.begin() as tx:
            self._must_know_what_it_sent(tx)
            batch = None
            while batch is None and (due := query.due(tx, resource, limit=self._limit(tx, resource), now=now)):
                batch = sending.claim(
                    tx,
                    resource,
                    _may_go(tx, due, now=now, today=context.day_at_kiva()) if resource == "loan_draft" else due,
                    fence=context.lease.fence,
                    now=now,
                    request=lambda bodies: batches.request(resource, bodies, context.settings.kiva),
                )
                if batch is None and hold.passes(tx, resource) == 0:
                    break
            self._outbox_id = meta.OUTBOX_ID.get(tx) or ""
        self._at("claimed")
        return batch

    def _limit(self, tx: Connection, resource: str) -> int:
        doubts, _last = breaker.doubts_in_a_row(tx, resource)
        return stop.at_once(batches.limit(resource, self._context.settings), doubts=doubts)

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
        self._at("testified")
        return True

    def _put_back(self, batch: Batch, words: str) -> None:
        """Not a byte has left: it is ready again, a little later."""
        now = self._context.clock.now()
        verdict = EntryVerdict(State.READY, due_at=now + _WITNESS_AWAY_FOR)
        ending = Ending(Outcome.NOT_PROCESSED, body_complete=False, status=None, detail=words)

        def put_back(tx: Connection) -> None:
            verdicts = dict.fromkeys((entry.id for entry in batch.entries), verdict)
            sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=now)

        self._record(put_back, attempt=batch.attempt_id, outcome=ending.outcome)

    def _record(self, write: Callable[[Connection], None], **about: object) -> None:
        """Write down what became of an attempt. While that is impossible, nothing else is sent."""
        while True:
            try:
                with self._context.outbox.begin() as tx:
                    write(tx)
            except errors.Unreachable as error:
                _log.error("An answer cannot be stored; nothing else is sent until it is", cause=str(error), **about)
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
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._outbox_id}/{batch.attempt_id}"))
        return self._context.client.post(batches.path(batch.resource, kiva), batch.request, token=token.text, key=key)

    def _settle(self, batch: Batch, answer: Answer, token: Token) -> None:
        """Write down what became of it. While that is impossible, nothing else is sent."""
        now = self._context.clock.now()
        given = batches.receipt(batch.resource, answer, self._context.settings.kiva)
        decision = outcome.decide(answer, shape=given is not None, now=now)
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
            moved[:] = sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=now)
            self._consequences(tx, batch, answer, ended_as, blamed=blamed, now=now)

        receipt = {name: value for name, value in (given or {}).items() if name != "problems"}
        self._record(settle, attempt=batch.attempt_id, outcome=ended_as, receipt=receipt)
        self._at("settled")
        self._report(batch, moved, answer, ended_as)

    def _when_again(
        self, resource: str, answer: Answer, decision: Meaning, token: Token
    ) -> tuple[datetime | None, bool]:
        """When to try again what was surely not processed, and whether we are to blame and must be held."""
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
        return self._context.clock.now(), self._access.refused(resource, token, answer.status) is Blame.US

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
