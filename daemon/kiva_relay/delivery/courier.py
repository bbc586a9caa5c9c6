"""Sends what is due: prepare, claim, testify, send, classify, settle. One request at a time, no step twice.

The order of the steps is the promise: the attempt is durable in the outbox, and the witness synced, before the
first byte leaves; what the answer means is written in one transaction with the entry's new state. Nothing here
repeats a request: a repeat is a new attempt, decided by the state machine.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors, log, meter
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.delivery import batch as batches
from kiva_relay.delivery import breaker, outcome
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.outcome import Decision, Outcome
from kiva_relay.delivery.token import CredentialsRefused, Token, Tokens
from kiva_relay.outbox import binding, hold, mirror, query, sending, store, table
from kiva_relay.outbox.database import FREE_BYTES, Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.witness import Witness
from kiva_relay.resource import window
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal

ORDER = ("repayment", "loan_draft", "journal")
_TRY_AGAIN_AFTER_FAULT = timedelta(minutes=5)
_CANNOT_RECORD_WAIT_SECONDS = 5
_WITNESS_AWAY_FOR = timedelta(minutes=1)
_IN_TURN = 5
_MEGABYTE = 1024 * 1024
_READS = "read:loans"

_log = log.get("delivery")


@dataclass
class DeliveryContext:
    """What the courier works with. Opened by the relay, shared by nobody else but `destination` and `tokens`."""

    outbox: Outbox
    settings: config.Settings
    clock: Clock
    client: Client
    tokens: Tokens
    destination: breaker.Destination
    lease: Lease
    witness: Witness
    started_at: datetime
    no_room: str = ""

    def has_room(self) -> bool:
        """Is there room on the disks to record what comes back? `no_room` says where not; logged when it changes."""
        free = (
            ("outbox", self.outbox.free_bytes()),
            ("witness", shutil.disk_usage(self.witness.path.parent).free),
        )
        full = [(name, left) for name, left in free if left is not None and left < FREE_BYTES]
        said = self.no_room
        self.no_room = "" if not full else f"{full[0][1] // _MEGABYTE} MB left for the {full[0][0]}"
        if self.no_room and not said:
            needed = f"{FREE_BYTES // _MEGABYTE} MB"
            _log.error("The disk is almost full. Nothing is sent until there is room", left=self.no_room, needed=needed)
        elif said and not self.no_room:
            _log.info("There is room on the disk again")
        return not self.no_room


class Courier:
    """The one who sends. `at` is called with the name of each step boundary; tests end the process there."""

    def __init__(
        self, context: DeliveryContext, *, stop: threading.Event, at: Callable[[str], None] = lambda _name: None
    ) -> None:
        self._context, self._stop, self._at = context, stop, at
        self._new_token_tried: set[str] = set()
        self._fault_until: dict[str, datetime] = {}
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
        if not self._something_due(resource) or not self._may_send(resource):
            return False
        token = self._token(resource)
        if token is None:
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
        columns = table.entry.c
        due = (
            columns.resource == resource,
            columns.state == State.READY.value,
            columns.due_at <= self._context.clock.now(),
        )
        with self._context.outbox.read() as tx:
            if hold.passes(tx, resource) == 0 and not self._may_try_fault(tx, resource):
                return False
            return tx.execute(sa.select(columns.id).where(*due).limit(1)).first() is not None

    def _may_send(self, resource: str) -> bool:
        context = self._context
        if not context.settings.kiva.send or context.destination.pause() or not context.has_room():
            return False
        if resource == "repayment" and not window.report(context.settings, context.clock.now()).is_open:
            return False
        with context.outbox.read() as tx:
            if resource == "loan_draft" and mirror.last_complete(tx, started_after=context.started_at) is None:
                return False
            _doubts, last = breaker.doubts_in_a_row(tx, resource)
        harmless = context.destination.last_harmless_success
        return last is None or (harmless is not None and harmless > last)

    def _token(self, resource: str) -> Token | None:
        context, now = self._context, self._context.clock.now()
        try:
            token = context.tokens.current()
        except CredentialsRefused as error:
            context.destination.asked_to_wait(None)
            with context.outbox.begin() as tx:
                if hold.put(
                    tx,
                    hold.ALL,
                    "destination_fault",
                    now=now,
                    params={"said": str(error), "hint": error.hint},
                ):
                    _log.error("The token was refused. Nothing is lost", hint=error.hint)
            return None
        except errors.Unreachable as error:
            context.destination.unreachable(str(error))
            return None
        missing = sorted({RESOURCES[resource].scope, _READS} - token.scopes)
        with context.outbox.begin() as tx:
            if missing:
                if hold.put(tx, resource, "scope_missing", now=now, params={"scope": " ".join(missing)}):
                    _log.error("The token does not grant a permission", resource=resource, scope=" ".join(missing))
                context.tokens.refuse(token)
                self._fault_until[resource] = now + _TRY_AGAIN_AFTER_FAULT
                return None
            hold.release(tx, resource, by=hold.RELAY, note="granted", now=now, reason="scope_missing")
            if self._may_try_fault(tx, resource):
                hold.release(tx, resource, by=hold.RELAY, note="tried again", now=now, reason="destination_fault")
        return token

    def _may_try_fault(self, tx: Connection, resource: str) -> bool:
        """Is the only thing that holds the resource a fault of its own, and is it time to try again?"""
        holds = [held for held in hold.in_force(tx) if held.what in (hold.ALL, resource)]
        own = all(held.what == resource and held.reason in hold.LIFTED_BY_ITSELF for held in holds)
        return own and self._context.clock.now() >= self._fault_until.get(resource, self._context.started_at)

    def _claim(self, resource: str) -> Batch | None:
        context, now = self._context, self._context.clock.now()
        with context.outbox.begin() as tx:
            self._must_know_what_it_sent(tx)
            batch = None
            while batch is None and (due := query.due(tx, resource, limit=self._limit(tx, resource), now=now)):
                batch = sending.claim(
                    tx,
                    resource,
                    _may_go(tx, due, now=now) if resource == "loan_draft" else due,
                    fence=context.lease.fence,
                    now=now,
                    request=lambda bodies: batches.request(resource, bodies, context.settings.kiva),
                )
                if batch is None and hold.passes(tx, resource) == 0:
                    break
            self._outbox_id = binding.get(tx, "outbox_id") or ""
        self._at("claimed")
        return batch

    def _limit(self, tx: Connection, resource: str) -> int:
        """The size of a batch; one alone while the last answer of an additive resource was lost."""
        return 1 if breaker.doubts_in_a_row(tx, resource)[0] else batches.limit(resource, self._context.settings)

    def _must_know_what_it_sent(self, tx: Connection) -> None:
        """An outbox that lacks what we wrote into it was put back while we ran: the next start sees how far.

        Raises:
            PutBack: it was; nothing more is sent by this process.
        """
        if self._last_attempt and not query.has_attempt(tx, self._last_attempt):
            raise errors.PutBack(
                f"The outbox {self._context.outbox.url} was put back to an older state while the relay ran. Nothing"
                " more is sent; the next start takes from the witness what is missing, and holds.",
                hint="sudo systemctl restart kiva-relay\nsudo kiva-relay status",
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

    def _record(self, write: Callable[[Connection], None], **told: object) -> None:
        """Write down what became of an attempt. While that is impossible, nothing else is sent."""
        while True:
            try:
                with self._context.outbox.begin() as tx:
                    write(tx)
            except errors.Unreachable as error:
                _log.error("An answer cannot be stored; nothing else is sent until it is", cause=str(error), **told)
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
            _log.warning("The witness could not be told what became of it", attempt=batch.attempt_id, cause=str(error))

    def _send(self, batch: Batch, token: Token) -> Answer:
        kiva = self._context.settings.kiva
        self._context.lease.still_held()
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._outbox_id}/{batch.attempt_id}"))
        return self._context.client.post(batches.path(batch.resource, kiva), batch.request, token=token.text, key=key)

    def _settle(self, batch: Batch, answer: Answer, token: Token) -> None:
        """Write down what became of it. While that is impossible, nothing else is sent."""
        now = self._context.clock.now()
        given = batches.receipt(batch.resource, answer.json)
        decision = outcome.decide(answer, shape=given is not None, now=now)
        verdicts, ended_as = self._verdicts(batch, answer, decision, given, token)
        ending = Ending(
            ended_as, answer.body_complete, answer.status, answer.words if ended_as != Outcome.ACCEPTED else None
        )
        self._tell_witness(batch, verdicts)
        moved: list[Entry] = []

        def settle(tx: Connection) -> None:
            moved[:] = sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=now)
            self._consequences(tx, batch, answer, decision, ended_as, now=now)

        receipt = {name: value for name, value in (given or {}).items() if name != "problems"}
        self._record(settle, attempt=batch.attempt_id, outcome=ended_as, receipt=receipt)
        self._at("settled")
        self._report(batch, moved, answer, ended_as)

    def _verdicts(
        self,
        batch: Batch,
        answer: Answer,
        decision: Decision,
        given: Mapping[str, object] | None,
        token: Token,
    ) -> tuple[Mapping[int, EntryVerdict], str]:
        match decision.outcome:
            case Outcome.ACCEPTED:
                verdicts = batches.accepted(batch.entries, given or {})
                if verdicts is not None:
                    return verdicts, Outcome.ACCEPTED
                doubt = EntryVerdict(State.IN_DOUBT, reason="problem_without_loan")
                return dict.fromkeys((entry.id for entry in batch.entries), doubt), Outcome.IN_DOUBT
            case Outcome.REFUSED:
                assert answer.status is not None  # noqa: S101 - a refusal is a status
                return batches.refused(batch.entries, status=answer.status, words=answer.words), Outcome.REFUSED
            case Outcome.NOT_PROCESSED:
                verdict = EntryVerdict(State.READY, due_at=self._when_again(batch.resource, answer, decision, token))
            case Outcome.IN_DOUBT:
                verdict = EntryVerdict(
                    State.IN_DOUBT, reason="answer_lost" if not decision.success_seen else "strange_answer"
                )
        return dict.fromkeys((entry.id for entry in batch.entries), verdict), decision.outcome

    def _when_again(self, resource: str, answer: Answer, decision: Decision, token: Token) -> datetime:
        """When to try again what was surely not processed; remembers what it says of the destination."""
        context, now = self._context, self._context.clock.now()
        if decision.unreachable:
            return context.destination.unreachable(answer.words)
        if not decision.blame:
            return context.destination.asked_to_wait(decision.retry_after)
        if answer.status in outcome.JUDGES_OUR_TOKEN and resource not in self._new_token_tried:
            context.tokens.refuse(token)
            self._new_token_tried.add(resource)
        else:
            self._fault_until[resource] = now + _TRY_AGAIN_AFTER_FAULT
        return now

    def _consequences(
        self,
        tx: Connection,
        batch: Batch,
        answer: Answer,
        decision: Decision,
        ended_as: str,
        *,
        now: datetime,
    ) -> None:
        """Holds that follow from this attempt, in its own transaction."""
        resource = batch.resource
        if not decision.blame:
            self._new_token_tried.discard(resource)
        elif resource in self._fault_until and self._fault_until[resource] > now:
            params = {"status": str(answer.status), "path": batches.path(resource, self._context.settings.kiva)}
            hold.put(tx, resource, "destination_fault", now=now, params=params)
        if ended_as == Outcome.IN_DOUBT and breaker.doubts_in_a_row(tx, resource)[0] >= breaker.MOST_DOUBTS:
            hold.put(tx, resource, "many_in_doubt", now=now)
        if ended_as == Outcome.REFUSED and breaker.refusals_in_a_row(tx, resource) >= breaker.MOST_REFUSALS:
            hold.put(tx, resource, "many_refusals", now=now)

    def _report(self, batch: Batch, moved: list[Entry], answer: Answer, ended_as: str) -> None:
        meter.deliveries.labels(resource=batch.resource, outcome=ended_as).inc(len(moved))
        if ended_as == Outcome.ACCEPTED:
            meter.last_success.labels(resource=batch.resource).set(self._context.clock.now().timestamp())
        say = _log.info if ended_as == Outcome.ACCEPTED else _log.warning
        say(
            _SENTENCES[ended_as],
            resource=batch.resource,
            attempt=batch.attempt_id,
            entries=len(moved),
            loan=moved[0].loan_id if len(moved) == 1 else None,
            status=answer.status,
        )


_SENTENCES = {
    "accepted": "Kiva accepted it",
    "refused": "Kiva refused it",
    "not_processed": "It was surely not processed, and is sent again",
    "in_doubt": "The answer was lost. It is not sent again until that is settled",
}


def _may_go(tx: Connection, due: list[Entry], *, now: datetime) -> list[Entry]:
    """The drafts that may be sent; those that Kiva has under the same loan id are adopted, the late ones refused."""
    ids = {entry.id: mirror.candidates(entry) for entry in due}
    at_kiva = mirror.by_loan_id(tx, {loan for loans in ids.values() for loan in loans})
    rest = []
    for entry in due:
        loan = next((at_kiva[loan] for loan in ids[entry.id] if loan in at_kiva), None)
        if loan is not None:
            receipt = {"kiva_id": loan.kiva_id, "status": loan.status}
            values: dict[str, Any] = {"evidence": "adopted", "receipt": receipt}
            store.move(tx, entry, State.DELIVERED, Actor.COURIER, now=now, **values)
        elif entry.publish_by is not None and entry.publish_by < now.date():
            late = Refusal("too_late_to_publish", "disburse_time", {"publish_by": str(entry.publish_by)})
            store.move(tx, entry, State.REFUSED, Actor.COURIER, now=now, refusals=[late.to_json()])
        else:
            rest.append(entry)
    return rest
