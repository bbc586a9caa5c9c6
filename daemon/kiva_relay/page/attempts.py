"""Attempts to log in: whoever guesses is made to wait, ever longer, by name and by address."""

from __future__ import annotations

import ipaddress
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

    def begun(self, who: Sequence[str]) -> None:
        """A try. It counts as a wrong one until it was right, so that a hundred at once are a hundred.

        Five wrong ones are free, then each doubles the wait, up to a quarter of an hour.
        """
        now = self._clock.monotonic()
        with self._lock:
            for one in who:
                times = self._failed[one].times + 1 if one in self._failed else 1
                pause = 0.0 if times < _FREE else min(2.0 ** min(times - _FREE, 20), _LONGEST)
                self._failed[one] = _Failed(times, now + pause)
                self._failed.move_to_end(one)
            while len(self._failed) > _MOST_REMEMBERED:
                # Not the oldest: whoever guesses at one name could have it forgotten by many tries at others.
                least = min(self._failed, key=lambda one: self._failed[one].times)
                del self._failed[least]

    def succeeded(self, who: Sequence[str]) -> None:
        """The password was right: its name is cleared, and what the address tried is one less."""
        name, *others = who
        with self._lock:
            self._failed.pop(name, None)
            for one in others:
                if (found := self._failed.get(one)) is not None:
                    times = found.times - 1
                    if times:
                        self._failed[one] = _Failed(times, 0.0 if times < _FREE else found.until)
                    else:
                        del self._failed[one]


def network(address: str) -> str:
    """What counts as one address: of IPv6 the half of it that a household or a server has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
