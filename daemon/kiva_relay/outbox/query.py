"""What the outbox knows of its entries. Reads only; every function takes an open transaction."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import column, hold, report_table, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.resource import loan_id as spelled

_entry = table.entry.c
# What is asked for every key is made once: SQLAlchemy takes longer to make such a statement than SQLite to answer it.
_FIND = sa.select(table.entry).where(_entry.id == sa.bindparam("number"))
LIGHT = [column if column.name != "body" else sa.cast(sa.null(), sa.Text).label("body") for column in _entry]
"""What is known of an entry, without its body."""
_ITS = (_entry.resource == sa.bindparam("resource"), _entry.identity == sa.bindparam("identity"))
_NEWEST_FIRST = _entry.version.desc()
_NEWEST = sa.select(table.entry).where(*_ITS).order_by(_NEWEST_FIRST).limit(1)
_AT_KIVA = sa.select(table.entry).where(*_ITS, sa.text(table.AT_KIVA)).order_by(_NEWEST_FIRST).limit(1)
_STANDING = sa.union_all(
    sa.select(table.entry).where(*_ITS, sa.text(table.STANDING)), sa.select(_AT_KIVA.subquery("at_kiva"))
)
_BEHIND = sa.select(table.entry).where(*_ITS, sa.text(table.STANDING), _entry.waits_for == sa.bindparam("older"))
_ALL_BEHIND = sa.select(_entry.waits_for).where(
    _entry.resource == sa.bindparam("resource"),
    _entry.identity.in_(sa.bindparam("identities", expanding=True)),
    sa.text(table.STANDING),
    _entry.waits_for.is_not(None),
)
_BY_HAND = (
    sa.select(_entry.loan_id, _entry.receipt)
    .where(
        _entry.loan_fold.in_(sa.bindparam("folds", expanding=True)),
        _entry.resource == "loan_draft",
        sa.text(table.BY_HAND),
    )
    .order_by(_entry.id)
)
_CURRENCY = (
    sa.select(_entry.currency)
    .where(
        _entry.loan_fold == sa.bindparam("fold"),
        _entry.resource == "loan_draft",
        _entry.state == State.DELIVERED.value,
        _entry.currency.is_not(None),
    )
    .order_by(_entry.id.desc())
    .limit(1)
)
# Joined to nothing, it serves no index: else SQLite goes by it, and sorts all that is ready.
_DUE_AT = sa.type_coerce(sa.type_coerce(_entry.due_at, sa.Text).concat(""), column.Moment)
_ATTEMPT = sa.select(table.attempt.c.id).where(table.attempt.c.id == sa.bindparam("number"))
_CHUNK = 500


def find(tx: Connection, number: int) -> Entry | None:
    """The entry with this number."""
    row = tx.execute(_FIND, {"number": number}).one_or_none()
    return None if row is None else of(row)


def with_bodies(tx: Connection, numbers: Sequence[int]) -> dict[int, Entry]:
    """The entries with these numbers, whole, by number."""
    found: dict[int, Entry] = {}
    for start in range(0, len(numbers), _CHUNK):
        rows = tx.execute(sa.select(table.entry).where(_entry.id.in_(numbers[start : start + _CHUNK])))
        found |= {entry.id: entry for entry in map(of, rows)}
    return found


def versions(tx: Connection, resource: str, identity: str) -> list[Entry]:
    """All versions of one identity, newest first, without their bodies. For a person: there may be hundreds."""
    query = sa.select(*LIGHT).where(*_ITS).order_by(_NEWEST_FIRST)
    return [of(row) for row in tx.execute(query, {"resource": resource, "identity": identity})]


@dataclass(frozen=True)
class Stand:
    """Of all versions of an identity those that decide what is owed: a few, however many there are.

    Attributes:
        newest: whatever became of it.
        unsent: ready, waiting or refused, newest first.
        in_flight: being sent, or in doubt.
        delivered: the newest that is at Kiva.
        discarded: what a person said must not go out.
    """

    newest: Entry | None = None
    unsent: tuple[Entry, ...] = ()
    in_flight: Entry | None = None
    delivered: Entry | None = None
    discarded: tuple[Entry, ...] = ()

    @property
    def next_version(self) -> int:
        """The number of the next version."""
        return 1 if self.newest is None else self.newest.version + 1

    @property
    def sent(self) -> Entry | None:
        """The newest version that is at Kiva or may be, however we know it."""
        there = [entry for entry in (self.in_flight, self.delivered) if entry is not None]
        return max(there, key=lambda entry: entry.version, default=None)


def stand(tx: Connection, resource: str, identity: str) -> Stand:
    """How an identity stands."""
    its = {"resource": resource, "identity": identity}
    row = tx.execute(_NEWEST, its).one_or_none()
    if row is None:
        return Stand()
    newest = of(row)
    # Most things have one version: then it is all there is.
    found = [newest] if newest.version == 1 else [of(row) for row in tx.execute(_STANDING, its)]
    found.sort(key=lambda entry: -entry.version)
    return Stand(
        newest=newest,
        unsent=tuple(entry for entry in found if entry.state in machine.UNSENT),
        in_flight=next((entry for entry in found if entry.state in machine.IN_FLIGHT), None),
        delivered=next((entry for entry in found if entry.state is State.DELIVERED), None),
        discarded=tuple(entry for entry in found if entry.state is State.DISCARDED),
    )


def last_delivered(tx: Connection, resource: str, identity: str, *, before: int | None = None) -> Entry | None:
    """The newest version at Kiva that is older than version `before`; no body."""
    query = sa.select(*LIGHT).where(*_ITS, sa.text(table.AT_KIVA)).order_by(_NEWEST_FIRST).limit(1)
    if before is not None:
        query = query.where(_entry.version < before)
    row = tx.execute(query, {"resource": resource, "identity": identity}).one_or_none()
    return None if row is None else of(row)


def taken_before(tx: Connection, positions: Iterable[Entry]) -> dict[int, Entry]:
    """Of positions that wait, by number: the newest version at Kiva that is older, where there is one; no bodies."""
    by_identity = {entry.identity: entry for entry in positions}
    identities, found = sorted(by_identity), dict[int, Entry]()
    for start in range(0, len(identities), _CHUNK):
        its = (
            _entry.resource == "repayment",
            _entry.identity.in_(identities[start : start + _CHUNK]),
            sa.text(table.AT_KIVA),
        )
        newest = sa.select(_entry.identity, sa.func.max(_entry.version).label("version")).where(*its)
        newest_each = newest.group_by(_entry.identity).subquery()
        same = sa.and_(_entry.identity == newest_each.c.identity, _entry.version == newest_each.c.version)
        for row in tx.execute(sa.select(*LIGHT).join(newest_each, same).where(_entry.resource == "repayment")):
            there = of(row)
            waits = by_identity[there.identity]
            last = there
            if there.version >= waits.version:
                older = last_delivered(tx, waits.resource, waits.identity, before=waits.version)
                if older is None:
                    continue
                last = older
            found[waits.id] = last
    return found


def due(
    tx: Connection, resource: str, *, limit: int, now: datetime, period: str | None = None, origin: str | None = None
) -> list[Entry]:
    """What is ready and due, the most pressing first: by the last day to publish, then by age.

    `period`: no position of another report, which a relay that was off has not closed yet. `origin`: of this only.
    In two questions, each in the order of the index: what is ready may be many, and was sorted for each request.
    """
    pressing, by_age = _due(period is not None, origin is not None)
    its = {"resource": resource, "now": now, "held": hold.streams(hold.in_force(tx)), "limit": limit}
    its |= {name: given for name, given in (("period", period), ("origin", origin)) if given is not None}
    found = [of(row) for row in tx.execute(pressing, its)]
    if len(found) < limit:
        found += [of(row) for row in tx.execute(by_age, {**its, "limit": limit - len(found)})]
    return found


@functools.cache
def _due(of_a_period: bool, of_an_origin: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:  # noqa: FBT001 - both named above
    """The two questions of `due`, made once: what is pressing, and the rest by age."""
    ready = (
        sa.select(table.entry)
        .where(_entry.resource == sa.bindparam("resource"), table.READY)
        .where(sa.bindparam("now", type_=column.Moment) >= _DUE_AT)
        .where(_entry.stream.not_in(sa.bindparam("held", expanding=True)))
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
    if of_a_period:
        others = sa.select(report_table.report.c.period).where(report_table.report.c.period != sa.bindparam("period"))
        ready = ready.where(_entry.period.not_in(others))
    if of_an_origin:
        ready = ready.where(_entry.origin == sa.bindparam("origin"))
    pressing = ready.where(_entry.publish_by.is_not(None)).order_by(_entry.publish_by, _entry.id)
    return pressing, ready.where(_entry.publish_by.is_(None)).order_by(_entry.id)


def has_attempt(tx: Connection, number: int) -> bool:
    """Is there an attempt of this number? One that was opened is never taken away."""
    return tx.execute(_ATTEMPT, {"number": number}).first() is not None


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
    return stand(tx, resource, identity).sent


def currency_of_draft(tx: Connection, loan_id: str) -> str | None:
    """The currency in which a loan was posted to Kiva; None where the relay did not post it."""
    return tx.execute(_CURRENCY, {"fold": spelled.fold(loan_id)}).scalar()


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
    its = {"resource": entry.resource, "identity": entry.identity, "older": entry.id}
    newer = [of(row) for row in tx.execute(_BEHIND, its)]
    return next((each for each in newer if each.state in machine.UNSENT), None)


def have_behind(tx: Connection, older: Sequence[Entry]) -> set[int]:
    """The numbers of those behind which something waits."""
    found: set[int] = set()
    for start in range(0, len(older), _CHUNK):
        some = older[start : start + _CHUNK]
        its = {"resource": some[0].resource, "identities": [entry.identity for entry in some]}
        found.update(tx.execute(_ALL_BEHIND, its).scalars())
    return found & {entry.id for entry in older}


_LOST_OR_DISBELIEVED = sa.or_(
    table.attempt.c.outcome == "in_doubt",
    sa.and_(_entry.state.in_([State.WITHDRAWN.value, State.DISCARDED.value]), table.attempt.c.outcome == "accepted"),
)


def perhaps_arrived(
    tx: Connection, resource: str, identity: str, *, after: int, until: int | None = None
) -> Entry | None:
    """The newest version that Kiva may have although it is not delivered: its answer was lost, or disbelieved.

    `after`: newer than that version; `until`: this one, or an older one. Without its body.
    """
    query = (
        sa.select(*LIGHT)
        .join(table.batch_member, table.batch_member.c.entry_id == _entry.id)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
        .where(*_ITS, _entry.version > after)
        .where(_LOST_OR_DISBELIEVED)
        .order_by(_NEWEST_FIRST)
        .limit(1)
    )
    if until is not None:
        query = query.where(_entry.version <= until)
    row = tx.execute(query, {"resource": resource, "identity": identity}).first()
    return None if row is None else of(row)


def delivered_positions(tx: Connection, identities: Sequence[str]) -> dict[str, list[Entry]]:
    """The versions at Kiva of some positions, by identity; no bodies."""
    return _positions(tx, sa.select(*LIGHT), identities, sa.text(table.AT_KIVA))


def perhaps_positions(tx: Connection, identities: Sequence[str]) -> dict[str, list[Entry]]:
    """The versions that Kiva may have of some positions although they are not delivered, by identity; no bodies."""
    tried = (
        sa.select(*LIGHT)
        .join(table.batch_member, table.batch_member.c.entry_id == _entry.id)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
    )
    return _positions(tx, tried, identities, _LOST_OR_DISBELIEVED)


def _positions(
    tx: Connection, query: sa.Select[Any], identities: Sequence[str], where: sa.ColumnElement[bool] | sa.TextClause
) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for start in range(0, len(identities), _CHUNK):
        its = (_entry.resource == "repayment", _entry.identity.in_(identities[start : start + _CHUNK]))
        for row in tx.execute(query.where(*its, where)):
            entry = of(row)
            found.setdefault(entry.identity, []).append(entry)
    return found


def doubtful() -> sa.Select[tuple[str]]:
    """The identities of positions of which Kiva may have one that is not delivered.

    Its answer was lost; or Kiva accepted it, and a person said that it is not there.
    """
    its = table.entry.alias("its")
    disbelieved = its.c.state.in_([State.WITHDRAWN.value, State.DISCARDED.value])
    outcome = table.attempt.c.outcome
    return (
        sa.select(its.c.identity)
        .select_from(its)
        .join(table.batch_member, table.batch_member.c.entry_id == its.c.id)
        .join(table.attempt, table.attempt.c.batch_id == table.batch_member.c.batch_id)
        .where(
            table.attempt.c.resource == "repayment",
            sa.or_(outcome == "in_doubt", sa.and_(outcome == "accepted", disbelieved), outcome.is_(None)),
        )
    )


def is_replaced() -> sa.Exists:
    """Was a newer version of an entry delivered? A condition on the table of entries."""
    newer = table.entry.alias("newer").c
    return sa.exists().where(
        newer.resource == _entry.resource,
        newer.identity == _entry.identity,
        newer.version > _entry.version,
        newer.state == State.DELIVERED.value,
    )


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
