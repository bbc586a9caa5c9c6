"""Streams that failed a moment ago, and are not tried again yet."""

from __future__ import annotations

from collections.abc import Iterable

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.source.stream import Stream

REST = 30.0
"""Seconds after which a stream that failed is tried again."""


class Rests:
    """Of one MIS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, Stream, errors.RelayError]] = {}

    def begin(self, streams: Iterable[Stream], error: errors.RelayError) -> None:
        """These streams failed."""
        until = self._clock.monotonic() + REST
        self._until |= {one.name: (until, one, error) for one in streams}

    def of(self, streams: Iterable[Stream]) -> dict[str, errors.RelayError]:
        """Those that rest, with the error. One that reads something else by now does not."""
        now = self._clock.monotonic()
        found = ((one, self._until.get(one.name)) for one in streams)
        return {one.name: rest[2] for one, rest in found if rest and rest[0] > now and rest[1] == one}

    def end(self) -> None:
        """Try all of them again."""
        self._until.clear()
