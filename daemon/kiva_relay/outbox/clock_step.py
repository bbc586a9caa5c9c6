"""What a clock that is set must not change: how long something still has to wait, and what came after what.

The relay's hour goes on by the monotonic clock (`clock.SteadyClock`), so that a machine's clock that somebody sets
changes nothing by itself. Then, in one transaction, the moments by which something waits, or by which evidence is put
in order, move along by as much, and the relay's hour follows. Over a restart the outbox knows by how much the clock
was set meanwhile; when the machine was started anew, a clock that went back is seen by moments that have not come yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import SteadyClock
from kiva_relay.outbox import meta, mirror_table, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.meta import MachineTime

_A_STEP = 1.0
"""Seconds. A clock that is steered gently steers the monotonic one with it."""

_LAST_ATTEMPTS = 50
_PART = 1000

_log = log.get("outbox")
_entry, _attempt, _reading = table.entry.c, table.attempt.c, mirror_table.mirror_refresh.c


def follow(outbox: Outbox, clock: SteadyClock, *, boot: str) -> bool:
    """Follow the machine's clock when it was set; false when it was not.

    Raises:
        Unreachable: the outbox cannot be written; the relay's hour goes on as before.
    """
    by = clock.apart()
    if abs(by) < _A_STEP:
        return False
    followed = False
    try:
        with outbox.begin() as tx:
            _move(tx, timedelta(seconds=by))
            meta.STEADY_TIME.put(tx, MachineTime(clock.offset + by, boot))
            clock.follow(by)  # the last: who waits for this transaction goes by the new hour
            followed = True
    except BaseException:
        if followed:
            clock.follow(-by)
        raise
    _log.warning("The clock was set, or the machine slept. What waits goes on waiting as long as before", by=round(by))
    return True


def recall(tx: Connection, clock: SteadyClock, *, boot: str) -> bool:
    """At a start: move along by what the clock was set since the last process. Was the machine started meanwhile?"""
    known = meta.STEADY_TIME.get(tx)
    same_boot = known is not None and known.boot == boot != ""
    if known is not None and same_boot:
        by = timedelta(seconds=clock.offset - known.offset)
    else:
        newest = _newest(tx)
        by = timedelta(0) if newest is None else min(clock.now() - newest, timedelta(0))
    if abs(by.total_seconds()) >= _A_STEP:
        _move(tx, by)
        _log.warning("The clock was set while no relay ran. What waits goes on waiting", by=round(by.total_seconds()))
        same_offset = False
    else:
        same_offset = same_boot
    if not same_offset:
        meta.STEADY_TIME.put(tx, MachineTime(clock.offset, boot))
    return known is not None and not same_boot


def _newest(tx: Connection) -> datetime | None:
    """The newest moment that has surely been."""
    attempts = sa.select(sa.func.coalesce(_attempt.ended_at, _attempt.started_at, type_=_attempt.started_at.type))
    readings = sa.select(sa.func.coalesce(_reading.ended_at, _reading.started_at, type_=_reading.started_at.type))
    found = [
        tx.execute(attempts.order_by(_attempt.id.desc()).limit(1)).scalar(),
        tx.execute(readings.order_by(_reading.id.desc()).limit(1)).scalar(),
    ]
    return max((moment for moment in found if moment is not None), default=None)


def _move(tx: Connection, by: timedelta) -> None:
    """Move along what is planned, and what evidence is put in order by: since the oldest doubt, and the newest."""
    _moved(tx, table.entry, ["due_at"], sa.text(table.OPEN), by=by)
    last = tx.execute(sa.select(sa.func.max(_attempt.id))).scalar() or 0
    in_flight = sa.select(_entry.id).where(_entry.state.in_(["in_doubt", "sending"]))
    doubted = (
        sa.select(sa.func.min(_attempt.id))
        .join(table.batch_member, table.batch_member.c.batch_id == _attempt.batch_id)
        .where(table.batch_member.c.entry_id.in_(in_flight))
    )
    first = min(tx.execute(doubted).scalar() or last, last - _LAST_ATTEMPTS)
    began = sa.select(_attempt.started_at).where(_attempt.id >= first).order_by(_attempt.id)
    since = tx.execute(began.limit(1)).scalar()
    whole = sa.select(sa.func.max(_reading.id)).where(_reading.complete)
    newest = tx.execute(whole).scalar() or 0
    before = None if since is None else tx.execute(whole.where(_reading.ended_at < since)).scalar()
    _moved(tx, table.attempt, ["started_at", "ended_at"], _attempt.id >= first, by=by)
    reading_first = newest if since is None else min(newest, before or 0)
    _moved(tx, mirror_table.mirror_refresh, ["started_at", "ended_at"], _reading.id >= reading_first, by=by)


def _moved(
    tx: Connection, of: sa.Table, names: list[str], where: sa.ColumnElement[bool] | sa.TextClause, *, by: timedelta
) -> None:
    """Move these moments of some rows: they are text, so not by the database."""
    rows = tx.execute(sa.select(of.c.id, *(of.c[name] for name in names)).where(where)).all()
    update = sa.update(of).where(of.c.id == sa.bindparam("its_id"))
    changes = [
        {"its_id": row[0], **{name: None if at is None else at + by for name, at in zip(names, row[1:], strict=True)}}
        for row in rows
    ]
    for start in range(0, len(changes), _PART):
        tx.execute(update, changes[start : start + _PART])
