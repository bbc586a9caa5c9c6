"""What the running relay says of itself: its heartbeat in the outbox, and metrics of what the outbox holds."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.outbox import heartbeat, hold, mirror, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import State


def publish(outbox: Outbox, beat: Heartbeat, kiva_time: KivaTime | None = None) -> None:
    """Write the heartbeat, and set the gauges from what the outbox holds.

    Raises:
        OutboxAway: the outbox cannot be written.
    """
    with outbox.begin() as tx:
        heartbeat.write(tx, beat)
        if kiva_time is not None:
            kiva_time.keep(tx)
    with outbox.read() as tx:
        set_gauges(tx, now=beat.beats_at)


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
