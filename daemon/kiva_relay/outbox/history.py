"""The history of an entry: attempts, what persons did, and what the MIS changed after it was sent. Only reads."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import listing, mirror, query, table, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource.refusal import Refusal


@dataclass(frozen=True)
class Attempt:
    """One try to send an entry. `entries` is how many went in the same request."""

    id: int
    batch_id: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    body_complete: bool | None
    status: int | None
    detail: str | None
    entries: int


@dataclass(frozen=True)
class Act:
    """What a person did to an entry."""

    at: datetime
    person: str
    verb: str
    note: str


@dataclass(frozen=True)
class Divergence:
    """What the MIS says today against what was sent.

    `kind` is changed or left_scope; `fields` is [{field, was, is}]; `reasons` say why the row no longer maps.
    """

    entry: Entry
    kind: str
    fields: list[dict[str, str]]
    reasons: list[Refusal]
    since: datetime
    ended_at: datetime | None
    ended_by: str | None


@dataclass(frozen=True)
class History:
    """All that is known of one entry, with all versions of its identity, oldest first.

    `looked_at` is when Kiva's list was last read completely. `is_unseen`: its row was not in the MIS at the last look,
    as too many were not.
    """

    entry: Entry
    attempts: list[Attempt]
    acts: list[Act]
    divergences: list[Divergence]
    versions: list[Entry]
    looked_at: datetime | None
    is_unseen: bool = False


def of_entry(tx: Connection, entry: Entry) -> History:
    """All that is known of one entry."""
    last = mirror.last_complete(tx)
    seen = watermark.captured(tx, entry.stream, [entry.key]).get(entry.key)
    return History(
        entry=entry,
        attempts=attempts(tx, entry.id),
        acts=acts(tx, entry.id),
        divergences=divergences(tx, table.divergence.c.entry_id == entry.id),
        versions=query.versions(tx, entry.resource, entry.identity)[::-1],
        looked_at=None if last is None else last.started_at,
        is_unseen=seen is not None and seen.unseen,
    )


def attempts(tx: Connection, entry_id: int) -> list[Attempt]:
    """Every attempt of an entry, oldest first."""
    member, other, tried = table.batch_member.c, table.batch_member.alias("other").c, table.attempt.c
    together = sa.select(sa.func.count()).where(other.batch_id == tried.batch_id).scalar_subquery().label("entries")
    query = (
        sa.select(*(tried[name] for name in Attempt.__dataclass_fields__ if name != "entries"), together)
        .join_from(table.attempt, table.batch_member, member.batch_id == tried.batch_id)
        .where(member.entry_id == entry_id)
        .order_by(tried.id)
    )
    return [Attempt(**row._mapping) for row in tx.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def acts(tx: Connection, entry_id: int) -> list[Act]:
    """What persons did to an entry, oldest first."""
    columns = table.act.c
    mentioned = sa.type_coerce(columns.about, sa.Text).contains(f'"entry":{entry_id}')
    query = sa.select(columns.at, columns.person, columns.verb, columns.note, columns.about).where(mentioned)
    rows = tx.execute(query.order_by(columns.id))
    return [Act(row.at, row.person, row.verb, row.note) for row in rows if row.about.get("entry") == entry_id]


def divergences(tx: Connection, *where: sa.ColumnElement[bool]) -> list[Divergence]:
    """What the MIS changed after it was sent; the gravest first (cancelled), then by age."""
    columns = table.divergence.c
    shown = [columns.kind, columns.fields, columns.reasons, columns.since, columns.ended_at, columns.ended_by]
    query = (
        sa.select(columns.entry_id, *shown)
        .where(*where)
        .order_by(sa.case((columns.kind == "left_scope", 0), else_=1), columns.id)
    )
    rows = tx.execute(query).all()
    owners = {entry.id: entry for entry in listing.by_numbers(tx, [row.entry_id for row in rows])}
    return [
        Divergence(
            owners[row.entry_id],
            row.kind,
            row.fields,
            [Refusal.from_json(reason) for reason in row.reasons],
            row.since,
            row.ended_at,
            row.ended_by,
        )
        for row in rows
    ]


def open_divergences(tx: Connection, entry_id: int | None = None) -> list[Divergence]:
    """Those that nobody acknowledged, and that are still true; of one entry, or of all."""
    mine = sa.true() if entry_id is None else table.divergence.c.entry_id == entry_id
    return divergences(tx, table.divergence.c.ended_at.is_(None), mine)
