"""How far each stream was read, and what was captured of each key: moved in the transaction of the entries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table
from kiva_relay.outbox.store import Overtaken

_CHUNK = 500

_columns = table.captured.c
_INSERT = sa.insert(table.captured)
_MARKS = sa.select(table.watermark)
_CAPTURED = sa.select(table.captured).where(
    _columns.stream == sa.bindparam("stream"), _columns.key.in_(sa.bindparam("keys", expanding=True))
)
_KEEP = sa.update(table.captured).where(
    _columns.stream == sa.bindparam("its_stream"), _columns.key == sa.bindparam("its_key")
)
# Where nothing was read yet, W is NULL.
_ADVANCE = sa.update(table.watermark).where(
    table.watermark.c.stream == sa.bindparam("its_stream"),
    table.watermark.c.generation == sa.bindparam("its_generation"),
    table.watermark.c.w.is_not_distinct_from(sa.bindparam("its_w", type_=sa.Text)),
)
_OF_STREAM = sa.select(_columns.key).where(_columns.stream == sa.bindparam("stream"))
_TO_READ_AGAIN = _OF_STREAM.where(table.AGAIN).order_by(_columns.key).limit(sa.bindparam("most"))
_UNSEEN = _OF_STREAM.where(table.UNSEEN).limit(1)
# In the order of the partial indexes: else a server without statistics believes that every other row is marked.
_MARKED, _NOT_THERE = (
    sa.select(_columns.key).where(marked).order_by(_columns.stream, _columns.key).limit(1).scalar_subquery()
    for marked in (table.AGAIN, table.UNSEEN)
)
_SOME_MARKED = sa.select(_MARKED.is_not(None), _NOT_THERE.is_not(None))
# Joined to nothing, the stream serves no index: where there is one mapping, SQLite went through all of its keys.
_STREAM = _columns.stream.concat("")
_SAME_IDENTITY = (
    sa.select(_columns.stream, _columns.key)
    .where(
        _columns.resource == sa.bindparam("resource"),
        _columns.identity == sa.bindparam("identity"),
        _STREAM.in_(sa.bindparam("streams", expanding=True)),
        sa.or_(_columns.key != sa.bindparam("its_key"), _columns.stream != sa.bindparam("its_stream")),
        _columns.in_scope,
    )
    .order_by(_STREAM, _columns.key)
    .limit(1)
)


@dataclass(frozen=True)
class Watermark:
    """Where a stream is. `w` is the source's own text; a scan is a backfill or a sweep, key by key."""

    stream: str
    generation: int
    w: str | None
    mode: str | None
    moved_at: datetime | None
    scan: str | None
    scan_number: int
    scan_after: str | None
    scan_started_at: datetime | None
    backfilled_at: datetime | None
    swept_at: datetime | None


@dataclass(frozen=True)
class Captured:
    """What is known of one key: enough to tell whether it changed, and nothing personal.

    `hash` is of its rows as they are read up to `cutoff`, None where the mapping reads them all. `unseen`: at the last
    look the row was not there, and so many with it that a person is asked first. `gone`: it is out of scope because it
    is not there any more. `lent`, `repaid`, `written_off` and `client_id` are of a position: principal as text, and the
    client's id.
    """

    stream: str
    key: str
    resource: str
    identity: str | None
    hash: str
    in_scope: bool
    baselined: bool
    refused: bool
    again: bool
    created_at: str | None
    scan_number: int
    captured_at: datetime
    cutoff: str | None = None
    unseen: bool = False
    gone: bool | None = None
    lent: str | None = None
    client_id: str | None = None
    repaid: str | None = None
    written_off: str | None = None


def watermarks(tx: Connection) -> dict[str, Watermark]:
    """All watermarks, by stream."""
    return {row.stream: Watermark(**row._mapping) for row in tx.execute(_MARKS)}  # noqa: SLF001 - SQLAlchemy's public name


def begin(tx: Connection, stream: str) -> None:
    """Make a stream known: nothing read yet, its backfill to be scanned."""
    tx.execute(sa.insert(table.watermark).values(stream=stream, scan="backfill", scan_number=1))


def advance(tx: Connection, mark: Watermark, w: str, *, mode: str, now: datetime) -> None:
    """Move W, if it still stands where `mark` saw it."""
    advance_all(tx, [(mark, w, mode)], now=now)


