"""A clock that a test sets: the hour and what has passed are two things, as on a machine whose clock is wrong."""

from __future__ import annotations

import threading
import unittest.mock
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

from kiva_relay.clock import SystemClock


class SetClock:
    """Stands still until it is told. `wait` lets the time pass that was to be waited, at once."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        self._passed = 1_000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._passed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.passes(seconds)
        return event.is_set()

    def passes(self, seconds: float) -> None:
        """Time goes by."""
        self._passed += seconds
        self._now += timedelta(seconds=seconds)

    def is_set(self, by: timedelta) -> None:
        """Somebody sets the clock; no time goes by."""
        self._now += by


class SteppedClock(SystemClock):
    """The machine's clock, whose hour somebody sets while time goes on; APScheduler's too, while `everywhere` holds."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """What APScheduler takes for the hour is this clock's."""
        clock = self

        class Stepped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # APScheduler takes any
                return clock.now().astimezone(tz)

        with unittest.mock.patch("apscheduler.schedulers.base.datetime", Stepped):
            yield
