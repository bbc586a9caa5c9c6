"""An outbox against its witness: what left this machine and is not in the database, and whose witness this is.

An outbox that lacks what the witness saw leave was restored from a backup, lost, or replaced. What Kiva answered
then is taken from the witness; where it knows no answer, a draft or journal is in doubt, and waits for evidence or
a person. A position is absolute: whatever Kiva holds of it, the present one is sent again.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta, query, store, table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.witness import Memory, Place, Testimony, Witness

_A_FILE = "file"


@dataclass(frozen=True)
class Taken:
    """What was taken from the witness. `last` is the newest attempt of the outbox, `witnessed` the witness's."""

    last: int
    witnessed: int
    doubts: tuple[Entry, ...]
    delivered: tuple[Entry, ...]
    positions: int


def read(tx: Connection, witness: Witness) -> tuple[Memory, int]:
    """What the witness says that was not compared with this outbox yet, and the newest attempt that was.

    Where that place is not in the file any more, all of it is read. An outbox that was put back has an older place,
    so that all is read that came after the backup.
    """
    known = meta.witness_read(witness.id).get(tx)
    if meta.FIRST_START.get(tx) is None or known is None or not witness.has(place := Place(known.offset, known.before)):
        return witness.memory(), 0
    return witness.memory(since=place), known.attempt


def was_read(tx: Connection, witness: Witness) -> bool:
    """Remember that all of the witness is known here; false, and nothing is done, while an attempt is under way.

    The line of an attempt that is under way must be read by the next start: without it, it would count as never sent.
    """
    if tx.execute(sa.select(table.attempt.c.id).where(table.UNDER_WAY).limit(1)).first() is not None:
        return False
    place = witness.place()
    meta.witness_read(witness.id).put(tx, meta.WitnessRead(place.offset, place.before, _newest(tx)))
    return True


def was_told(tx: Connection, witness: Witness) -> None:
    """Remember that all of a witness is known here whose machine sends nothing: it waits, or its file was copied."""
    columns = table.attempt.c
    own = sa.select(columns.id).where(table.UNDER_WAY, columns.witness == witness.id).limit(1)
    if tx.execute(own).first() is None:
        place = witness.place()
        meta.witness_read(witness.id).put(tx, meta.WitnessRead(place.offset, place.before, _newest(tx)))


def number_anew(tx: Connection) -> None:
    """Give the outbox another number: what is numbered from now on is not what a witness knows by the old one."""
    known, own = meta.ATTEMPTS_KNOWN.get(tx) or {}, meta.OUTBOX_ID.get(tx) or ""
    known[own] = max(_newest(tx), known.get(own, 0))
    meta.ATTEMPTS_KNOWN.put(tx, known)
    meta.OUTBOX_ID.put(tx, secrets.token_hex(8))


def is_trusted(
    tx: Connection, outbox: Outbox, witness: Witness, memory: Memory, *, compared: int = 0
) -> tuple[bool, bool]:
    """Whether what this witness did not see did not leave; and whether the one that the outbox had is missing.

    Another machine of a pair has a witness of its own: it proves nothing about what its partner sent, but nothing
    is missing either. The answer is remembered: it is asked once a start, and a witness is missing once. `compared` is
    the newest attempt that was compared with it before, and of which `memory` says nothing.
    """
    place = _A_FILE if outbox.is_file else socket.gethostname()
    before = meta.WITNESSES.get(tx) or meta.WitnessesKnown(last="", known={}, excused=0)
    known = before.known
    newest = _newest_answered(tx)
    same = before.last == witness.id
    complete = newest is None or newest <= max(before.excused, compared) or memory.has(newest)
    began = tx.execute(sa.select(table.attempt.c.id).limit(1)).first() is not None
    lost = began and (known[place] != witness.id if place in known else outbox.is_file)
    missing = lost or (same and not complete)
    excused = newest or 0 if missing else before.excused
    meta.WITNESSES.put(tx, meta.WitnessesKnown(witness.id, known | {place: witness.id}, excused))
    return same and complete, missing


def miss(tx: Connection, before: meta.WitnessesKnown | None, outbox: Outbox) -> None:
    """Remember which witness is missing: the one that was known `before` this start."""
    place = _A_FILE if outbox.is_file else socket.gethostname()
    if before is not None and (number := before.known.get(place) or before.last):
        meta.WITNESS_MISSED.put(tx, number)


