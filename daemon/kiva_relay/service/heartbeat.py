"""What the running relay tells of itself: to systemd, to Prometheus, and to `kiva-relay status` by the outbox.

The commands are other processes; what they cannot see in the entries (is the MIS reachable, since when is Kiva
away) the relay writes down as its heartbeat.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.outbox import hold, meta, mirror, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.state import State

_SAID_AGAIN_AFTER = timedelta(hours=1)


@dataclass
class Reachability:
    """How one of the two servers is: the MIS, or Kiva."""

    last_good: datetime | None = None
    away_since: datetime | None = None
    words: str = ""
    said_at: datetime | None = None

    def good(self, now: datetime) -> datetime | None:
        """It answered; since when it had been away, if it had."""
        away, self.away_since, self.words, self.last_good = self.away_since, None, "", now
        self.said_at = None
        return away

    def bad(self, words: str, now: datetime) -> bool:
        """It did not answer, or not well; true when that is worth a line: the first time, and then once an hour."""
        self.words = words
        self.away_since = self.away_since or now
        if self.said_at is not None and now - self.said_at < _SAID_AGAIN_AFTER:
            return False
        self.said_at = now
        return True


@dataclass
class Heartbeat:
    """The state of a running relay. Written by its threads, read by the one that publishes it."""

    started_at: datetime
    version: str
    pid: int
    mis: Reachability = field(default_factory=Reachability)
    kiva: Reachability = field(default_factory=Reachability)
    modes: dict[str, str] = field(default_factory=dict)
    stopped_streams: dict[str, str] = field(default_factory=dict)
    horizon_age: float = 0.0
    pinned_by: str = ""
    replication: dict[str, Any] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    no_room: str = ""
    beats_at: datetime | None = None

    def publish(self, outbox: Outbox, *, now: datetime) -> None:
        """Write the heartbeat to the outbox, and set the gauges from what the outbox holds."""
        self.beats_at = now
        with outbox.begin() as tx:
            meta.HEARTBEAT.put(tx, asdict(self))
        with outbox.read() as tx:
            set_gauges(tx, now=now)


def read(tx: Connection) -> dict[str, Any] | None:
    """The last heartbeat, as JSON; None when no relay ever ran on this outbox, or the last one stopped in order."""
    return meta.HEARTBEAT.get(tx)


def forget(outbox: Outbox) -> None:
    """Stopped in good order: no heartbeat."""
    with outbox.begin() as tx:
        meta.HEARTBEAT.remove(tx)


def set_gauges(tx: Connection, *, now: datetime) -> None:
    """Metrics that are what the outbox holds."""
    columns = table.entry.c
    query = sa.select(columns.resource, columns.state, sa.func.count()).group_by(columns.resource, columns.state)
    counts: dict[tuple[str, ...], float] = {
        (str(resource), str(state)): float(count) for resource, state, count in tx.execute(query)
    }
    meter.replace(meter.entries, counts)
    doubts: dict[tuple[str, ...], float] = {
        (resource,): counts.get((resource, State.IN_DOUBT.value), 0.0) for resource in table.RESOURCES
    }
    meter.replace(meter.in_doubt, doubts)
    meter.replace(meter.held, {(held.what, held.reason): 1.0 for held in hold.in_force(tx)})
    open_attempts = sa.select(sa.func.count()).select_from(table.attempt).where(table.attempt.c.ended_at.is_(None))
    meter.attempts_open.set(tx.execute(open_attempts).scalar_one())
    refresh = mirror.last_complete(tx)
    if refresh is not None:
        meter.mirror_age_seconds.set((now - refresh.started_at).total_seconds())
    marks = tx.execute(sa.select(table.watermark.c.stream, table.watermark.c.moved_at))
    lags: dict[tuple[str, ...], float] = {
        (str(stream),): (now - moved).total_seconds() for stream, moved in marks if moved is not None
    }
    meter.replace(meter.lag_seconds, lags)
