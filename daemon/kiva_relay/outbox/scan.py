"""How far the latest backfill or sweep of a stream has come, and what it found: one row a stream."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table

_columns = table.scan.c


@dataclass(frozen=True)
class ScanProgress:
    """One scan, under way or the last one.

    `kind` is backfill, sweep, or edit: a sweep for what no poll shows, after a mapping was edited or a table emptied.
    `total` is how many rows were in scope when it began, `done` how many were read; `found` how many of them were
    not as they were known, of these `gone` those that left the scope or were deleted, and `missed` those that
    polling would never have found. `at` is when its latest page was read; None before the first.
    """

    number: int
    kind: str
    since: datetime
    total: int
    done: int = 0
    found: int = 0
    gone: int = 0
    missed: int = 0
    at: datetime | None = None

    @property
    def rate(self) -> float:
        """Rows a second, rests included."""
        seconds = ((self.at or self.since) - self.since).total_seconds()
        return self.done / seconds if seconds > 0 else 0.0

    @property
    def left(self) -> timedelta | None:
        """How long it still takes; None when nobody can tell yet."""
        return timedelta(seconds=max(self.total - self.done, 0) / self.rate) if self.rate else None


_SELECT = sa.select(*(_columns[name] for name in ScanProgress.__dataclass_fields__))


def of(tx: Connection, stream: str) -> ScanProgress | None:
    """The scan of a stream that is under way, or its last one; None when there never was one."""
    row = tx.execute(_SELECT.where(_columns.stream == stream)).first()
    return None if row is None else ScanProgress(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def keep(tx: Connection, stream: str, progress: ScanProgress) -> None:
    """Store it, in the transaction of the rows that it counts."""
    values = asdict(progress)
    if tx.execute(sa.update(table.scan).where(_columns.stream == stream).values(**values)).rowcount == 0:
        tx.execute(sa.insert(table.scan).values(stream=stream, **values))


def missed(tx: Connection, stream: str, number: int) -> None:
    """Count `number` rows of the last scan that polling would never have found."""
    tx.execute(sa.update(table.scan).where(_columns.stream == stream).values(missed=_columns.missed + number))
