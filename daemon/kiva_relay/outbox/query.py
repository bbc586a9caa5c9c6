"""What the outbox knows of its entries. Reads only; every function takes an open transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import hold, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.resource import loan_id as spelled

_SENT = (*machine.IN_FLIGHT, State.DELIVERED)

_entry = table.entry.c
# What is asked for every key is made once: SQLAlchemy takes longer to make such a statement than SQLite to answer it.
_FIND = sa.select(table.entry).where(_entry.id == sa.bindparam("number"))
_VERSIONS = (
    sa.select(table.entry)
    .where(_entry.resource == sa.bindparam("resource"), _entry.identity == sa.bindparam("identity"))
    .order_by(_entry.version.desc())
)
_BY_HAND = (
    sa.select(_entry.loan_id, _entry.receipt)
    .where(
        _entry.loan_fold.in_(sa.bindparam("folds", expanding=True)),
        _entry.resource == "loan_draft",
        _entry.origin == "person",
        _entry.state == State.DELIVERED.value,
    )
    .order_by(_entry.id)
)
_CHUNK = 500


def find(tx: Connection, number: int) -> Entry | None:
    """The entry with this number."""
    row = tx.execute(_FIND, {"number": number}).one_or_none()
    return None if row is None else of(row)


def versions(tx: Connection, resource: str, identity: str) -> list[Entry]:
    """All versions of one identity, newest first."""
    return [of(row) for row in tx.execute(_VERSIONS, {"resource": resource, "identity": identity})]


def due(tx: Connection, resource: str, *, limit: int, now: datetime) -> list[Entry]:
    """What is ready and due, the most pressing first: by the last day to publish, then by age."""
    entry = table.entry.c
    query = (
        sa.select(table.entry)
        .where(entry.resource == resource, entry.state == State.READY.value, entry.due_at <= now)
        .where(entry.stream.not_in(hold.streams(tx)))
        .order_by(sa.case((entry.publish_by.is_(None), 1), else_=0), entry.publish_by, entry.id)
    )
    return [of(row) for row in tx.execute(query.limit(limit))]


def has_attempt(tx: Connection, number: int) -> bool:
    """Is there an attempt of this number? One that was opened is never taken away."""
    return tx.execute(sa.select(table.attempt.c.id).where(table.attempt.c.id == number)).first() is not None


def drafts(tx: Connection) -> Iterator[Entry]:
    """Loan drafts that are owed or under way, oldest first; one at a time, for their bodies hold photos."""
    over = [state.value for state in machine.FINAL]
    where = (table.entry.c.resource == "loan_draft", table.entry.c.state.not_in(over))
    for number in list(tx.execute(sa.select(table.entry.c.id).where(*where).order_by(table.entry.c.id)).scalars()):
        entry = find(tx, number)
        if entry is not None:
            yield entry


def drafts_at_kiva(tx: Connection) -> set[str]:
    """The keys of the ids of drafts that are delivered."""
    columns = table.entry.c
    where = (columns.resource == "loan_draft", columns.state == State.DELIVERED.value)
    rows = tx.execute(sa.select(columns.loan_id, columns.identity).where(*where))
    return {spelled.key(one) for row in rows for one in row}


def by_hand(tx: Connection, loan_ids: Collection[str]) -> dict[str, str]:
    """Those that a person said are in PA2 before the MIS owed them, by the id's key, with the person's note.

    Those among them that differ from all of these ids in case only are there, too.
    """
    folds, notes = sorted({spelled.fold(loan_id) for loan_id in loan_ids}), {}
    for start in range(0, len(folds), _CHUNK):
        for row in tx.execute(_BY_HAND, {"folds": folds[start : start + _CHUNK]}):
            notes[spelled.key(row.loan_id)] = str((row.receipt or {}).get("note", ""))
    return notes


def was_sent(tx: Connection, resource: str, identity: str) -> Entry | None:
    """The version of an identity that is at Kiva or may be, however we know it; None when there is none."""
    return next((entry for entry in versions(tx, resource, identity) if entry.state in _SENT), None)


@dataclass(frozen=True)
class Sent:
    """When the last attempt of an entry began, and when it ended."""

    started_at: datetime
    ended_at: datetime


def last_sent(tx: Connection, entry: Entry) -> Sent | None:
    """The last attempt of an entry that is in doubt; None when only the witness knows of one."""
    query = (
        sa.select(table.attempt.c.started_at, table.attempt.c.ended_at)
        .join(table.batch_member, table.batch_member.c.batch_id == table.attempt.c.batch_id)
        .where(table.batch_member.c.entry_id == entry.id, table.attempt.c.ended_at.is_not(None))
        .order_by(table.attempt.c.id.desc())
    )
    row = tx.execute(query.limit(1)).one_or_none()
    return None if row is None else Sent(*row)


def behind(tx: Connection, entry: Entry) -> Entry | None:
    """The newer version that waits until this one is settled."""
    newer = versions(tx, entry.resource, entry.identity)
    return next((each for each in newer if each.waits_for == entry.id and each.state in machine.UNSENT), None)


def since_the_last_accepted(known: Sequence[Entry], entry: Entry) -> list[Entry]:
    """Of all versions, newest first: this one and the older ones that were owed after the last that Kiva accepted."""
    accepted = (each.version for each in known if each.state is State.DELIVERED and each.version < entry.version)
    last = next(accepted, 0)
    return [each for each in known if last < each.version <= entry.version]


def perhaps_arrived(tx: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Those that Kiva may have although they are not delivered: the answer was lost, or a person disbelieved it."""
    tried = (
        sa.select(table.batch_member.c.entry_id, table.attempt.c.outcome)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
        .where(table.batch_member.c.entry_id.in_([each.id for each in entries]))
        .where(table.attempt.c.outcome.in_(["in_doubt", "accepted"]))
    )
    outcomes = {(row.entry_id, row.outcome) for row in tx.execute(tried)}
    disbelieved = {each.id for each in entries if each.state in (State.WITHDRAWN, State.DISCARDED)}
    return [
        each
        for each in entries
        if (each.id, "in_doubt") in outcomes or (each.id in disbelieved and (each.id, "accepted") in outcomes)
    ]


def was_tried(tx: Connection, entry: Entry) -> bool:
    """May Kiva have this very body, because we sent it and were not told no?"""
    tried = (
        sa.select(table.attempt.c.id)
        .join(table.batch_member, table.batch_member.c.batch_id == table.attempt.c.batch_id)
        .where(table.batch_member.c.entry_id == entry.id, table.attempt.c.outcome.in_(["in_doubt", "accepted"]))
    )
    return tx.execute(tried.limit(1)).first() is not None


def members(tx: Connection, batch_id: int) -> list[Entry]:
    """The entries of a batch, in the order of the request."""
    query = (
        sa.select(table.entry)
        .join(table.batch_member, table.batch_member.c.entry_id == table.entry.c.id)
        .where(table.batch_member.c.batch_id == batch_id)
        .order_by(table.batch_member.c.place)
    )
    return [of(row) for row in tx.execute(query)]
