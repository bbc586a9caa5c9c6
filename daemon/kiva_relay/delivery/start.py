"""Before anything is sent: what the last process left open, what only the witness knows, and what a person must see."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.delivery import reconciler
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import failover, hold, meta, recovery
from kiva_relay.outbox.sending import Batch
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Ended, Memory

_log = log.get("delivery")


def recover(context: DeliveryContext) -> recovery.Taken | None:
    """What was being sent when the last process ended is in doubt, and what only the witness knows as well.

    An outbox that is behind its witness, and one whose witness is not the one that it had, is held.
    """
    with context.outbox.read() as tx:
        memory, compared = recovery.read(tx, context.witness)
    with context.outbox.begin() as tx:
        now = context.clock.now()
        back = _witness_is_back(tx, context, now=now)
        before = meta.WITNESSES.get(tx)
        trusted, missing = recovery.is_trusted(tx, context.outbox, context.witness, memory, compared=compared)
        told = None
        if not (missing or context.outbox.is_file):  # before what this machine left open is added
            told = failover.tell_at_start(tx, context.witness, memory, compared=compared, now=now)
        open_ones = _LeftOpen(context.witness.id, meta.OUTBOX_ID.get(tx) or "", memory, trusted=trusted)
        moved = reconciler.recover(tx, witnessed=open_ones.may_have_left, answered=open_ones.answer, now=now)
        taken = recovery.take(tx, memory, now=now)
        if taken is not None:
            failover.behind(tx, taken, now=now)
        elif missing:
            recovery.miss(tx, before, context.outbox)
            hold.put(tx, hold.ALL, "witness_missing", now=now, params={"file": str(context.witness.path)})
        _first_start(tx, context, memory, compared=compared)
        another = failover.notice(tx, context.outbox, context.witness, now=now)
        recovery.was_read(tx, context.witness)
    for entry in moved:
        if entry.state is State.IN_DOUBT:
            _log.warning(
                "It was being sent when the relay ended. It is not sent again until that is settled",
                entry=entry.id,
                resource=entry.resource,
                loan=entry.loan_id,
            )
    _say_of_machines(told, another)
    if taken is not None:
        _log.error(
            "The outbox is older than what this machine has sent; nothing is sent until a person releases it",
            in_doubt=len(taken.doubts),
            delivered=len(taken.delivered),
        )
    elif missing:
        _log.error("The outbox's witness is missing; nothing is sent until it is back, or a person releases it")
    elif back:
        _log.info("The outbox's witness is back, and whole; what was held for it goes on")
    return taken


def _say_of_machines(told: failover.Told | None, another: failover.AnotherServer | None) -> None:
    """What this machine told by its start, and for whom it waits."""
    if told is not None and (told.settled or told.released):
        _log.info("What this machine had sent is told", settled=len(told.settled), ends_hold=told.released)
    if another is None:
        return
    _log.warning("The outbox's PostgreSQL is another one than at the last start", was=another.was, now=another.now)
    if another.awaited:
        _log.error(
            "Another machine may have sent what this server lacks. Drafts and journals wait until it tells",
            machines=", ".join(another.awaited),
        )


@dataclass(frozen=True)
class _LeftOpen:
    """What the witness with this number says of attempts that nobody waits for.

    `number` is the outbox's own, for attempts that do not say under which they were made. `trusted`: is it whole, and
    of whoever sent last?
    """

    witness: str
    number: str
    memory: Memory
    trusted: bool

    def may_have_left(self, batch: Batch) -> bool:
        """May a byte of it have left?"""
        if batch.sender is not None and batch.sender.witness != self.witness:
            return True  # another machine's: it tells
        return not self.trusted or batch.attempt_id in self.memory.attempts_of(self._outbox(batch))

    def answer(self, batch: Batch) -> Ended | None:
        """What Kiva answered, where the process wrote it down and the outbox does not have it."""
        if batch.sender is None or batch.sender.witness != self.witness:
            return None
        return self.memory.answers.get((batch.sender.outbox, batch.attempt_id))

    def _outbox(self, batch: Batch) -> str:
        return self.number if batch.sender is None else batch.sender.outbox


def _witness_is_back(tx: Connection, context: DeliveryContext, *, now: datetime) -> bool:
    """A witness that was put back whole needs no release: nothing was sent while it was away."""
    if not any(held.reason == "witness_missing" for held in hold.in_force(tx)):
        return False
    if not recovery.is_back(tx, context.outbox, context.witness):
        return False
    for held in [held for held in hold.in_force(tx) if held.reason == "witness_missing"]:
        hold.release(tx, held.what, by=hold.RELAY, note="put back whole", now=now, reason="witness_missing")
    return True


def _first_start(tx: Connection, context: DeliveryContext, memory: Memory, *, compared: int) -> None:
    """Since when things are owed: also a lost outbox must not take for old what its predecessor still had to send.

    The witness was told before the first attempt, so after one was `compared` it knows.
    """
    known = meta.FIRST_START.get(tx)
    if known is None:
        remembered = memory.first_start
        known = context.clock.now() if remembered is None else datetime.fromisoformat(remembered)
        meta.FIRST_START.put(tx, known)
    if memory.first_start is None and not compared:
        context.witness.started_first(known.isoformat())


def hold_what_must_wait(context: DeliveryContext) -> None:
    """A new outbox towards Kiva's own hosts sends nothing until a person has looked."""
    with context.outbox.begin() as tx:
        if not context.settings.first_start_holds or hold.was_ever(tx, "first_start"):
            return
        hold.put(tx, hold.ALL, "first_start", now=context.clock.now())
        hold.put(tx, "repayment", "first_report", now=context.clock.now())
