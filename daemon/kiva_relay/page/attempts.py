"""Attempts to log in: whoever guesses is made to wait, ever longer, by name and by address."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from kiva_relay.clock import Clock
from kiva_relay.frozen import dataclass

_FREE = 5
_LONGEST = 900.0
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class _Failed:
    times: int
    until: float


class Attempts:
    """What went wrong lately. A good password clears its name; names and addresses that nobody tries are forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, _Failed] = OrderedDict()

    def wait(self, who: Sequence[str]) -> float:
        """Seconds until the next try counts; 0: now."""
        now = self._clock.monotonic()
        with self._lock:
            return max((self._failed[one].until - now for one in who if one in self._failed), default=0.0)

    def failed(self, who: Sequence[str]) -> None:
        """A wrong password: five are free, then each doubles the wait, up to a quarter of an hour."""
        now = self._clock.monotonic()
        with self._lock:
            for one in who:
                times = self._failed[one].times + 1 if one in self._failed else 1
                pause = 0.0 if times < _FREE else min(2.0 ** min(times - _FREE, 20), _LONGEST)
                self._failed[one] = _Failed(times, now + pause)
                self._failed.move_to_end(one)
            while len(self._failed) > _MOST_REMEMBERED:
                self._failed.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """The password was right."""
        with self._lock:
            self._failed.pop(name, None)
