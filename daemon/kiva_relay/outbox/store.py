"""The only file that writes entries. Every move is a guarded UPDATE that fails loudly.

All functions take an open writing transaction (`Outbox.begin()`), so that a move, its attempt, its receipt and
what follows from it are durable together or not at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import adoption, divergence, query, table, tally
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.state import Actor, State

OLDER_IN_FLIGHT = "older_in_flight"
AT_KIVA_ALREADY = "at_kiva_already"
KNOWN_FROM_WITNESS = "known_from_witness"

_MOVE = sa.update(table.entry).where(
    table.entry.c.id == sa.bindparam("its_id"),
    table.entry.c.state == sa.bindparam("its_state"),
    table.entry.c.row_version == sa.bindparam("its_row_version"),
)
_INSERT = sa.insert(table.entry)


class Overtaken(Exception):
    """Somebody else moved the entry between our look and our move; look again."""


def owe(tx: Connection, owed: Owed, *, now: datetime) -> Entry | None:
    """Put down what is owed for an identity now; the new entry, or None when nothing new is owed.

    What was delivered is never owed again by this road: for a create-once resource a difference becomes a
    divergence; a position is owed again only when it differs from the last one, or in a new period.
    """
    known = query.versions(tx, owed.resource, owed.identity)
    unsent = [entry for entry in known if entry.state in machine.UNSENT]
    in_flight = next((entry for entry in known if entry.state in machine.IN_FLIGHT), None)
    delivered = next((entry for entry in known if entry.state is State.DELIVERED), None)
    create_once = owed.resource in table.CREATE_ONCE
    if create_once and delivered is not None:
        divergence.compare(tx, delivered, owed.body, now=now)
        return None
    if any(entry.state is State.DISCARDED and (create_once or _same(entry, owed)) for entry in known):
        return None
    if in_flight is not None and _same(in_flight, owed):
        _supersede(tx, unsent, by=Actor.INTAKE, now=now)
        return None
    if owed.adopted is not None and not adoption.is_open(owed.resource, None, older_in_flight=in_flight is not None):
        # What is new waits for the one in flight, and then is a divergence.
        owed = dataclasses.replace(owed, adopted=None)
    if unsent and owed.adopted is None and (kept := _kept(tx, unsent[0], owed, now=now)) is not None:
        return kept if kept is not unsent[0] else None
    _supersede(tx, unsent, by=Actor.INTAKE, now=now)
    if in_flight is None and delivered is not None and _same(delivered, owed):
        newer = [entry for entry in known if entry.version > delivered.version]
        if delivered.reason != KNOWN_FROM_WITNESS and not _perhaps_applied(tx, newer):
            return None
    if in_flight is not None and not owed.refusals and owed.waits is None:
        owed = dataclasses.replace(owed, waits=OLDER_IN_FLIGHT)
    return _insert(tx, owed, known, waits_for=in_flight.id if in_flight else None, now=now)


def left_scope(tx: Connection, resource: str, identity: str, *, reason: str, now: datetime) -> list[Entry]:
    """Withdraw what was not sent of an identity; a draft or journal that was sent becomes a divergence."""
    withdrawn = []
    for entry in query.versions(tx, resource, identity):
        if entry.state in machine.UNSENT:
            withdrawn.append(move(tx, entry, State.WITHDRAWN, Actor.INTAKE, now=now, reason=reason))
        elif resource in table.CREATE_ONCE and entry.state in (*machine.IN_FLIGHT, State.DELIVERED):
            divergence.left_scope(tx, entry, now=now)
    return withdrawn


def put_in_doubt(tx: Connection, resource: str, identity: str, *, loan_id: str, now: datetime) -> Entry:
    """Put down, in doubt, what the witness saw leave and this outbox knows nothing of; the unsent is withdrawn."""
    machine.check(None, State.IN_DOUBT, Actor.START)
    before = query.versions(tx, resource, identity)
    withdraw_doubted(tx, before, now=now)
    number = _insert_row(
        tx,
        resource=resource,
        identity=identity,
        version=before[0].version + 1 if before else 1,
        state=State.IN_DOUBT.value,
        reason=KNOWN_FROM_WITNESS,
        stream="",
        key="",
        loan_id=loan_id,
        client_id=before[0].client_id if before else "",
        origin="witness",
        due_at=now,
        created_at=now,
        changed_at=now,
    )
    return _inserted(tx, number)


def withdraw_doubted(tx: Connection, entries: Iterable[Entry], *, now: datetime) -> None:
    """Withdraw the unsent among them: the witness says that an older version, or just this one, may be at Kiva."""
    for entry in entries:
        if entry.state in machine.UNSENT:
            move(tx, entry, State.WITHDRAWN, Actor.START, now=now, reason=KNOWN_FROM_WITNESS)


def explain(tx: Connection, entry: Entry, reason: str) -> Entry:
    """Give another reason for the state in which an entry is; the state stays."""
    guarded = (table.entry.c.id == entry.id, table.entry.c.row_version == entry.row_version)
    values = {"reason": reason, "row_version": entry.row_version + 1}
    if tx.execute(sa.update(table.entry).where(*guarded).values(**values)).rowcount != 1:
        raise Overtaken(f"entry {entry.id} is no longer {entry.state}")
    return dataclasses.replace(entry, reason=reason, row_version=entry.row_version + 1)


def put_by_hand(tx: Connection, loan_id: str, *, note: str, now: datetime) -> Entry:
    """Put down a draft that a person typed into PA2 and that the MIS does not owe yet: it is never sent."""
    machine.check(None, State.DELIVERED, Actor.PERSON)
    before = query.versions(tx, "loan_draft", loan_id)
    number = _insert_row(
        tx,
        resource="loan_draft",
        identity=loan_id,
        version=before[0].version + 1 if before else 1,
        state=State.DELIVERED.value,
        evidence="person",
        receipt={"note": note},
        stream="",
        key="",
        loan_id=loan_id,
        origin="person",
        due_at=now,
        created_at=now,
        changed_at=now,
        settled_at=now,
    )
    return _inserted(tx, number)


def move(tx: Connection, entry: Entry, target: State, by: Actor, *, now: datetime, **values: Any) -> Entry:
    """Move an entry, if it is still as the caller saw it.

    Raises:
        IllegalMove: the state machine has no such move.
        Overtaken: another transaction moved the entry meanwhile.
    """
    machine.check(entry.state, target, by)
    changes = {
        "state": target.value,
        "changed_at": now,
        "settled_at": now if target in machine.FINAL else None,
        "row_version": entry.row_version + 1,
        "waits_for": None,
        **values,
    }
    if entry.state is State.DELIVERED:
        changes["evidence"] = None
    seen = {"its_id": entry.id, "its_state": entry.state.value, "its_row_version": entry.row_version}
    if tx.execute(_MOVE, {**changes, **seen}).rowcount != 1:
        raise Overtaken(f"entry {entry.id} is no longer {entry.state}")
    moved = dataclasses.replace(entry, **{**changes, "state": target})
    tally.moved(tx, entry, moved)
    return moved


def adopt(tx: Connection, entry: Entry, found: adoption.Adoption, by: Actor, *, now: datetime) -> Entry:
    """Take an unsent draft as delivered: Kiva has it."""
    return move(tx, entry, State.DELIVERED, by, now=now, evidence="adopted", receipt=dict(found.receipt), reason=None)


def mark_done(tx: Connection, entry: Entry, *, now: datetime) -> Entry:
    """The coordinator has dealt with it; its state stays."""
    guarded = (table.entry.c.id == entry.id, table.entry.c.row_version == entry.row_version)
    values = {"done_at": now, "row_version": entry.row_version + 1}
    if tx.execute(sa.update(table.entry).where(*guarded).values(**values)).rowcount != 1:
        raise Overtaken(f"entry {entry.id} is no longer {entry.state}")
    return dataclasses.replace(entry, done_at=now, row_version=entry.row_version + 1)


def follow(tx: Connection, settled: Entry, *, by: Actor, now: datetime) -> Entry:
    """Let the newer version that waited behind `settled` go on; the settled entry as it stands then.

    At Kiva: a newer draft or journal is not sent, it becomes a divergence; a newer position goes out.
    Not at Kiva: the newer version takes the older one's place.
    """
    if settled.state in machine.IN_FLIGHT:
        return settled
    newer = next(
        (entry for entry in query.versions(tx, settled.resource, settled.identity) if entry.waits_for == settled.id),
        None,
    )
    if newer is None or newer.state not in machine.UNSENT:
        return _unless_left_scope(tx, settled, by=by, now=now)
    _look_again(tx, newer)
    tx.execute(sa.update(table.entry).where(table.entry.c.id == newer.id).values(waits_for=None))
    if settled.state is State.DELIVERED and settled.resource in table.CREATE_ONCE:
        move(tx, newer, State.WITHDRAWN, by, now=now, reason=AT_KIVA_ALREADY)
        divergence.compare(tx, settled, newer.body, now=now)
        return settled
    if settled.state is State.DISCARDED and settled.resource in table.CREATE_ONCE:
        move(tx, newer, State.WITHDRAWN, by, now=now, reason="discarded")
        return settled
    if settled.state in (State.READY, State.REFUSED):
        settled = move(tx, settled, State.SUPERSEDED, by, now=now)
    if newer.reason == OLDER_IN_FLIGHT:
        move(tx, newer, State.READY, by, now=now, reason=None)
    return settled


def _unless_left_scope(tx: Connection, settled: Entry, *, by: Actor, now: datetime) -> Entry:
    """What came back unsent is not sent again when the MIS cancelled it meanwhile."""
    columns = table.captured.c
    source = (columns.stream == settled.stream, columns.key == settled.key, sa.not_(columns.in_scope))
    if settled.state is State.READY and tx.execute(sa.select(columns.key).where(*source)).first() is not None:
        return move(tx, settled, State.WITHDRAWN, by, now=now, reason="left_scope")
    return settled


def purge(tx: Connection, *, settled_before: datetime) -> int:
    """Delete the bodies of entries that were settled before a moment, and what their divergences quote; how many."""
    entry = table.entry.c
    old = sa.and_(entry.body.is_not(None), entry.settled_at < settled_before)
    quoted = table.divergence.c.entry_id.in_(sa.select(entry.id).where(old))
    tx.execute(sa.update(table.divergence).where(quoted).values(fields=[]))
    return tx.execute(sa.update(table.entry).where(old).values(body=None)).rowcount


def _look_again(tx: Connection, entry: Entry) -> None:
    """What an older version's end changes (has a position fallen?) is decided again, from the MIS."""
    tx.execute(
        sa.update(table.captured)
        .where(table.captured.c.stream == entry.stream, table.captured.c.key == entry.key)
        .values(again=True)
    )


