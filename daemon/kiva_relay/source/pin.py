"""The oldest transaction of the MIS: for how long it keeps the watermark where it is, and whose it is."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.position import Horizon, Snapshot


class Pin:
    """Of one MIS, from look to look."""

    def __init__(self, dialect: Dialect, *, clock: Clock) -> None:
        self._dialect, self._clock = dialect, clock
        self._since: tuple[int | None, float] = (None, 0.0)

    def look(self, cx: sa.Connection, horizon: Horizon, snapshot: Snapshot) -> tuple[timedelta, str]:
        """For how long, and the session or prepared transaction; "" when nobody knows."""
        now = self._clock.monotonic()
        if self._since[0] != snapshot.xid or not snapshot.pinned:
            self._since = (snapshot.xid, now)
        pinned = timedelta(seconds=now - self._since[1])
        if snapshot.xid is not None and pinned > horizon.open_for:
            return pinned, self._dialect.holder(cx, snapshot.xid)
        return horizon.open_for, horizon.pinned_by
