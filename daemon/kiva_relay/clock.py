"""Time, passed in: nothing in the relay asks the machine for the hour behind its caller's back."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """The hour, and a way to wait that a test can shorten."""

    def now(self) -> datetime:
        """The moment, in UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, also when somebody sets the machine's clock."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set or `seconds` have passed; true when it was set."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment, never going back."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for `event`, at most `seconds`."""
        return event.wait(seconds)


class SteadyClock:
    """An hour that goes on by the monotonic clock, and that nobody sets: how long something waits is measured by it.

    `machine` is the clock that may be set. This one follows it only when it is told to, after what was planned by the
    old hour has been moved along (`outbox/clock_step.py`). Threads share it.
    """

    def __init__(self, machine: Clock) -> None:
        self.machine = machine
        self.offset = self._by_machine()
        """The hour less the monotonic clock, in seconds."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        return self.at(self.machine.monotonic())

    def at(self, monotonic: float) -> datetime:
        """The moment at which the monotonic clock shows that."""
        return datetime.fromtimestamp(self.offset + monotonic, UTC)

    def monotonic(self) -> float:
        """Seconds since some moment, never going back."""
        return self.machine.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for `event`, at most `seconds`."""
        return self.machine.wait(event, seconds)

    def apart(self) -> float:
        """Seconds by which the machine's clock was set since this one followed it last; below 0: back."""
        return self._by_machine() - self.offset

    def follow(self, by: float) -> None:
        """Take the hour of the machine, which is so many seconds away."""
        self.offset += by

    def _by_machine(self) -> float:
        return self.machine.now().timestamp() - self.machine.monotonic()


def this_boot() -> str:
    """Which start of the machine this is: as long as it is the same, the monotonic clock goes on. Empty: unknown."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