def advance_all(tx: Connection, moves: Sequence[tuple[Watermark, str, str]], *, now: datetime) -> None:
    """Move the W of several streams, by one statement: each from where it was seen, to where, and by which mode.

    Raises:
        Overtaken: one of them does not stand there any more; the caller's transaction is to end.
    """
    values = [
        {"its_stream": mark.stream, "its_generation": mark.generation, "its_w": mark.w, "w": w, "mode": mode,
         "moved_at": now}
        for mark, w, mode in moves
    ]  # fmt: skip
    if values and tx.execute(_ADVANCE, values).rowcount != len(values):
        raise _overtaken()


def begin_again(tx: Connection, stream: str, *, now: datetime) -> None:
    """A new generation: what was read is no measure any more, so every key is looked at."""
    columns = table.watermark.c
    values = {"generation": columns.generation + 1, "w": None, "moved_at": None}
    _guarded(tx, sa.update(table.watermark).where(columns.stream == stream).values(**values))
    start_scan(tx, stream, "sweep", now=now)


def start_scan(tx: Connection, stream: str, kind: str, *, now: datetime) -> None:
    """Begin a sweep (or the backfill again): all keys, from the first."""
    columns = table.watermark.c
    values = {
        "scan": kind,
        "scan_number": columns.scan_number + 1,
        "scan_after": None,
        "scan_started_at": now,
    }
    _guarded(tx, sa.update(table.watermark).where(columns.stream == stream).values(**values))


def scan_again(tx: Connection, stream: str, *, now: datetime) -> None:
    """All keys are looked at from the first, also by a scan that is under way; one that has not begun will do."""
    mark = watermarks(tx)[stream]
    if mark.scan in (None, "leaving") or mark.scan_after is not None:
        start_scan(tx, stream, "backfill" if mark.backfilled_at is None else "sweep", now=now)


def scanned(tx: Connection, mark: Watermark, after: str, *, now: datetime) -> None:
    """Remember how far the scan has come."""
    _move_scan(tx, mark, scan_after=after, scan_started_at=mark.scan_started_at or now)


def start_leaving(tx: Connection, mark: Watermark) -> None:
    """The scan has met every key in scope; now those that were in scope and were not met."""
    _move_scan(tx, mark, scan="leaving", scan_after=None)


def end_scan(tx: Connection, mark: Watermark, *, now: datetime) -> None:
    """The scan has seen every key."""
    values: dict[str, Any] = {"scan": None, "scan_after": None, "swept_at": now}
    if mark.backfilled_at is None:
        values["backfilled_at"] = now
    _move_scan(tx, mark, **values)


def _move_scan(tx: Connection, mark: Watermark, **values: Any) -> None:
    """Move a scan, unless a person began another one meanwhile: its first keys would be skipped."""
    columns = table.watermark.c
    where = (columns.stream == mark.stream, columns.scan_number == mark.scan_number)
    _guarded(tx, sa.update(table.watermark).where(*where).values(**values))


