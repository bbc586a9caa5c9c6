"""What the MIS has and no entry stands for yet: streams that were not read whole, keys that are read again."""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import scan, table, watermark


@dataclass(frozen=True)
class Unread:
    """A stream whose book was not read whole. `rows` is how many are left; None while nobody can tell."""

    stream: str
    resource: str | None
    rows: int | None


_IDENTITY = "coalesce(c.identity, '(' || c.key || ')')"
# The || keeps SQLite from going through all keys of a resource by the index of identities.
_STANDS_IN_NO_ENTRY = (
    "c.in_scope AND NOT c.baselined AND c.resource || '' IN ('journal', 'loan_draft')"
    f" AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.resource = c.resource AND e.identity = {_IDENTITY}"
    " AND e.state NOT IN ('delivered', 'superseded', 'withdrawn'))"
    f" AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.resource = c.resource AND e.identity = {_IDENTITY}"
    " AND e.state = 'delivered')"
)
_TO_READ = sa.text(f"""
SELECT c.resource, c.stream, count(DISTINCT {_IDENTITY}) AS number
FROM captured c WHERE c.again AND {_STANDS_IN_NO_ENTRY}
GROUP BY c.stream, c.resource
""")
_LOST = sa.text(f"SELECT c.stream, c.key FROM captured c WHERE NOT c.again AND {_STANDS_IN_NO_ENTRY} ORDER BY 1, 2")


def to_read(tx: Connection, in_force: Mapping[str, str] | None) -> dict[str, int]:
    """By resource, how many keys stand in no entry and are read again soon; of some mappings, or (None) of all."""
    found: dict[str, int] = {}
    for row in tx.execute(_TO_READ):
        if in_force is None or row.stream in in_force:
            found[row.resource] = found.get(row.resource, 0) + row.number
    return found


def streams(tx: Connection, in_force: Mapping[str, str] | None) -> tuple[Unread, ...]:
    """Streams of which the first backfill, or one that a person asked for, has not ended."""
    marks = watermark.watermarks(tx)
    found = []
    for name in sorted(marks if in_force is None else in_force):
        mark = marks.get(name)
        if mark is not None and mark.backfilled_at is not None and mark.scan != "backfill":
            continue
        resource = in_force[name] if in_force is not None else resource_of(tx, name)
        progress = None if mark is None else scan.of(tx, name)
        rows = None
        if mark is not None and progress is not None and progress.number == mark.scan_number:
            rows = max(progress.total - progress.done, 0)
        found.append(Unread(name, resource, rows))
    return tuple(found)


def resource_of(tx: Connection, stream: str) -> str | None:
    """What a stream is about, by what was captured of it."""
    columns = table.captured.c
    return tx.execute(sa.select(columns.resource).where(columns.stream == stream).limit(1)).scalar()


def lost_keys(tx: Connection) -> list[tuple[str, str]]:
    """Keys (stream, key) of drafts and journals that are owed, and stand in no entry. Reads every key."""
    return [(row.stream, row.key) for row in tx.execute(_LOST)]
