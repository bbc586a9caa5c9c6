"""Two clocks of the played year: one that stands until it is moved, and one that goes on and is put ahead.

Time that passes is no clock that somebody sets: the monotonic time moves with the hour, in each process alike.
"""

from __future__ import annotations

import threading
import unittest.mock
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

from kiva_relay.clock import SystemClock

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class StandingClock:
    """It stands until it is moved; a wait passes at once, and moves it."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - _BEGAN).total_seconds()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.moment += timedelta(seconds=seconds)
        return event.is_set()

    def until(self, moment: datetime) -> None:
        """Let the time pass; it never goes back."""
        self.moment = max(self.moment, moment)


class HurriedClock(SystemClock):
    """The machine's clock, some days ahead. While `everywhere` holds, APScheduler has this hour too."""

    def __init__(self, moment: datetime) -> None:
        self._ahead = moment - super().now()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def monotonic(self) -> float:
        return (self.now() - _BEGAN).total_seconds()

    def until(self, moment: datetime) -> None:
        """Let the time pass; it never goes back."""
        self._ahead += max(moment - self.now(), timedelta(0))

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """What APScheduler takes for the hour is this clock's."""
        clock = self

        class Hurried(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # APScheduler takes any
                return clock.now().astimezone(tz)

        with unittest.mock.patch("apscheduler.schedulers.base.datetime", Hurried):
            yield
