"""Time, passed in: nothing in the relay asks the machine for the hour behind its caller's back."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


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
