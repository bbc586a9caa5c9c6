"""What is done again and again, and when: the jobs, and the scheduler that knocks for them.

A job only knocks: it marks the work as asked for, and wakes the thread that does it. What there is to do is asked of
the outbox, so a knock that comes twice, or late, or after a restart, does no harm, and none has to be caught up.
The work says itself when it begins and ends, so that what is shown of a job is about the work, not about the knock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from apscheduler import events
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from kiva_relay import log, meter
from kiva_relay.clock import Clock
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.heartbeat import JobHealth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kiva_relay.config.settings import Settings

LATE_AFTER = timedelta(minutes=10)
"""Work that was asked for and has not ended after this long, and after its interval, is late."""

_A_STEP = 30.0
"""Seconds by which the wall clock may move against the monotonic one until all is planned again."""

_log = log.get("schedule")


@dataclass(frozen=True)
class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """At intervals. After a gap (the clock was set, the machine slept) it goes on from now.

    APScheduler's own IntervalTrigger lists every moment that was missed: half a million after six days.

    `between` the others, which all begin at the same moment: two threads at work at once wake each other for each
    statement.
    """

    interval: timedelta
    between: bool = False

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next moment; the first is now, or half an interval later."""
        if previous_fire_time is None:
            return now + self.interval / 2 if self.between else now
        following = previous_fire_time + self.interval
        return following if following > now else now + self.interval


