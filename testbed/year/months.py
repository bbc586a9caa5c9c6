"""The calendar of the year: the window of each report, and the moments between, in Kiva's zone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MIS_ZONE = "America/Lima"
KIVA_ZONE = "Asia/Manila"
"""Thirteen hours ahead: a report opens while its last day is not over where the institution is."""

OPENS, CLOSES = (1, time(0, 30)), (10, time(18))
LAST_LOOK = timedelta(hours=6)

_LIMA, _MANILA = ZoneInfo(MIS_ZONE), ZoneInfo(KIVA_ZONE)


@dataclass(frozen=True)
class Month:
    """One report: `period` is the month that it is about, the window lies in the one after it."""

    period: str
    cutoff: date
    opens: datetime
    closes: datetime

    @property
    def last_look(self) -> datetime:
        """When every position is computed once more."""
        return self.closes - LAST_LOOK

    def at(self, day: int, hour: int, minute: int = 0) -> datetime:
        """A moment in the month of the window, in Kiva's zone."""
        local = self.opens.astimezone(_MANILA)
        return datetime.combine(local.date().replace(day=day), time(hour, minute), _MANILA).astimezone(UTC)


def months(first: date, number: int) -> Iterator[Month]:
    """So many reports, the first about the month of `first`."""
    year, month = first.year, first.month
    for _ in range(number):
        period = f"{year:04}-{month:02}"
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        begin = date(year, month, 1)
        opens, closes = (datetime.combine(begin.replace(day=day), at, _MANILA) for day, at in (OPENS, CLOSES))
        yield Month(period, begin - timedelta(days=1), opens.astimezone(UTC), closes.astimezone(UTC))


def day_there(moment: datetime) -> date:
    """The day where the institution is."""
    return moment.astimezone(_LIMA).date()