def _same(entry: Entry, owed: Owed) -> bool:
    if owed.refusals:
        return entry.refusals == [reason.to_json() for reason in owed.refusals]
    return entry.body_sha256 == owed.body_sha256 and entry.period == owed.period and entry.body_sha256 is not None


def _perhaps_applied(tx: Connection, entries: Sequence[Entry]) -> bool:
    """Was any of them sent without our learning what became of it? Then Kiva may hold it, not what it last accepted."""
    doubted = (
        sa.select(table.attempt.c.id)
        .join(table.batch_member, table.batch_member.c.batch_id == table.attempt.c.batch_id)
        .where(table.batch_member.c.entry_id.in_([entry.id for entry in entries]))
        .where(table.attempt.c.outcome == "in_doubt")
    )
    return tx.execute(doubted.limit(1)).first() is not None


def _kept(tx: Connection, entry: Entry, owed: Owed, *, now: datetime) -> Entry | None:
    """The unsent entry that already says what is owed: itself, or itself made ready; None when it must go."""
    if owed.body is None and owed.waits is not None:
        return entry if entry.state is State.WAITING and entry.reason == owed.waits else None
    if not _same(entry, owed):
        return None
    if entry.state is not State.WAITING or entry.reason in (owed.waits, OLDER_IN_FLIGHT):
        return entry
    return move(tx, entry, State.READY, Actor.INTAKE, now=now, reason=None) if owed.waits is None else None


