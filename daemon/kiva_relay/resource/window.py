"""The month's repayment report: its period, its cut-off, and when it may be sent.

Kiva takes the period from the moment of receipt and its cycle is monthly (Kiva's SDK, "report payments"); the
days on which a report opens and closes are agreed with each partner, so they are settings. The period follows from
the window alone: it is the month before the one in which the window closes. Neither the day nor the cut-off decide it,
for clocks and zones differ on these.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from kiva_relay.config import repayments
from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass

LAST_LOOK = timedelta(hours=6)
"""So long before it closes, every position is computed once more; at least three times `delivery.settle_after`."""

LAST_DAY = 31
_MONTHS = 12


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
class Window:
    """The window of one period. Moments are in UTC, so that they compare across a change to summer time."""

    period: str
    opens: datetime
    closes: datetime

    @property
    def month_end(self) -> date:
        """The last day of the period."""
        year, month = map(int, self.period.split("-"))
        return date(year, month, calendar.monthrange(year, month)[1])


@dataclass(frozen=True)
class MonthlyWindow:
    """A window on the same days of every month; where it closes on a day before, it opened in the month before."""

    opens: WindowDay
    closes: WindowDay
    zone: ZoneInfo

    def at(self, now: datetime) -> Window:
        """The window that opened last, open or closed by now."""
        return next(self.back_from(now))

    def back_from(self, now: datetime) -> Iterator[Window]:
        """The windows that have opened by now, the newest first."""
        local = now.astimezone(self.zone)
        number = local.year * _MONTHS + local.month  # of the month after: its window may have opened already
        while number > 2 * _MONTHS:
            window = self._closing_in(number)
            if window.opens <= now:
                yield window
            number -= 1

    def after(self, now: datetime) -> Window:
        """The window that opens next."""
        local = now.astimezone(self.zone)
        number = local.year * _MONTHS + local.month - 2
        while (window := self._closing_in(number)).opens <= now:
            number += 1
        return window

    @property
    def _spans(self) -> bool:
        """Does it reach over the end of a month?"""
        return (self.closes.day, self.closes.at) <= (self.opens.day, self.opens.at)

    def _closing_in(self, number: int) -> Window:
        closes = _on(self.closes, number, self.zone)
        opens = _on(self.opens, number - 1 if self._spans else number, self.zone)
        if self._spans:
            # Where both fall on the last day of a short month, the next one must not open before this one closes.
            closes = min(closes, _on(self.opens, number, self.zone))
        # What closes as a month begins closes with the month before.
        closes_with = number - 1 if (self.closes.day, self.closes.at) == (1, time(0)) else number
        return Window(_name(closes_with - 1), opens, closes)


@dataclass(frozen=True)
class RepaymentReport:
    """What is owed now.

    Attributes:
        period: YYYY-MM.
        cutoff: repayments count up to this day, in the MIS's zone.
        is_open: may something be sent now? Without a window, always.
        opens, closes: of its window; None without one.
        stage: of a window: `open`, `last look` or `closed`.
        goes: when a position that changed just now is sent; None: at once.
        looks: when the last look before closing begins.
        opens_next: is it so late that the answer to what is begun now might come after the next opening?
        basis: what an amount means.
    """

    period: str
    cutoff: date
    is_open: bool
    opens: datetime | None = None
    closes: datetime | None = None
    stage: str = ""
    goes: datetime | None = None
    looks: datetime | None = None
    opens_next: bool = False
    basis: str = ""

    @property
    def stamp(self) -> str:
        """Changes whenever every expected position has to be computed again."""
        return f"{self.period} {self.cutoff} {self.stage}{f' {self.basis}' if self.basis else ''}"

    @property
    def is_windowed(self) -> bool:
        """Has it a window?"""
        return self.closes is not None


def of(settings: config.Settings) -> MonthlyWindow | None:
    """The window by the settings; None: positions go whenever something changed."""
    chosen = settings.repayments
    if chosen.when != "window":
        return None
    opens, closes = (_day(each) for each in (chosen.opens_on, chosen.closes_on))
    return MonthlyWindow(opens, closes, ZoneInfo(chosen.timezone))


def report(settings: config.Settings, now: datetime) -> RepaymentReport:
    """The repayment report of a moment, by the settings: the one whose window opened last.

    Nothing is begun so late that its answer might come after the close; nor, sent late, after the next opening.
    """
    chosen, timeout = settings.repayments, settings.kiva.timeout
    today = now.astimezone(ZoneInfo(settings.mis.timezone)).date()
    monthly = of(settings)
    if monthly is None:
        return _continuous(chosen, today, now)
    windows = monthly.back_from(now)
    window, before = next(windows), next(windows)
    zone = monthly.zone
    margin = timeout.connect + timeout.write + timeout.read
    looks = window.closes - max(LAST_LOOK, 3 * settings.delivery.settle_after)
    is_open = window.opens <= now < window.closes - margin
    stage = "closed" if not is_open else "last look" if now >= looks else "open"
    return RepaymentReport(
        window.period,
        _cutoff(chosen.cutoff, window, before, today=today, zone=zone),
        is_open=is_open,
        opens=window.opens.astimezone(zone),
        closes=window.closes.astimezone(zone),
        stage=stage,
        goes=min(_next_night(chosen.send_at, zone, now), looks).astimezone(zone) if stage == "open" else None,
        looks=looks.astimezone(zone),
        opens_next=not is_open and now >= monthly.after(now).opens - margin,
        basis=chosen.basis,
    )


def _continuous(chosen: repayments.Repayments, today: date, now: datetime) -> RepaymentReport:
    """Without a window, the period is the calendar month, and ends with it."""
    month = now.astimezone(ZoneInfo(chosen.timezone)).date().replace(day=1)
    cutoff = month - timedelta(days=1)
    if chosen.cutoff == "today":
        cutoff = today
    elif isinstance(chosen.cutoff, date) and chosen.cutoff.replace(day=1) == month:
        cutoff = chosen.cutoff
    return RepaymentReport(f"{month:%Y-%m}", cutoff, is_open=True, basis=chosen.basis)


def _cutoff(written: str | date, window: Window, before: Window, *, today: date, zone: ZoneInfo) -> date:
    """The last day that counts. A date belongs to one report: the one whose window closes next."""
    if written == "today":
        return today
    if isinstance(written, date) and (
        before.closes.astimezone(zone).date() < written <= window.closes.astimezone(zone).date()
    ):
        return written
    return window.month_end


def _next_night(at: time, zone: ZoneInfo, now: datetime) -> datetime:
    """The next moment after `now` at a time of day, in UTC."""
    today = now.astimezone(zone).date()
    days = (today + timedelta(days=number) for number in range(3))
    moments = (datetime.combine(day, at, tzinfo=zone).astimezone(UTC) for day in days)
    return next(moment for moment in moments if moment > now)


def _day(written: repayments.MonthDay) -> WindowDay:
    return WindowDay(LAST_DAY if written.day == "last" else written.day, written.at)


def _on(day: WindowDay, number: int, zone: ZoneInfo) -> datetime:
    """The moment of a day in the month with this number, counted from the year 0; in UTC."""
    return day.on(number // _MONTHS, number % _MONTHS + 1, zone).astimezone(UTC)


def _name(number: int) -> str:
    return f"{number // _MONTHS:04d}-{number % _MONTHS + 1:02d}"
