"""The window of a month's report: which period it is, and that each moment has one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings, strategies

from kiva_relay.config.repayments import MonthDay, Repayments
from kiva_relay.resource import window
from kiva_relay.resource.window import MonthlyWindow, RepaymentReport, WindowDay
from testbed.rig import capturing

ZONES = ("UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Africa/Dakar", "Europe/Berlin", "Australia/Lord_Howe")


def at(year: int, month: int, day: int, hour: int = 12) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def report(now: datetime, *, mis: str = "UTC", **repayments: object) -> RepaymentReport:
    """The report by these settings; windowed, in UTC, unless they say otherwise."""
    given_ = {"when": "window", "timezone": "UTC", "cutoff": "end_of_previous_month"} | repayments
    mine: Mapping[str, object] = Repayments.model_validate(given_).__dict__
    return window.report(capturing.settings(repayments=mine, mis={"timezone": mis}), now)


def day(number: int | str, hour: str) -> dict[str, object]:
    return {"day": number, "at": hour}


def test_the_usual_window_reports_the_month_before() -> None:
    found = report(at(2026, 12, 4))
    assert (found.period, found.cutoff, found.is_open) == ("2026-11", date(2026, 11, 30), True)
    closed = report(at(2026, 12, 20))
    assert (closed.period, closed.cutoff, closed.stage) == ("2026-11", date(2026, 11, 30), "closed")
    assert report(at(2027, 1, 1, 5)).period == "2026-11", "the one of January has not opened yet"


def test_a_fixed_cutoff_holds_for_one_report_and_the_next_month_is_reported_all_the_same() -> None:
    found = [report(at(2027, month, 4), cutoff=date(2027, 1, 31)) for month in (2, 3)]
    assert [(one.period, one.cutoff) for one in found] == [
        ("2027-01", date(2027, 1, 31)),
        ("2027-02", date(2027, 2, 28)),
    ]
    assert report(at(2027, 2, 4), cutoff=date(2027, 1, 25)).cutoff == date(2027, 1, 25)
    assert report(at(2027, 2, 4), cutoff=date(2027, 2, 3)).cutoff == date(2027, 2, 3), "counted on, while it is open"


@pytest.mark.parametrize(
    ("mis", "kiva"), [("America/Lima", "Pacific/Auckland"), ("Asia/Manila", "America/Los_Angeles")]
)
def test_zones_that_differ_never_make_it_a_month_too_old(mis: str, kiva: str) -> None:
    for hours in range(24 * 30):
        now = at(2026, 11, 25) + timedelta(hours=hours)
        found = report(now, mis=mis, timezone=kiva, opens_on=day(1, "00:00"), closes_on=day(10, "18:00"))
        assert str(found.cutoff)[:7] == found.period
        if found.is_open:
            assert found.period == "2026-11", now


@pytest.mark.parametrize(
    ("opens", "closes", "moment", "period"),
    [
        (day(25, "06:00"), day(5, "18:00"), at(2026, 11, 26), "2026-11"),
        (day(25, "06:00"), day(5, "18:00"), at(2026, 12, 5, 10), "2026-11"),
        (day(25, "06:00"), day(5, "18:00"), at(2026, 12, 26), "2026-12"),
        (day("last", "06:00"), day(8, "18:00"), at(2027, 2, 28, 7), "2027-02"),
        (day(20, "06:00"), day("last", "18:00"), at(2027, 2, 28, 7), "2027-01"),
        (day(20, "06:00"), day(31, "18:00"), at(2026, 11, 30, 7), "2026-10"),
        (day(2, "06:00"), day(1, "00:00"), at(2026, 12, 31, 23), "2026-11"),
    ],
)
def test_windows_on_any_day_and_over_the_end_of_a_month(
    opens: object, closes: object, moment: datetime, period: str
) -> None:
    found = report(moment, opens_on=opens, closes_on=closes)
    assert (found.period, found.is_open) == (period, True)


def test_without_a_window_the_period_is_the_calendar_month() -> None:
    found = report(at(2026, 12, 31, 23), when="continuous", timezone="America/Lima", cutoff="today")
    assert (found.period, found.cutoff, found.is_open, found.is_windowed) == (
        "2026-12",
        date(2026, 12, 31),
        True,
        False,
    )
    assert report(at(2027, 1, 1, 3), when="continuous", timezone="America/Lima").period == "2026-12"


def test_what_changes_goes_at_night_and_at_the_last_look() -> None:
    assert report(at(2026, 12, 4)).goes == at(2026, 12, 5, 4)
    assert report(at(2026, 12, 4, 3)).goes == at(2026, 12, 4, 4)
    assert report(at(2026, 12, 10, 5)).goes == at(2026, 12, 10, 12), "the last look comes before the night"
    assert report(at(2026, 12, 10, 13)).goes is None
    assert report(at(2026, 12, 4), when="continuous").goes is None


DAYS = strategies.one_of(strategies.integers(1, 31), strategies.just("last"))
HOURS = strategies.builds(time, strategies.integers(0, 23), strategies.sampled_from([0, 30]))


@settings(max_examples=60, deadline=None)
@given(
    opens=strategies.tuples(DAYS, HOURS),
    closes=strategies.tuples(DAYS, HOURS),
    zone=strategies.sampled_from(ZONES),
    mis=strategies.sampled_from(ZONES),
    year=strategies.integers(2024, 2035),
)
def test_each_moment_has_one_report_and_each_period_opens_once(
    opens: tuple[int | str, time], closes: tuple[int | str, time], zone: str, mis: str, year: int
) -> None:
    written = [MonthDay.model_construct(day=number, at=hour) for number, hour in (opens, closes)]
    try:
        Repayments.model_validate({"opens_on": written[0], "closes_on": written[1]})
    except ValueError:
        assume(condition=False)
    first, last = (WindowDay(31 if one.day == "last" else one.day, one.at) for one in written)
    monthly = MonthlyWindow(first, last, ZoneInfo(zone))
    now = datetime(year, 1, 1, tzinfo=UTC)
    windows = [monthly.at(now)]
    while windows[-1].opens < now + timedelta(days=730):
        windows.append(monthly.after(windows[-1].opens))
    assert len({one.period for one in windows}) == len(windows)
    assert all(one.opens < one.closes for one in windows)
    for one, following in itertools.pairwise(windows):
        assert one.closes <= following.opens
        assert following.month_end > one.month_end
        # The one may close as the other opens.
        for moment in (one.opens, one.closes - timedelta(seconds=1), following.opens - timedelta(seconds=1)):
            assert monthly.at(moment) == one
    for one in windows:
        found = report(
            one.opens,
            mis=mis,
            timezone=zone,
            opens_on={"day": opens[0], "at": f"{opens[1]:%H:%M}"},
            closes_on={"day": closes[0], "at": f"{closes[1]:%H:%M}"},
        )
        assert (found.period, found.cutoff) == (one.period, one.month_end)