def is_back(tx: Connection, outbox: Outbox, witness: Witness) -> bool:
    """Is it the witness that was missed, and whole: does it know the newest attempt that was surely sent?

    Then it is the outbox's own again, as if it had never been away.
    """
    known = meta.WITNESSES.get(tx)
    if known is None or meta.WITNESS_MISSED.get(tx) != witness.id:
        return False
    newest = _newest_answered(tx)
    if newest is not None and not witness.memory().has(newest):
        return False
    place = _A_FILE if outbox.is_file else socket.gethostname()
    meta.WITNESSES.put(tx, meta.WitnessesKnown(witness.id, known.known | {place: witness.id}, known.excused))
    meta.WITNESS_MISSED.remove(tx)
    return True


def take(tx: Connection, memory: Memory, *, now: datetime) -> Taken | None:
    """Put down what the witness saw leave and this outbox knows nothing of; None, as a rule, when there is nothing.

    An outbox that is behind its witness takes a new number, so that its attempt numbers never mean two things.
    """
    known = meta.ATTEMPTS_KNOWN.get(tx) or {}
    own = meta.OUTBOX_ID.get(tx) or ""
    last = _newest(tx)
    known[own] = last
    unknown = [testimony for testimony in memory.sent if testimony.attempt > known.get(testimony.outbox_id, 0)]
    if not unknown:
        return None
    doubts: list[Entry] = []
    delivered: list[Entry] = []
    positions: set[str] = set()
    for (resource, identity), what in _became(unknown, memory).items():
        if resource not in table.CREATE_ONCE:
            _send_position_again(tx, identity, now=now)
            positions.add(identity)
        elif (entry := _put_down(tx, resource, identity, what, now=now)) is not None:
            (delivered if entry.state is State.DELIVERED else doubts).append(entry)
    watermark.read_identities_again(tx, "repayment", positions)
    for testimony in unknown:
        known[testimony.outbox_id] = max(testimony.attempt, known.get(testimony.outbox_id, 0))
    meta.ATTEMPTS_KNOWN.put(tx, known)
    meta.OUTBOX_ID.put(tx, secrets.token_hex(8))
    witnessed = max(testimony.attempt for testimony in unknown)
    return Taken(last, witnessed, tuple(doubts), tuple(delivered), len(positions))


@dataclass
class _Fate:
    """What the witness knows of one identity: may it be at Kiva, and with which receipt."""

    loan_id: str
    sent: bool = False
    receipt: Mapping[str, Any] | None = None


def _became(unknown: Iterable[Testimony], memory: Memory) -> dict[tuple[str, str], _Fate]:
    """By identity, what became of it in its unknown attempts, oldest first."""
    fates: dict[tuple[str, str], _Fate] = {}
    for testimony in unknown:
        ended = memory.answers.get((testimony.outbox_id, testimony.attempt), {})
        for identity, loan in zip(testimony.identities, testimony.loans or testimony.identities, strict=True):
            fate = fates.setdefault((testimony.resource, identity), _Fate(loan))
            if identity not in ended:
                fate.sent, fate.receipt = True, None
            elif (receipt := ended[identity]) is not None:
                fate.sent, fate.receipt = True, receipt
            elif fate.receipt is not None:
                fate.receipt = None  # a person sent it again, and that did not arrive: they know, we do not
    return fates


def _put_down(tx: Connection, resource: str, identity: str, fate: _Fate, *, now: datetime) -> Entry | None:
    if not fate.sent:
        return None
    before = query.was_sent(tx, resource, identity)
    if before is None:
        before = store.put_in_doubt(tx, resource, identity, loan_id=fate.loan_id, now=now)
    elif before.state is not State.IN_DOUBT:
        return None
    if fate.receipt is None:
        # Absence from Kiva's list does not settle it: we do not know when it was sent last.
        return store.explain(tx, before, store.KNOWN_FROM_WITNESS)
    values: dict[str, Any] = {"evidence": "receipt", "receipt": dict(fate.receipt), "reason": None}
    settled = store.move(tx, before, State.DELIVERED, Actor.RECONCILER, now=now, **values)
    return store.follow(tx, settled, by=Actor.RECONCILER, now=now)


def _send_position_again(tx: Connection, identity: str, *, now: datetime) -> None:
    """What we believe that Kiva holds is not what it took last: the present position is owed, whatever it is."""
    known = query.stand(tx, "repayment", identity)
    store.withdraw_doubted(tx, known.unsent, now=now)
    if known.delivered is not None:
        store.explain(tx, known.delivered, store.KNOWN_FROM_WITNESS)


def _newest(tx: Connection) -> int:
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.attempt.c.id), 0))).scalar_one())


def _newest_answered(tx: Connection) -> int | None:
    """The newest attempt that was surely sent: the witness must have it."""
    columns = table.attempt.c
    where = columns.outcome.in_(["accepted", "refused"])
    return tx.execute(sa.select(sa.func.max(columns.id)).where(where)).scalar()
