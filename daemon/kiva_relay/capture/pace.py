"""How much of the MIS's time we may take: a share of it, which can be saved up for a while and then taken at once."""

from __future__ import annotations

from kiva_relay.clock import Clock


class Pace:
    """We may take `share`, a part of 1, of the time that passes. What is not taken is saved for `saved_for` seconds."""

    def __init__(self, share: float, *, saved_for: float, clock: Clock) -> None:
        self._share, self._most, self._clock = share, share * saved_for, clock
        self._saved, self._counted_at = self._most, clock.monotonic()

    def spent(self, seconds: float) -> None:
        """The MIS was kept busy for this long."""
        now = self._clock.monotonic()
        self._saved = min(self._saved + (now - self._counted_at) * self._share, self._most) - seconds
        self._counted_at = now

    def wait(self) -> float:
        """Seconds to leave the MIS alone until what we took is no more than our share."""
        self.spent(0.0)
        return max(-self._saved / self._share, 0.0)