@dataclass(frozen=True)
class Daily(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """At hours of the day, of a zone. An hour that the change to summer time leaves out is kept all the same."""

    hours: tuple[time, ...]
    zone: ZoneInfo

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next moment; the first is now, for the hour may have passed while no relay ran."""
        if previous_fire_time is None:
            return now
        return min(moment for moment in moments(self.hours, self.zone, now) if moment > now)


def moments(hours: Sequence[time], zone: ZoneInfo, now: datetime) -> list[datetime]:
    """The moments of yesterday, today and tomorrow at these hours of a zone, in order and in UTC."""
    today = now.astimezone(zone).date()
    days = (today - timedelta(days=1), today, today + timedelta(days=1))
    # In UTC: two moments of the same zone are compared without its change to summer time.
    return sorted(datetime.combine(day, hour, tzinfo=zone).astimezone(UTC) for day in days for hour in hours)


def last_sweep_hour(settings: Settings, now: datetime) -> datetime:
    """The last of the sweep's hours that has come, in UTC."""
    hours = moments(settings.mis.sweep_at, ZoneInfo(settings.mis.timezone), now)
    return max((hour for hour in hours if hour <= now), default=now - timedelta(days=2))


def _mail(settings: Settings) -> Daily | None:
    return Daily((settings.mail.at,), ZoneInfo(settings.mis.timezone)) if settings.mail.is_on else None


def _alive(settings: Settings) -> Every | None:
    is_watched = settings.mail.is_on and settings.mail.alive_url is not None
    return Every(timedelta(minutes=5)) if is_watched else None


PLAN: dict[str, Callable[[Settings], Every | Daily | None]] = {
    "poll": lambda settings: Every(settings.mis.poll_every),
    "sweep": lambda settings: Daily(settings.mis.sweep_at, ZoneInfo(settings.mis.timezone)),
    "lists": lambda settings: Every(settings.mirror.refresh_every),
    "report": lambda _: Every(timedelta(minutes=5)),
    "audit": lambda settings: Daily(settings.mis.sweep_at, ZoneInfo(settings.mis.timezone)),
    "reconcile": lambda settings: Daily(settings.mis.sweep_at, ZoneInfo(settings.mis.timezone)),
    "purge": lambda _: Every(timedelta(hours=1)),
    "heartbeat": lambda _: Every(timedelta(seconds=5), between=True),
    "mail": _mail,
    "alive": _alive,
}
"""Every job, and when it knocks; None: never, as it is switched off."""


@dataclass(frozen=True)
class _Run:
    """How the work went: when it ended, how many seconds it took, the kind of error that it ended with."""

    ended_at: datetime
    seconds: float
    error: str


class Job:
    """The work of one job: asked for by a knock, done by one thread. What it says of itself is safe in all threads."""

    def __init__(self, name: str, *, clock: Clock, wake: threading.Event) -> None:
        self.name, self.interval = name, timedelta(0)
        self._clock, self._wake = clock, wake
        self._lock = threading.Lock()
        self._knocked_at = clock.monotonic()
        self._asked_at: float | None = None
        self._began_at: float | None = None
        self._due_since: float | None = None
        self._last: _Run | None = None

    @property
    def asked(self) -> bool:
        """Is there work that was asked for and has not begun?"""
        return self._asked_at is not None

    def knock(self) -> None:
        """Ask for the work. Asked again before it has begun, it is done once."""
        with self._lock:
            self._knocked_at = self._clock.monotonic()
            if self._asked_at is None:
                self._asked_at = self._knocked_at
        self._wake.set()

    def begin(self) -> None:
        """The work begins. What is knocked from now on asks for it once more."""
        with self._lock:
            self._began_at = self._clock.monotonic()
            self._due_since = self._began_at if self._asked_at is None else self._asked_at
            self._asked_at = None

    @property
    def under_way(self) -> bool:
        """Has the work begun, and not ended?"""
        return self._began_at is not None

    def end(self, error: str = "") -> None:
        """The work has ended, well or with a kind of error."""
        with self._lock:
            began = self._clock.monotonic() if self._began_at is None else self._began_at
            self._last = last = _Run(self._clock.now(), self._clock.monotonic() - began, error)
            self._began_at = self._due_since = None
        meter.job_last_run.labels(self.name).set(last.ended_at.timestamp())
        meter.job_duration.labels(self.name).set(last.seconds)
        if error:
            meter.job_errors.labels(self.name).inc()

    @contextmanager
    def work(self) -> Iterator[None]:
        """The work, from its beginning to its end."""
        self.begin()
        try:
            yield
        except BaseException as error:
            self.end(type(error).__name__)
            raise
        self.end()

    def health(self) -> JobHealth:
        """How it goes. It is late when its work does not begin or does not end, and when nobody knocks for it."""
        with self._lock:
            due = self._knocked_at + self.interval.total_seconds()
            due = min(moment for moment in (due, self._asked_at, self._due_since) if moment is not None)
            patience = max(self.interval, LATE_AFTER).total_seconds()
            overdue = max(self._clock.monotonic() - due - patience, 0.0)
            last = self._last
        if last is None:
            return JobHealth(self.name, overdue=overdue)
        return JobHealth(self.name, last.ended_at, last.seconds, last.error, overdue)


class Schedule:
    """Knocks for jobs, in a thread of its own, until `close`."""

    def __init__(self, jobs: Sequence[Job], *, zone: str, clock: Clock) -> None:
        self._jobs, self._clock = {job.name: job for job in jobs}, clock
        self._scheduler = BackgroundScheduler(
            timezone=ZoneInfo(zone),
            # It runs a job in the scheduler's own thread: a knock takes no time, and none can overtake another.
            executors={"default": DebugExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(
            self._knock_failed,
            events.EVENT_JOB_ERROR | events.EVENT_JOB_MISSED | events.EVENT_JOB_MAX_INSTANCES,
        )
        self._planned: dict[str, Every | Daily] = {}
        self._apart = self._clocks_apart()

    def start(self, settings: Settings) -> None:
        """Begin to knock: at once for each job, then when it is due."""
        self._scheduler.start()
        self.plan(settings)

    def plan(self, settings: Settings) -> None:
        """Plan the jobs that are due at other times than before. Each of them knocks at once."""
        for name, job in self._jobs.items():
            trigger = PLAN[name](settings)
            if trigger is None:
                if self._planned.pop(name, None) is not None:
                    self._scheduler.remove_job(name)
            elif self._planned.get(name) != trigger:
                self._planned[name] = trigger
                job.interval = _longest(trigger, self._clock.now())
                self._scheduler.add_job(job.knock, trigger, id=name, name=name, replace_existing=True)
                if isinstance(trigger, Every) and trigger.between:
                    job.knock()

    def keep_time(self, settings: Settings) -> None:
        """Plan again when the clock was set: APScheduler waits for an hour of the wall clock, perhaps for days.

        To be called every few seconds: APScheduler may have looked how long to wait while the clock was set back.
        """
        planned = self._next_knocks()
        if any(moment <= self._clock.now() for moment in planned.values()):
            self._scheduler.wakeup()
        moved = self._clocks_apart() - self._apart
        if abs(moved) >= _A_STEP or self._is_too_far(planned):
            _log.warning("The clock was set, or the machine slept. All jobs are planned again", by=round(moved))
            self._apart += moved
            self._planned.clear()
            self.plan(settings)

    def _next_knocks(self) -> dict[str, datetime]:
        """When each job knocks next."""
        return {job.id: job.next_run_time for job in self._scheduler.get_jobs()}

    def _is_too_far(self, planned: Mapping[str, datetime]) -> bool:
        """Does a job wait for an hour that is farther than it ever is? The clock was set there and back meanwhile."""
        now, margin = self._clock.now(), timedelta(seconds=_A_STEP)
        # Twice: between two hours of the day there may be a change to winter time.
        return any(at - now > 2 * self._jobs[name].interval + margin for name, at in planned.items())

    def health(self) -> tuple[JobHealth, ...]:
        """How each job goes that is not switched off."""
        planned = {*self._planned}
        return tuple(job.health() for name, job in self._jobs.items() if name in planned)

    def close(self) -> None:
        """Knock no more."""
        self._scheduler.shutdown()

    def _clocks_apart(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _knock_failed(self, event: Any) -> None:
        meter.job_errors.labels(event.job_id).inc()


def _longest(trigger: Every | Daily, now: datetime) -> timedelta:
    """The longest time between two knocks."""
    if isinstance(trigger, Every):
        return trigger.interval
    known = moments(trigger.hours, trigger.zone, now)
    return max((after - before for before, after in pairwise(known)), default=timedelta(days=1))
