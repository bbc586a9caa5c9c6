"""What a stream's SQL is bound with, and what its times without a zone mean."""

from __future__ import annotations

from datetime import UTC, date, tzinfo
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import CUTOFF, CUTOFF_MONTH, Stream


class Binding:
    """For the streams of one MIS. `timezone` is `mis.timezone`."""

    def __init__(self, dialect: Dialect, *, timezone: str, clock: Clock) -> None:
        self._dialect, self._zone, self._clock = dialect, ZoneInfo(timezone), clock

    def values(self, stream: Stream, cutoff: date | None = None) -> dict[str, object]:
        """The stream's parameters, and the cut-off with the first day of its month: today where none is given."""
        day = cutoff or self._clock.now().astimezone(self._zone).date()
        given = {**stream.parameters, CUTOFF: day, CUTOFF_MONTH: day.replace(day=1)}
        return {name: self._dialect.parameter(one) for name, one in given.items()}

    def zone(self, cx: sa.Connection, stream: Stream) -> tzinfo:
        """Where the clock hung that wrote the stream's times without a zone."""
        match stream.changed_at_zone:
            case "utc":
                return UTC
            case "server":
                return self._dialect.zone(cx)
            case "":
                return self._zone
            case name:
                return ZoneInfo(name)
