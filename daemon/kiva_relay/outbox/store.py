"""What writes entries, but for the positions of a report that closes (`closing`). A move is guarded, or fails loudly.

All functions take an open writing transaction (`Outbox.begin()`), so that a move, its attempt, its receipt and
what follows from it are durable together or not at all.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import adoption, divergence, forgotten, position, query, table, tally
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import LATE, Entry, Owed
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource import loan_id as spelled

OLDER_IN_FLIGHT = "older_in_flight"
AT_KIVA_ALREADY = "at_kiva_already"
KNOWN_FROM_WITNESS = "known_from_witness"
SETTLED = "settled"
"""Why a position is ready of which a person said that it goes as it is."""
_PURGED_AT_ONCE = 50

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
    known = query.stand(tx, owed.resource, owed.identity)
    unsent, in_flight, delivered = known.unsent, known.in_flight, known.delivered
    create_once = owed.resource in table.CREATE_ONCE
    if create_once and (delivered is not None or forgotten.has(tx, owed.loan_id, owed.identity)):
        if delivered is not None and owed.comparable:
            divergence.compare(tx, delivered, owed, now=now)
        return None
    divergence.back(tx, in_flight, now=now)
    decided = owed.position is not None and owed.position.decided
    if any(create_once or (_same(tx, entry, owed) and not decided) for entry in known.discarded):
        return None
    # Of what is in doubt when its report closes nobody will hear: what a person sends late goes behind it, once more.
    sent_late = owed.origin == LATE and in_flight is not None and in_flight.origin != LATE
    if in_flight is not None and _same(tx, in_flight, owed) and not sent_late:
        _supersede(tx, unsent, by=Actor.INTAKE, now=now)
        return None
    if owed.adopted is not None and not adoption.is_open(owed.resource, None, older_in_flight=in_flight is not None):
        # What is new waits for the one in flight, and then is a divergence.
        owed = dataclasses.replace(owed, adopted=None)
    if unsent and owed.adopted is None and (kept := _kept(tx, known, owed, now=now)) is not None:
        return kept if kept is not unsent[0] else None
    _supersede(tx, unsent, by=Actor.INTAKE, now=now)
    owed = dataclasses.replace(owed, due_at=_due(owed, unsent))
    if in_flight is None and delivered is not None and _same(tx, delivered, owed):
        perhaps = query.perhaps_arrived(tx, owed.resource, owed.identity, after=delivered.version)
        if delivered.reason != KNOWN_FROM_WITNESS and perhaps is None:
            return None
    if in_flight is not None and not owed.refusals and owed.waits is None:
        owed = dataclasses.replace(owed, waits=OLDER_IN_FLIGHT)
    return _insert(tx, owed, known, waits_for=in_flight.id if in_flight else None, now=now)


def left_scope(tx: Connection, resource: str, identity: str, *, reason: str, now: datetime) -> list[Entry]:
    """Withdraw what was not sent of an identity; a draft or journal that was sent becomes a divergence."""
    known = query.stand(tx, resource, identity)
    withdrawn = [move(tx, entry, State.WITHDRAWN, Actor.INTAKE, now=now, reason=reason) for entry in known.unsent]
    if resource in table.CREATE_ONCE and known.sent is not None:  # there is one at most
        divergence.left_scope(tx, known.sent, now=now)
    return withdrawn


def put_in_doubt(tx: Connection, resource: str, identity: str, *, loan_id: str, now: datetime) -> Entry:
    """Put down, in doubt, what the witness saw leave and this outbox knows nothing of; the unsent is withdrawn."""
    machine.check(None, State.IN_DOUBT, Actor.START)
    before = query.stand(tx, resource, identity)
    withdraw_doubted(tx, before.unsent, now=now)
    number = _insert_row(
        tx,
        resource=resource,
        identity=identity,
        version=before.next_version,
        state=State.IN_DOUBT.value,
        reason=KNOWN_FROM_WITNESS,
        stream="",
        key="",
        loan_id=loan_id,
        client_id="" if before.newest is None else before.newest.client_id,
        origin="witness",
        due_at=now,
        created_at=now,
        changed_at=now,
    )
    return _inserted(tx, number)


def withdraw_doubted(tx: Connection, unsent: Iterable[Entry], *, now: datetime) -> None:
    """Withdraw what was not sent: the witness says that an older version, or just this one, may be at Kiva."""
    for entry in unsent:
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
    before = query.stand(tx, "loan_draft", spelled.key(loan_id))
    number = _insert_row(
        tx,
        resource="loan_draft",
        identity=spelled.key(loan_id),
        version=before.next_version,
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
    return move_all(tx, [EntryMove(entry, target, values)], by, now=now)[0]


@dataclass(frozen=True)
class EntryMove:
    """Where an entry goes, and what changes with it; `values` by column."""

    entry: Entry
    target: State
    values: Mapping[str, Any]


def move_all(tx: Connection, moves: Sequence[EntryMove], by: Actor, *, now: datetime) -> list[Entry]:
    """Move entries of one request, as `move` does each: all of them, or none.

    Raises:
        IllegalMove: the state machine has no such move.
        Overtaken: another transaction moved one of the entries meanwhile.
    """
    changes = [_changes(one, by, now=now) for one in moves]
    for _columns, alike in itertools.groupby(zip(moves, changes, strict=True), key=lambda one: one[1].keys()):
        rows = [{**changed, **_seen(one.entry)} for one, changed in alike]
        if tx.execute(_MOVE, rows).rowcount != len(rows):
            numbers = ", ".join(str(row["its_id"]) for row in rows)
            raise Overtaken(f"{numbers}: an entry is no longer {rows[0]['its_state']}")
    moved = [
        dataclasses.replace(one.entry, **{**changed, "state": one.target})
        for one, changed in zip(moves, changes, strict=True)
    ]
    tally.moved(tx, [(one.entry, after) for one, after in zip(moves, moved, strict=True)])
    return moved


def _changes(one: EntryMove, by: Actor, *, now: datetime) -> dict[str, Any]:
    machine.check(one.entry.state, one.target, by)
    changes = {
        "state": one.target.value,
        "changed_at": now,
        "settled_at": now if one.target in machine.FINAL else None,
        "row_version": one.entry.row_version + 1,
        "waits_for": None,
        **one.values,
    }
    if one.entry.state is State.DELIVERED and one.target is not State.DELIVERED:
        changes["evidence"] = None
    return changes


def _seen(entry: Entry) -> dict[str, Any]:
    return {"its_id": entry.id, "its_state": entry.state.value, "its_row_version": entry.row_version}


def adopt(tx: Connection, entry: Entry, found: adoption.Adoption, by: Actor, *, now: datetime) -> Entry:
    """Take an unsent draft as delivered: Kiva has it."""
    return move(tx, entry, State.DELIVERED, by, now=now, evidence="adopted", receipt=dict(found.receipt), reason=None)


def acknowledge(tx: Connection, entry: Entry) -> None:
    """A person has seen what the MIS changed: who saw the entry before that has not.

    Raises:
        Overtaken: somebody was quicker.
    """
    guarded = (table.entry.c.id == entry.id, table.entry.c.row_version == entry.row_version)
    if tx.execute(sa.update(table.entry).where(*guarded).values(row_version=entry.row_version + 1)).rowcount != 1:
        raise Overtaken(f"entry {entry.id} was seen by somebody else")


def mark_done(tx: Connection, entry: Entry, *, now: datetime) -> Entry:
    """The coordinator has dealt with it; its state stays."""
    guarded = (table.entry.c.id == entry.id, table.entry.c.row_version == entry.row_version)
    values = {"done_at": now, "row_version": entry.row_version + 1}
    if tx.execute(sa.update(table.entry).where(*guarded).values(**values)).rowcount != 1:
        raise Overtaken(f"entry {entry.id} is no longer {entry.state}")
    return dataclasses.replace(entry, done_at=now, row_version=entry.row_version + 1)


def follow_all(tx: Connection, settled: Sequence[Entry], *, by: Actor, now: datetime) -> list[Entry]:
    """`follow` for each entry of a request; of those at Kiva nothing is asked behind which no newer one waits."""
    at_kiva = [entry for entry in settled if entry.state is State.DELIVERED]
    alone = {entry.id for entry in at_kiva} - query.have_behind(tx, at_kiva)
    return [entry if entry.id in alone else follow(tx, entry, by=by, now=now) for entry in settled]


def follow(tx: Connection, settled: Entry, *, by: Actor, now: datetime) -> Entry:
    """Let the newer version that waited behind `settled` go on; the settled entry as it stands then.

    At Kiva: a newer draft or journal is not sent, it becomes a divergence; a newer position goes out.
    Not at Kiva: the newer version takes the older one's place.
    """
    if settled.state in machine.IN_FLIGHT:
        return settled
    divergence.back(tx, settled if settled.state in (State.READY, State.REFUSED) else None, now=now)
    newer = query.behind(tx, settled)
    if newer is None:
        return _unless_left_scope(tx, settled, by=by, now=now)
    _look_again(tx, newer)
    tx.execute(sa.update(table.entry).where(table.entry.c.id == newer.id).values(waits_for=None))
    if settled.state is State.DELIVERED and settled.resource in table.CREATE_ONCE:
        move(tx, newer, State.WITHDRAWN, by, now=now, reason=AT_KIVA_ALREADY)
        divergence.compare(tx, settled, newer, now=now)
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


def purge(tx: Connection, *, before: datetime, now: datetime) -> int:
    """Delete some bodies of what was settled before a moment, and all else that quotes them; how many, 0 at the end.

    The body of a draft or journal that is in doubt since then goes, too, and what was refused then: its body, and what
    its reasons quote. Of each, keyed hashes stay, so that it is compared for ever. Amount, currency, period and ids
    stay as they are.
    """
    entry = table.entry.c
    numbers: list[int] = []
    unsettled = (entry.settled_at.is_(None), entry.changed_at < before)
    doubts = (entry.resource.in_(table.CREATE_ONCE), entry.state == State.IN_DOUBT.value, *unsettled)
    refused = (entry.state == State.REFUSED.value, *unsettled)
    for old in ((entry.settled_at < before,), doubts, refused):
        # In order: else a server without statistics goes through all that ever was, for it expects to find some soon.
        some = sa.select(entry.id).where(sa.text(table.WITH_VALUES), *old).order_by(entry.settled_at)
        numbers += tx.execute(some.limit(_PURGED_AT_ONCE - len(numbers))).scalars()
    for number in numbers:  # one at a time, for bodies hold photos
        row = tx.execute(sa.select(entry.body, entry.refusals, entry.receipt).where(entry.id == number)).one()
        values = divergence.emptied(tx, *row, kept=None, now=now) | {"row_version": entry.row_version + 1}
        tx.execute(sa.update(table.entry).where(entry.id == number).values(**values))
        divergence.forget_values(tx, number, now=now)
    return len(numbers)


def _look_again(tx: Connection, entry: Entry) -> None:
    """What an older version's end changes (has a position fallen?) is decided again, from the MIS."""
    tx.execute(
        sa.update(table.captured)
        .where(table.captured.c.stream == entry.stream, table.captured.c.key == entry.key, table.captured.c.in_scope)
        .values(again=True)
    )


