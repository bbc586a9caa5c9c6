"""When the jobs knock, and what is known of their work: over changes of the clock, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from kiva_relay import meter
from kiva_relay.config.settings import Settings
from kiva_relay.service import schedule
from kiva_relay.service.schedule import Daily, Every, Job, Schedule
from testbed.rig.patience import eventually
from testbed.rig.set_clock import SetClock, SteppedClock

NEW_YORK = ZoneInfo("America/New_York")
DAYS = timedelta(days=6)
SETTINGS = Settings.model_construct()


def job(clock: SetClock | SteppedClock, name: str = "poll") -> tuple[Job, threading.Event]:
    wake = threading.Event()
    return Job(name, clock=clock, wake=wake), wake


@contextmanager
def knocking(*jobs: Job, clock: SteppedClock) -> Iterator[Schedule]:
    with clock.everywhere():
        made = Schedule(jobs, zone="Africa/Dakar", clock=clock)
        made.start(SETTINGS)
        with closing(made):
            yield made


def errors(name: str) -> float:
    return float(meter.job_errors.labels(name)._value.get())


def test_after_six_days_an_interval_goes_on_from_now_with_one_run() -> None:
    trigger, began = Every(timedelta(seconds=1)), datetime(2026, 11, 20, tzinfo=UTC)
    assert trigger.get_next_fire_time(began, began) == began + timedelta(seconds=1)
    assert trigger.get_next_fire_time(began, began + DAYS) == began + DAYS + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "following"),
    [
        (datetime(2027, 3, 13, 23, 0, tzinfo=NEW_YORK), datetime(2027, 3, 14, 7, 30, tzinfo=UTC)),  # 02:30 is left out
        (datetime(2027, 3, 14, 3, 10, tzinfo=NEW_YORK), datetime(2027, 3, 14, 7, 30, tzinfo=UTC)),
        (datetime(2026, 10, 31, 23, 0, tzinfo=NEW_YORK), datetime(2026, 11, 1, 7, 30, tzinfo=UTC)),
        (datetime(2026, 6, 1, 12, 0, tzinfo=UTC), datetime(2026, 6, 2, 6, 30, tzinfo=UTC)),
    ],
)
def test_an_hour_of_the_day_comes_once_a_day_also_when_summer_time_leaves_it_out(
    now: datetime, following: datetime
) -> None:
    trigger = Daily((time(2, 30),), NEW_YORK)
    assert trigger.get_next_fire_time(now - timedelta(hours=1), now) == following
    assert trigger.get_next_fire_time(following, following) > following + timedelta(hours=22)


def test_what_is_asked_for_twice_is_done_once_and_what_is_asked_for_meanwhile_once_more() -> None:
    mine, wake = job(SetClock())
    mine.knock()
    mine.knock()
    assert wake.is_set()
    with mine.work():
        assert not mine.asked
        mine.knock()
        mine.knock()
    assert mine.asked
    with mine.work():
        pass
    assert not mine.asked


def test_what_is_shown_is_the_work_and_not_the_knock() -> None:
    clock = SetClock()
    mine, _ = job(clock, "purge")
    mine.knock()
    with mine.work():
        clock.passes(90)
    assert mine.health().seconds == 90
    assert meter.job_duration.labels("purge")._value.get() == 90
    assert meter.job_last_run.labels("purge")._value.get() == clock.now().timestamp()
    before = errors("purge")
    with pytest.raises(LookupError), mine.work():
        raise LookupError("Awa")
    assert errors("purge") == before + 1
    assert mine.health().error == "LookupError"


def test_work_that_does_not_begin_or_does_not_end_is_late_by_time_that_passed() -> None:
    clock = SetClock()
    mine, _ = job(clock)
    mine.interval = timedelta(minutes=1)
    mine.knock()
    clock.is_set(DAYS)
    assert mine.health().overdue == 0
    clock.passes(schedule.LATE_AFTER.total_seconds() + 30)
    assert mine.health().overdue == 30
    with mine.work():
        clock.passes(10)
        mine.knock()
        assert mine.health().overdue == 40
    with mine.work():
        pass
    assert mine.health().overdue == 0


def test_a_job_for_which_nobody_knocks_is_late() -> None:
    clock = SetClock()
    mine, _ = job(clock)
    mine.interval = timedelta(hours=1)
    mine.knock()
    with mine.work():
        pass
    clock.passes(2 * 3600 + 5)
    assert mine.health().overdue == 5


@pytest.mark.parametrize("by", [DAYS, -DAYS])
def test_jobs_knock_on_once_each_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    monkeypatch.setitem(schedule.PLAN, "poll", lambda _: Every(timedelta(seconds=0.2)))
    monkeypatch.setitem(schedule.PLAN, "sweep", lambda _: Daily((time(2, 30),), ZoneInfo("Africa/Dakar")))
    clock = SteppedClock()
    (poll, polled), (sweep, swept) = job(clock), job(clock, "sweep")
    with knocking(poll, sweep, clock=clock) as made:
        assert polled.wait(10)
        assert swept.wait(10)
        swept.clear()
        clock.by += by
        made.keep_time(SETTINGS)
        for _ in range(5):
            polled.clear()
            assert polled.wait(10), "nobody knocked any more"
        assert swept.wait(10)
        swept.clear()
        made.keep_time(SETTINGS)
        polled.clear()
        assert polled.wait(10)
        assert not swept.is_set(), "it was planned a second time"


@pytest.mark.parametrize("by", [DAYS, -DAYS])
def test_a_clock_that_is_set_there_and_back_between_two_looks_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    monkeypatch.setitem(schedule.PLAN, "poll", lambda _: Every(timedelta(seconds=0.2)))
    clock = SteppedClock()
    mine, wake = job(clock)
    with knocking(mine, clock=clock) as made:
        assert wake.wait(10)
        clock.by += by
        for _ in range(3):  # forward it knocks meanwhile; back it does not
            wake.clear()
            wake.wait(0.3)
        clock.by -= by
        made.keep_time(SETTINGS)
        for _ in range(3):
            wake.clear()
            assert wake.wait(10), "nobody knocked any more"


def test_the_scheduler_is_let_sleep_until_the_next_knock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schedule.PLAN, "poll", lambda _: Every(timedelta(hours=1)))
    clock = SteppedClock()
    mine, wake = job(clock)
    with knocking(mine, clock=clock) as made:
        assert wake.wait(10)
        woken = list[bool]()
        monkeypatch.setattr(made._scheduler, "wakeup", lambda: woken.append(True))
        made.keep_time(SETTINGS)
        assert not woken


def test_a_clock_that_is_corrected_by_a_little_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schedule.PLAN, "poll", lambda _: Every(timedelta(hours=1)))
    clock = SteppedClock()
    mine, wake = job(clock)
    with knocking(mine, clock=clock) as made:
        assert wake.wait(10)
        wake.clear()
        clock.by += timedelta(seconds=29)
        made.keep_time(SETTINGS)
        assert not wake.wait(0.3)


def test_a_knock_that_raises_is_counted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("poll", "lists"):
        monkeypatch.setitem(schedule.PLAN, name, lambda _: Every(timedelta(seconds=0.05)))

    class Broken(Job):
        def knock(self) -> None:
            raise LookupError

    clock, before = SteppedClock(), errors("poll")
    broken, (good, wake) = Broken("poll", clock=clock, wake=threading.Event()), job(clock, "lists")
    with knocking(broken, good, clock=clock):
        eventually(lambda: errors("poll") >= before + 3)
        wake.clear()
        assert wake.wait(10)


def test_only_what_is_due_at_another_time_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [1]
    monkeypatch.setitem(schedule.PLAN, "poll", lambda _: Every(timedelta(hours=1)))
    monkeypatch.setitem(schedule.PLAN, "lists", lambda _: Every(timedelta(hours=hours[0])))
    clock = SteppedClock()
    (poll, polled), (lists, listed) = job(clock), job(clock, "lists")
    with knocking(poll, lists, clock=clock) as made:
        assert polled.wait(10)
        assert listed.wait(10)
        polled.clear()
        listed.clear()
        hours[0] = 2
        made.plan(SETTINGS)
        assert listed.wait(10)
        assert not polled.is_set()
        assert lists.interval == timedelta(hours=2)
