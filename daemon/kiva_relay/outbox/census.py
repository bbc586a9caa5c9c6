"""What the account counts in the outbox, and cheaply: what is not settled by partial indexes, what is at Kiva by tally.

Each statement repeats the condition of its partial index word by word, for only then a database uses it. Nothing here
reads a body, nor the history of what was delivered.
"""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import meta, mirror, scan, table, tally, watermark
from kiva_relay.outbox.tally import Counted


@dataclass(frozen=True)
class Bounds:
    """From when on something is late. All are decided by the account.

    `due_before`: what was due, or is being sent, since before that. `waiting_since`: what waits, unchanged, since
    before that; `position_since`: the same for a position. `expires_by`: what waits and has its last day by then.
    """

    due_before: datetime
    waiting_since: datetime
    position_since: datetime
    expires_by: date


@dataclass(frozen=True)
class EntryGroup:
    """How many things stand alike: their present entries are not settled.

    `handled`: a person has dealt with them. `reported`: so many of them are positions of loans of which Kiva took an
    older version in the report's period. `last_due` is when the last of them is due.
    """

    resource: str
    state: str
    reason: str | None
    stream: str
    handled: bool
    overdue: bool
    number: int
    reported: int
    last_due: datetime


@dataclass(frozen=True)
class SetAside:
    """How many things ended unsent by somebody's word, or by the report's closing. `reported` as of EntryGroup."""

    resource: str
    number: int
    reported: int


@dataclass(frozen=True)
class Differing:
    """How many things at Kiva are not as the MIS says. `seen`: a person has acknowledged just that."""

    resource: str
    adopted: bool
    kind: str
    seen: bool
    number: int


@dataclass(frozen=True)
class Unreported:
    """The loans for which Kiva expects a report, and that have no entry in its period: how many.

    `known` is how many the MIS gives; `unknown` are the ids, as Kiva spells them, of those that it does not. `doubled`:
    so many more loans of Kiva's share their id with one that is counted elsewhere. `stamp` is what this was worked out
    from.
    """

    known: int = 0
    unknown: tuple[str, ...] = ()
    doubled: int = 0
    stamp: tuple[object, ...] = ()


@dataclass(frozen=True)
class Unread:
    """A stream whose book was not read whole. `rows` is how many are left; None while nobody can tell."""

    stream: str
    resource: str | None
    rows: int | None


@dataclass(frozen=True)
class Census:
    """All that the account is made of. `to_read` is resource → keys that stand in no entry and are read again soon."""

    at_kiva: Mapping[Counted, int]
    entries: tuple[EntryGroup, ...]
    discarded: tuple[SetAside, ...]
    left_at_closing: SetAside
    differing: tuple[Differing, ...]
    unreported: Unreported
    to_read: Mapping[str, int]
    unread: tuple[Unread, ...]