def _same(tx: Connection, entry: Entry, owed: Owed) -> bool:
    if owed.refusals:
        return divergence.same_reasons(tx, entry.refusals or [], [reason.to_json() for reason in owed.refusals])
    return entry.body_sha256 == owed.body_sha256 and entry.period == owed.period and entry.body_sha256 is not None


def _kept(tx: Connection, known: query.Stand, owed: Owed, *, now: datetime) -> Entry | None:
    """The unsent entry that already says what is owed: itself, or itself made ready; None when it must go."""
    entry = known.unsent[0]
    if owed.body is None and owed.waits is not None:
        return entry if entry.state is State.WAITING and entry.reason == owed.waits else None
    if not _same(tx, entry, owed):
        return None
    if entry.state is State.READY and owed.position is not None and owed.waits is not None and entry.reason != SETTLED:
        return None  # a person is asked now: it is not sent meanwhile
    if entry.state is not State.WAITING or entry.reason in (owed.waits, OLDER_IN_FLIGHT):
        return entry
    if owed.waits is not None or known.in_flight is not None:
        return None  # what a person decided waits, too, for an older one that is in doubt
    return move(tx, entry, State.READY, Actor.INTAKE, now=now, reason=None)


def _due(owed: Owed, unsent: Sequence[Entry]) -> datetime:
    """When it may go. A position keeps the place of the one that it replaces: else what changes daily never went."""
    earlier = [entry.due_at for entry in unsent if entry.state is State.READY and entry.period == owed.period]
    return min([owed.due_at, *earlier]) if owed.period else owed.due_at


def _supersede(tx: Connection, entries: Iterable[Entry], *, by: Actor, now: datetime) -> None:
    for entry in entries:
        move(tx, entry, State.SUPERSEDED, by, now=now)


def _insert(tx: Connection, owed: Owed, known: query.Stand, *, waits_for: int | None, now: datetime) -> Entry:
    target, newest = _first_state(owed), known.newest
    machine.check(None, target, Actor.INTAKE)
    adopted = target is State.DELIVERED
    number = _insert_row(
        tx,
        resource=owed.resource,
        identity=owed.identity,
        version=known.next_version,
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
        repeats=newest.repeats if newest is not None and owed.period and newest.period == owed.period else 0,
        due_at=owed.due_at,
        created_at=now,
        changed_at=now,
    )
    if owed.position is not None:
        position.keep(tx, number, owed.position)
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
    tally.moved(tx, [(None, entry)])
    return entry


def _insert_row(tx: Connection, **values: Any) -> int:
    key = tx.execute(_INSERT, {**values, "loan_fold": spelled.fold(values["loan_id"])}).inserted_primary_key
    assert key is not None  # noqa: S101 - the table numbers its rows
    return int(key[0])