def _supersede(tx: Connection, entries: Iterable[Entry], *, by: Actor, now: datetime) -> None:
    for entry in entries:
        move(tx, entry, State.SUPERSEDED, by, now=now)


def _insert(tx: Connection, owed: Owed, known: Sequence[Entry], *, waits_for: int | None, now: datetime) -> Entry:
    target = _first_state(owed)
    machine.check(None, target, Actor.INTAKE)
    adopted = target is State.DELIVERED
    number = _insert_row(
        tx,
        resource=owed.resource,
        identity=owed.identity,
        version=known[0].version + 1 if known else 1,
        state=target.value,
        reason=None if adopted else owed.waits,
        evidence="adopted" if adopted else None,
        receipt=owed.adopted,
        settled_at=now if adopted else None,
        waits_for=waits_for,
        stream=owed.stream,
        key=owed.key,
        loan_id=owed.loan_id,
        client_id=owed.client_id,
        amount=owed.amount,
        currency=owed.currency,
        period=owed.period,
        body=owed.body,
        body_sha256=owed.body_sha256,
        fingerprint=owed.fingerprint,
        origin=owed.origin,
        refusals=[reason.to_json() for reason in owed.refusals] or None,
        publish_by=owed.publish_by,
        due_at=owed.due_at,
        created_at=now,
        changed_at=now,
    )
    return _inserted(tx, number)


def _first_state(owed: Owed) -> State:
    if owed.adopted is not None:
        return State.DELIVERED
    if owed.refusals:
        return State.REFUSED
    return State.WAITING if owed.waits else State.READY


def _inserted(tx: Connection, number: int) -> Entry:
    entry = query.find(tx, number)
    assert entry is not None  # noqa: S101 - it was written in this transaction
    tally.moved(tx, None, entry)
    return entry


def _insert_row(tx: Connection, **values: Any) -> int:
    key = tx.execute(_INSERT, values).inserted_primary_key
    assert key is not None  # noqa: S101 - the table numbers its rows
    return int(key[0])
