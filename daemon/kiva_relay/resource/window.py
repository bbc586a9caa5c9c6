"""The month's repayment report: its period, its cut-off, and when it may be sent.

Kiva takes the period from the moment of receipt and its cycle is monthly (Kiva's SDK, "report payments"); the
days on which a report opens and closes are agreed with each partner, so they are settings.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from kiva_relay.config import settings as config

LAST_LOOK = timedelta(hours=6)
"""So long before it closes, every position is computed once more; at least three times `delivery.settle_after`."""


@dataclass(frozen=True)
class WindowDay:
    """A day of the month and a time of day; the 31st of a shorter month is its last day."""

    day: int
    at: time

    def on(self, year: int, month: int, zone: ZoneInfo) -> datetime:
        """The moment in that month."""
        last = calendar.monthrange(year, month)[1]
        return datetime.combine(date(year, month, min(self.day, last)), self.at, tzinfo=zone)


@dataclass(frozen=True)
class RepaymentReport:
    """What is owed now. `period` is YYYY-MM of the cut-off; without a window it is always open."""

    period: str
    cutoff: date
    is_open: bool
    opens: datetime | None = None
    closes: datetime | None = None
    stage: str = ""

    @property
    def stamp(self) -> str:
        """Changes whenever every expected position has to be computed again."""
        return f"{self.period} {self.cutoff} {self.stage}"


def report(settings: config.Settings, now: datetime) -> RepaymentReport:
    """The repayment report of a moment, by the settings.

    Nothing is begun so late that its answer might come after the close.
    """
    chosen, timeout = settings.repayments, settings.kiva.timeout
    windowed = chosen.when == "window"
    return current(
        now,
        opens=WindowDay(chosen.opens_on.day, chosen.opens_on.at) if windowed else None,
        closes=WindowDay(chosen.closes_on.day, chosen.closes_on.at) if windowed else None,
        zone=ZoneInfo(chosen.timezone),
        mis_zone=ZoneInfo(settings.mis.timezone),
        cutoff=chosen.cutoff,
        margin=timeout.connect + timeout.write + timeout.read,
        last_look=max(LAST_LOOK, 3 * settings.delivery.settle_after),
    )


def current(
    now: datetime,
    *,
    opens: WindowDay | None,
    closes: WindowDay | None,
    zone: ZoneInfo,
    mis_zone: ZoneInfo,
    cutoff: str | date,
    margin: timedelta = timedelta(0),
    last_look: timedelta = LAST_LOOK,
) -> RepaymentReport:
    """The report at a moment. `cutoff` is `end_of_previous_month`, `today` or a date, in the MIS's zone.

    Without `opens` and `closes` there is no window. `margin` is how long before its close nothing new is
    begun: a request that might arrive after the close would be booked in the next period.
    `last_look` is how long before the close every position is computed once more.
    """
    today = now.astimezone(mis_zone).date()
    if isinstance(cutoff, date):
        day = cutoff
    else:
        day = today if cutoff == "today" else today.replace(day=1) - timedelta(days=1)
    period = f"{day:%Y-%m}"
    if opens is None or closes is None:
        return RepaymentReport(period, day, is_open=True)
    local = now.astimezone(zone)
    start, end = (moment.on(local.year, local.month, zone) for moment in (opens, closes))
    is_open = start <= now < end - margin
    stage = "closed" if not is_open else "last look" if now >= end - last_look else "open"
    return RepaymentReport(period, day, is_open=is_open, opens=start, closes=end, stage=stage)
