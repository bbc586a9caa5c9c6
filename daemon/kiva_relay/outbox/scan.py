"""How far a backfill or a sweep has come, and what it found: a fact of the outbox beside the watermark, by stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import orjson
from sqlalchemy.engine import Connection

from kiva_relay.outbox import binding

_ABOUT = "scan of "


@dataclass(frozen=True)
class ScanProgress:
    """One scan, under way or the last one. `kind` is backfill, sweep, or edit: a sweep after a mapping was edited.

    `total` is how many rows were in scope when it began, `done` how many were read; `found` how many of them were
    not as they were known, of these `gone` those that left the scope or were deleted, and `missed` those that
    polling would never have found.
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


def of(tx: Connection, stream: str) -> ScanProgress | None:
    """The scan of a stream that is under way, or its last one; None when there never was one."""
    text = binding.get(tx, _ABOUT + stream)
    if text is None:
        return None
    stored = orjson.loads(text)
    at = stored["at"] and datetime.fromisoformat(stored["at"])
    return ScanProgress(**{**stored, "since": datetime.fromisoformat(stored["since"]), "at": at})


def keep(tx: Connection, stream: str, progress: ScanProgress) -> None:
    """Write it down, in the transaction of the rows that it counts."""
    binding.put(tx, _ABOUT + stream, orjson.dumps(asdict(progress)).decode())


def missed(tx: Connection, stream: str, number: int) -> None:
    """So many of the rows that the last scan found would never have been found by polling."""
    progress = of(tx, stream)
    if progress is not None:
        keep(tx, stream, replace(progress, missed=progress.missed + number))