def captured(tx: Connection, stream: str, keys: Collection[str]) -> dict[str, Captured]:
    """What is known of these keys."""
    wanted, found = sorted(keys), {}
    for start in range(0, len(wanted), _CHUNK):
        for row in tx.execute(_CAPTURED, {"stream": stream, "keys": wanted[start : start + _CHUNK]}):
            found[row.key] = Captured(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    return found


def keep(tx: Connection, seen: Captured, *, new: bool = False) -> None:
    """Remember what was captured of a key; `new`: nothing was."""
    values = {name: getattr(seen, name) for name in Captured.__dataclass_fields__}
    if new:
        tx.execute(_INSERT, values)
        return
    if tx.execute(_KEEP, {**values, "its_stream": seen.stream, "its_key": seen.key}).rowcount == 0:
        tx.execute(_INSERT, values)


def forget(tx: Connection, stream: str, key: str) -> None:
    """Forget a key that never was in scope."""
    columns = table.captured.c
    tx.execute(sa.delete(table.captured).where(columns.stream == stream, columns.key == key))


def same_identity(
    tx: Connection, resource: str, identity: str, *, other_than: tuple[str, str], streams: Collection[str]
) -> tuple[str, str] | None:
    """Another row, in scope, that claims the same identity: its stream, one of `streams`, and its key.

    `other_than` is the stream and key of the row that asks. Two mappings may give the same key, and mean two rows by
    it, or send one row twice.
    """
    stream, key = other_than
    its = {"resource": resource, "identity": identity, "its_stream": stream, "its_key": key}
    row = tx.execute(_SAME_IDENTITY, {**its, "streams": sorted({stream, *streams})}).first()
    return None if row is None else (row.stream, row.key)


def to_read_again(tx: Connection, stream: str, *, limit: int) -> list[str]:
    """Keys that must be looked at again although none of their rows changed."""
    return list(tx.execute(_TO_READ_AGAIN, {"stream": stream, "most": limit}).scalars())


def some_marked(tx: Connection) -> bool:
    """Is there, of whatever stream, a key to be looked at again, or one whose row was not there at the last look?"""
    return any(tx.execute(_SOME_MARKED).one())


def read_again(tx: Connection, *where: sa.ColumnElement[bool] | sa.TextClause) -> int:
    """Mark captured keys in scope to be looked at again; how many. What left the scope has nothing to be decided."""
    columns = table.captured.c
    marked = sa.update(table.captured).where(*where, columns.in_scope, sa.not_(columns.again))
    return tx.execute(marked.values(again=True)).rowcount


def read_unseen_again(tx: Connection, stream: str) -> int:
    """Mark the keys whose row was not there at the last look to be looked at again; how many."""
    columns = table.captured.c
    return read_again(tx, columns.stream == stream, table.UNSEEN)


def take_as_new(tx: Connection, resource: str, identity: str) -> int:
    """A person says that what was known of an identity's row is over: it is looked at as if it were a new one."""
    columns = table.captured.c
    where = (columns.resource == resource, columns.identity == identity, columns.in_scope)
    values = {"again": True, "created_at": None, "baselined": False}
    return tx.execute(sa.update(table.captured).where(*where).values(**values)).rowcount


def keys_above(tx: Connection, stream: str, highest: int) -> list[str]:
    """Keys believed in scope that are higher than the highest there is; the keys are numbers."""
    columns, text = table.captured.c, str(highest)
    length = sa.func.length(columns.key)
    above = sa.or_(length > len(text), sa.and_(length == len(text), columns.key > text))
    return list(tx.execute(sa.select(columns.key).where(columns.stream == stream, columns.in_scope, above)).scalars())


def read_identities_again(tx: Connection, resource: str, identities: Iterable[str]) -> int:
    """Mark the keys of these identities to be looked at again; how many. They are taken in parts as they come."""
    columns, each, marked = table.captured.c, iter(identities), 0
    while chunk := sorted(islice(each, _CHUNK)):
        marked += read_again(tx, columns.resource == resource, columns.in_scope, columns.identity.in_(chunk))
    return marked


def not_scanned(tx: Connection, mark: Watermark, *, limit: int) -> list[str]:
    """Keys believed in scope that this scan has not met: they left the scope or are gone."""
    columns = table.captured.c
    where = [columns.stream == mark.stream, columns.in_scope, columns.scan_number < mark.scan_number]
    if mark.scan_after is not None:
        where.append(columns.key > mark.scan_after)
    return list(tx.execute(sa.select(columns.key).where(*where).order_by(columns.key).limit(limit)).scalars())


def unmet(tx: Connection, stream: str, scan_number: int) -> int:
    """How many keys believed in scope the scan has not met."""
    columns = table.captured.c
    where = (columns.stream == stream, columns.in_scope, columns.scan_number < scan_number)
    return tx.execute(sa.select(sa.func.count()).select_from(table.captured).where(*where)).scalar_one()


def in_scope(tx: Connection, stream: str) -> int:
    """How many keys are believed in scope."""
    columns = table.captured.c
    where = (columns.stream == stream, columns.in_scope)
    return tx.execute(sa.select(sa.func.count()).select_from(table.captured).where(*where)).scalar_one()


def has_unseen(tx: Connection, stream: str) -> bool:
    """Is there a key whose row was not there at the last look, and that stays as it was known?"""
    return tx.execute(_UNSEEN, {"stream": stream}).first() is not None


def counted(tx: Connection) -> dict[str, int]:
    """How many keys are known of each stream."""
    columns = table.captured.c
    query = sa.select(columns.stream, sa.func.count().label("number")).group_by(columns.stream)
    return {row.stream: row.number for row in tx.execute(query)}


def identities(tx: Connection, resource: str) -> set[str]:
    """Every identity of a resource that the MIS has, in scope."""
    columns = table.captured.c
    where = (columns.resource == resource, columns.in_scope, columns.identity.is_not(None))
    return set(tx.execute(sa.select(columns.identity).where(*where)).scalars())


def _guarded(tx: Connection, update: sa.Update) -> None:
    if tx.execute(update).rowcount != 1:
        raise _overtaken()


def _overtaken() -> Overtaken:
    return Overtaken("the watermark was moved by somebody else")
