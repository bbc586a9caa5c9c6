"""Another server answers for the outbox: what it may lack, and whose witness has to be read before drafts go again.

PostgreSQL's system identifier and timeline say that it is another one: a standby that was promoted, or a backup. What
the own witness knows is compared as at each start (`recovery`). What another machine sent only that machine's witness
knows; it tells it through the outbox, when it stands by, or by a copy of its file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import hold, meta, recovery, store, table, whereabouts
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.recovery import Taken
from kiva_relay.outbox.state import Actor, State
from kiva_relay.outbox.witness import Memory, Witness

REASON = "restored_outbox"
_MACHINES = "machines"
"""The parameter of the hold that waits for other machines: the one of a restored outbox has none."""


@dataclass(frozen=True)
class AnotherServer:
    """The outbox is on another server than at the last start. `awaited`: machines whose witness was not read."""

    was: str
    now: str
    awaited: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """What a witness told: what the outbox lacked (None: nothing), what is no doubt any more, whether holds ended."""

    taken: Taken | None
    settled: tuple[Entry, ...]
    released: bool


def notice(tx: Connection, outbox: Outbox, witness: Witness, *, now: datetime) -> AnotherServer | None:
    """Is it another server than at the last start? Then drafts and journals wait for what other machines know.

    After the own witness was compared: the outbox takes a new number, for attempt numbers may come a second time.
    """
    was = whereabouts.SERVER.get(tx)
    if outbox.server in ("", was):
        return None
    whereabouts.SERVER.put(tx, outbox.server)
    if was is None:
        return None
    recovery.number_anew(tx)
    machines = _others(tx, witness)
    whereabouts.AWAITED.put(tx, whereabouts.AwaitedWitnesses(outbox.server, machines))
    named = tuple(sorted({*machines.values()}))
    if machines:
        params = {_MACHINES: ", ".join(named), "was": was, "is": outbox.server}
        for resource in table.CREATE_ONCE:
            hold.put(tx, resource, REASON, now=now, params=params)
    return AnotherServer(was, outbox.server, named)


def behind(tx: Connection, taken: Taken, *, now: datetime) -> None:
    """The outbox is behind a witness: nothing goes before a person looked, who may have decided what is lost, too."""
    params = {
        "outbox": taken.last,
        "witness": taken.witnessed,
        "delivered": len(taken.delivered),
        "in_doubt": len(taken.doubts),
        "positions": taken.positions,
    }
    hold.put(tx, hold.ALL, REASON, now=now, params=params)


def is_awaited(tx: Connection, number: str) -> bool:
    """Is the witness with this number to be read?"""
    awaited = whereabouts.AWAITED.get(tx)
    return awaited is not None and number in awaited.machines


def is_whole(tx: Connection, witness: Witness, memory: Memory, *, compared: int) -> bool:
    """Does it know the newest attempt of its machine that Kiva answered? A copy that was made before it does not."""
    columns = table.attempt.c
    where = (columns.outcome.in_(("accepted", "refused")), columns.witness == witness.id)
    newest = tx.execute(
        sa.select(columns.id, columns.outbox).where(*where).order_by(columns.id.desc()).limit(1)
    ).first()
    if newest is None or newest.id <= compared:
        return True
    return any((one.outbox_id, one.attempt) == (newest.outbox, newest.id) for one in memory.sent)


def tell(tx: Connection, witness: Witness, *, now: datetime) -> Told | None:
    """Put down what the witness of a machine that does not send knows; None, and nothing is done, if it is not whole.

    What is being sent at this moment is not touched: that is another machine's, or was begun after this one was read.
    """
    memory, compared = recovery.read(tx, witness)
    if not is_whole(tx, witness, memory, compared=compared):
        return None
    settled, released = _told(tx, witness, memory, compared=compared, now=now)
    taken = recovery.take(tx, memory, now=now)
    if taken is not None:
        behind(tx, taken, now=now)
    recovery.was_told(tx, witness)
    return Told(taken, settled, released)


def tell_at_start(tx: Connection, witness: Witness, memory: Memory, *, compared: int, now: datetime) -> Told | None:
    """The same of the machine that becomes the active one: it was another that waited for it, and ended since.

    What the outbox lacks, each start takes by itself.
    """
    if not is_whole(tx, witness, memory, compared=compared):
        return None
    settled, released = _told(tx, witness, memory, compared=compared, now=now)
    return Told(None, settled, released)


def _told(
    tx: Connection, witness: Witness, memory: Memory, *, compared: int, now: datetime
) -> tuple[tuple[Entry, ...], bool]:
    """What is settled by what a witness knows, and whether the holds that waited for it ended."""
    settled = tuple(_settled(tx, witness.id, memory, compared=compared, now=now))
    return settled, _no_longer_awaited(tx, witness.id, now=now)


def _others(tx: Connection, witness: Witness) -> dict[str, str]:
    """The witnesses that this outbox knows but for ours, with their machines; not those of which a person let go."""
    known = meta.WITNESSES.get(tx)
    if known is None:
        return {}
    before = whereabouts.AWAITED.get(tx)
    if before is not None and before.machines and not _holds(tx):
        gone = before.machines.keys() - {witness.id}
        left = {place: number for place, number in known.known.items() if number not in gone}
        known = meta.WitnessesKnown(known.last, left, known.excused)
        meta.WITNESSES.put(tx, known)
    return {number: place for place, number in known.known.items() if number != witness.id}


def _holds(tx: Connection) -> list[hold.Hold]:
    """Those that wait for other machines."""
    return [held for held in hold.in_force(tx) if held.reason == REASON and _MACHINES in held.params]


def _no_longer_awaited(tx: Connection, number: str, *, now: datetime) -> bool:
    """One told; the last one ends the holds."""
    awaited = whereabouts.AWAITED.get(tx)
    if awaited is None or number not in awaited.machines:
        return False
    left = {one: machine for one, machine in awaited.machines.items() if one != number}
    whereabouts.AWAITED.put(tx, whereabouts.AwaitedWitnesses(awaited.server, left))
    if left:
        return False
    held = _holds(tx)
    for one in held:
        hold.release(tx, one.what, by=hold.RELAY, note="every machine has told", now=now, reason=REASON)
    return bool(held)


def _settled(tx: Connection, number: str, memory: Memory, *, compared: int, now: datetime) -> Iterator[Entry]:
    """Doubts that came of this machine's end, and are none for its witness."""
    sent = {(one.outbox_id, one.attempt) for one in memory.sent}
    for row in _doubts(tx, number):
        if row.attempt <= compared or row.last != row.attempt:
            continue
        entry = of(tx.execute(sa.select(table.entry).where(table.entry.c.id == row.entry)).one())
        ended = memory.answers.get((row.outbox, row.attempt), {})
        values: dict[str, Any] = {"reason": None}
        if (row.outbox, row.attempt) in sent and entry.identity not in ended:
            continue  # it left, and nobody knows
        receipt = ended.get(entry.identity)
        if receipt is not None:
            target, values = State.DELIVERED, values | {"evidence": "receipt", "receipt": dict(receipt)}
        else:
            target, values = State.READY, values | {"due_at": now}
        moved = store.move(tx, entry, target, Actor.RECONCILER, now=now, **values)
        yield store.follow(tx, moved, by=Actor.RECONCILER, now=now)


def _doubts(tx: Connection, number: str) -> list[Any]:
    """Drafts and journals whose attempt of this machine was open when another took over; `last`: the newest attempt."""
    member, attempt, entry = table.batch_member.c, table.attempt.c, table.entry.c
    of_entry = (
        sa.select(member.entry_id, sa.func.max(attempt.id).label("last"))
        .join(table.attempt, attempt.batch_id == member.batch_id)
        .group_by(member.entry_id)
        .subquery()
    )
    query = (
        sa.select(entry.id.label("entry"), attempt.id.label("attempt"), attempt.outbox, of_entry.c.last)
        .join(table.batch_member, member.entry_id == entry.id)
        .join(table.attempt, attempt.batch_id == member.batch_id)
        .join(of_entry, of_entry.c.entry_id == entry.id)
        .where(
            entry.state == State.IN_DOUBT.value,
            entry.resource.in_(table.CREATE_ONCE),
            entry.reason == "process_ended",
            attempt.outcome == "in_doubt",
            attempt.witness == number,
        )
        .order_by(attempt.id)
    )
    return list(tx.execute(query).all())