_REPORTED = (
    "CASE WHEN e.resource = 'repayment' AND EXISTS (SELECT 1 FROM entry d WHERE d.resource = 'repayment'"
    " AND d.state <> 'superseded' AND d.loan_id = e.loan_id AND d.period = :period AND d.state = 'delivered')"
    " THEN 1 ELSE 0 END"
)
# A newer version that waits for an older one in flight is not counted: the older one stands for both. One that need
# not wait stands for both itself.
_ENTRIES = sa.text(f"""
SELECT resource, state, reason, stream, handled, overdue, count(*) AS number, sum(reported) AS reported,
       max(due_at) AS last_due
FROM (
  SELECT e.resource, e.state, e.reason, e.stream, e.due_at, {_REPORTED} AS reported,
         CASE WHEN e.done_at IS NULL THEN 0 ELSE 1 END AS handled,
         CASE WHEN e.state = 'ready' AND e.due_at < :due_before THEN 1
              WHEN e.state = 'sending' AND e.changed_at < :due_before THEN 1
              WHEN e.state = 'waiting' AND e.resource = 'repayment' AND e.created_at < :position_since THEN 1
              WHEN e.state = 'waiting' AND e.resource <> 'repayment' AND e.created_at < :waiting_since THEN 1
              WHEN e.state = 'waiting' AND e.publish_by IS NOT NULL AND e.publish_by <= :expires_by THEN 1
              ELSE 0 END AS overdue
  FROM entry e
  WHERE e.settled_at IS NULL AND e.waits_for IS NULL
    AND (e.state IN ('ready', 'waiting', 'refused') OR NOT EXISTS (
      SELECT 1 FROM entry n WHERE n.settled_at IS NULL AND n.waits_for IS NULL
        AND n.resource = e.resource AND n.identity = e.identity AND n.version > e.version))
) AS standing
GROUP BY resource, state, reason, stream, handled, overdue
ORDER BY resource, state, reason, stream, handled, overdue
""").columns(last_due=table.Moment)
_NOTHING_ELSE_STANDS = (
    "NOT EXISTS (SELECT 1 FROM entry n WHERE n.resource = e.resource AND n.identity = e.identity AND n.id <> e.id"
    " AND n.state NOT IN ('superseded', 'withdrawn')"
    " AND (n.version > e.version OR n.state NOT IN ('delivered', 'discarded')))"
)
_DISCARDED = sa.text(f"""
SELECT e.resource, count(*) AS number, sum({_REPORTED}) AS reported
FROM entry e
WHERE e.state = 'discarded' AND (e.resource <> 'repayment' OR e.period = :period)
  AND {_NOTHING_ELSE_STANDS}
  AND NOT EXISTS (SELECT 1 FROM entry c WHERE c.state = 'withdrawn' AND c.reason = 'window_closed'
    AND c.period = :period AND c.loan_id = e.loan_id AND c.resource = e.resource AND c.version > e.version)
GROUP BY e.resource ORDER BY e.resource
""")
_LEFT_AT_CLOSING = sa.text(f"""
SELECT count(*) AS number, coalesce(sum(reported), 0) AS reported
FROM (
  SELECT e.loan_id, max({_REPORTED}) AS reported
  FROM entry e
  WHERE e.state = 'withdrawn' AND e.reason = 'window_closed' AND e.period = :period
    AND {_NOTHING_ELSE_STANDS}
  GROUP BY e.loan_id
) AS loans
""")
# A CROSS JOIN, so that SQLite begins with the few divergences, and not with all that was delivered.
_OPEN = sa.text("""
SELECT e.resource, CASE WHEN e.evidence = 'adopted' THEN 1 ELSE 0 END AS adopted, d.kind, 0 AS seen, count(*) AS number
FROM divergence d CROSS JOIN entry e
WHERE e.id = d.entry_id AND d.ended_at IS NULL AND e.state = 'delivered'
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
_SEEN = sa.text("""
SELECT e.resource, CASE WHEN e.evidence = 'adopted' THEN 1 ELSE 0 END AS adopted, d.kind, 1 AS seen, count(*) AS number
FROM divergence d CROSS JOIN entry e
WHERE e.id = d.entry_id AND d.ended_by NOT IN ('a newer difference', 'the MIS') AND e.state = 'delivered'
  AND NOT EXISTS (SELECT 1 FROM divergence n WHERE n.entry_id = d.entry_id AND n.id > d.id)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")
_EXPECTED = ", ".join(repr(status) for status in mirror.EXPECTED)
_UNREPORTED = sa.text(f"""
SELECT DISTINCT m.loan_id, CASE WHEN EXISTS (
    SELECT 1 FROM captured c WHERE c.resource = 'repayment' AND c.identity = m.loan_id AND c.in_scope
  ) THEN 1 ELSE 0 END AS known
FROM mirror m
WHERE m.status IN ({_EXPECTED}) AND NOT EXISTS (
  SELECT 1 FROM entry e WHERE e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id
    AND (e.state NOT IN ('delivered', 'discarded', 'withdrawn')
      OR (e.period = :period AND (e.state <> 'withdrawn' OR e.reason = 'window_closed'))))
""")
_DOUBLED = sa.text(f"SELECT count(*) - count(DISTINCT loan_id) FROM mirror WHERE status IN ({_EXPECTED})")
_IDENTITY = "coalesce(c.identity, '(' || c.key || ')')"
# The || keeps SQLite from going through all keys of a resource by the index of identities.
_STANDS_IN_NO_ENTRY = (
    "c.in_scope AND NOT c.baselined AND c.resource || '' IN ('journal', 'loan_draft')"
    " AND NOT EXISTS (SELECT 1 FROM entry e"
    f" WHERE e.resource = c.resource AND e.identity = {_IDENTITY} AND e.state NOT IN ('superseded', 'withdrawn'))"
)
_TO_READ = sa.text(f"""
SELECT c.resource, c.stream, count(DISTINCT {_IDENTITY}) AS number
FROM captured c WHERE c.again AND {_STANDS_IN_NO_ENTRY}
GROUP BY c.stream, c.resource
""")
_LOST = sa.text(f"SELECT c.stream, c.key FROM captured c WHERE NOT c.again AND {_STANDS_IN_NO_ENTRY} ORDER BY 1, 2")
_LAST_ENTRY = sa.select(sa.func.max(table.entry.c.id))


def take(
    tx: Connection,
    bounds: Bounds,
    *,
    period: str,
    expects: bool,
    streams: Mapping[str, str] | None,
    before: Unreported | None = None,
) -> Census:
    """Count everything in one picture of the outbox.

    Args:
        tx: a reading transaction.
        bounds: from when on something is late.
        period: that of the repayment report, YYYY-MM.
        expects: does Kiva expect positions now? Then each loan of its list is looked for.
        streams: the mappings in force and the resource of each; None where no relay says so: all that are known.
        before: what was found unreported last; taken as it is while nothing that it was worked out from has moved.
    """
    moment = table.Moment()
    given = {
        "due_before": moment.process_bind_param(bounds.due_before, tx.dialect),
        "waiting_since": moment.process_bind_param(bounds.waiting_since, tx.dialect),
        "position_since": moment.process_bind_param(bounds.position_since, tx.dialect),
        "expires_by": bounds.expires_by.isoformat(),
        "period": period,
    }
    of_period = {"period": period}
    at_kiva = tally.numbers(tx)
    entries = tuple(EntryGroup(**_flags(row)) for row in tx.execute(_ENTRIES, given))
    discarded = tuple(SetAside(*row) for row in tx.execute(_DISCARDED, of_period))
    closed = SetAside("repayment", *tx.execute(_LEFT_AT_CLOSING, of_period).one())
    unreported = Unreported()
    if expects:
        positions = [each for each in entries if each.resource == "repayment"]
        stamp = (period, sum(each.number for each in positions), discarded, closed, *sorted(map(str, at_kiva.items())))
        unreported = _unreported(tx, period, stamp, before)
    return Census(
        at_kiva=at_kiva,
        entries=entries,
        discarded=discarded,
        left_at_closing=closed,
        differing=tuple(Differing(**_flags(row)) for query in (_OPEN, _SEEN) for row in tx.execute(query)),
        unreported=unreported,
        to_read=_to_read(tx, streams),
        unread=tuple(_unread(tx, streams)),
    )


def lost_keys(tx: Connection) -> list[tuple[str, str]]:
    """Keys (stream, key) of drafts and journals that are owed, and stand in no entry. Reads every key."""
    return [(row.stream, row.key) for row in tx.execute(_LOST)]


def _flags(row: sa.Row[Any]) -> dict[str, Any]:
    """A row's values, with flags as booleans: in neither database they come as such out of a CASE."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    flags = {name: bool(values[name]) for name in ("handled", "overdue", "adopted", "seen") if name in values}
    return {**values, **flags}


def _unreported(tx: Connection, period: str, stamp: tuple[object, ...], before: Unreported | None) -> Unreported:
    last = mirror.last_complete(tx)
    stamp = (*stamp, None if last is None else last.id, tx.execute(_LAST_ENTRY).scalar())
    if before is not None and before.stamp == stamp:
        return before
    own = meta.ALIASES.get(tx) or {}
    rows = tx.execute(_UNREPORTED, {"period": period}).all()
    by_alias = _in_scope(tx, {own[row.loan_id] for row in rows if not row.known and row.loan_id in own})
    unknown = sorted(row.loan_id for row in rows if not row.known and own.get(row.loan_id) not in by_alias)
    doubled = tx.execute(_DOUBLED).scalar_one()
    return Unreported(known=len(rows) - len(unknown), unknown=tuple(unknown), doubled=doubled, stamp=stamp)


def _in_scope(tx: Connection, identities: Collection[str]) -> set[str]:
    """Those of some identities that a row of the MIS has, in scope."""
    columns, wanted, found = table.captured.c, sorted(identities), set[str]()
    for start in range(0, len(wanted), 500):
        where = (columns.resource == "repayment", columns.in_scope, columns.identity.in_(wanted[start : start + 500]))
        found |= set(tx.execute(sa.select(columns.identity).where(*where)).scalars())
    return found


def _to_read(tx: Connection, streams: Mapping[str, str] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in tx.execute(_TO_READ):
        if streams is None or row.stream in streams:
            found[row.resource] = found.get(row.resource, 0) + row.number
    return found


def _unread(tx: Connection, streams: Mapping[str, str] | None) -> list[Unread]:
    """Streams of which the first backfill, or one that a person asked for, has not ended."""
    marks = watermark.watermarks(tx)
    found = []
    for name in sorted(marks if streams is None else streams):
        mark = marks.get(name)
        if mark is not None and mark.backfilled_at is not None and mark.scan != "backfill":
            continue
        resource = streams[name] if streams is not None else _resource(tx, name)
        progress = None if mark is None else scan.of(tx, name)
        rows = None
        if mark is not None and progress is not None and progress.number == mark.scan_number:
            rows = max(progress.total - progress.done, 0)
        found.append(Unread(name, resource, rows))
    return found


def _resource(tx: Connection, stream: str) -> str | None:
    """What a stream is about, by what was captured of it."""
    columns = table.captured.c
    return tx.execute(sa.select(columns.resource).where(columns.stream == stream).limit(1)).scalar()
