"""What the MIS did for us, by how long its answers took beyond the way there and back."""

from __future__ import annotations

import math

from kiva_relay.clock import Clock


class ServerTime:
    """Seconds that the server worked. Our own work between two statements is none of it, and the network's is not.

    The way there and back is the shortest answer so far: that of a statement which gave the server nothing to do.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trip = math.inf
        self.seconds = 0.0

    def now(self) -> float:
        """A moment to measure from."""
        return self._clock.monotonic()

    def answered(self, waited: float) -> None:
        """An answer came after this many seconds."""
        self._trip = min(self._trip, waited)
        self.seconds += waited - self._trip
