"""A connection that is too slow with its request is closed: a few of them, kept open, would leave nobody a place."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SLOWEST = 20.0
"""Seconds within which a request has come whole, headers and body; a form is a few hundred bytes."""
_LOOKS = 4


class ImpatientProtocol(H11Protocol):
    """uvicorn's own, which waits for ever for the rest of a request that has begun."""

    slowest = SLOWEST
    _timer: asyncio.TimerHandle | None = None
    _waits_since: float | None = None
    _for: object = None

    def connection_made(self, transport: Any) -> None:
        """Somebody is there: the time runs."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        now = self.loop.time()
        if not self._is_waited_for():
            self._waits_since = None
        elif self._waits_since is None or self._for is not self.cycle:
            self._waits_since, self._for = now, self.cycle
        elif now - self._waits_since >= self.slowest:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(self.slowest / _LOOKS, self._look)

    def _is_waited_for(self) -> bool:
        """Is it their turn, to send a request or the rest of one?"""
        cycle: Any = self.cycle  # None before the first request
        answers = cycle is not None and not cycle.response_complete
        return not answers or self.conn.their_state is h11.SEND_BODY
