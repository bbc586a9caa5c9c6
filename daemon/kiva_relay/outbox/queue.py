"""The threads that want to write into one file, in the order in which they asked.

SQLite lets whoever happens to ask just then have the lock: while the MIS is read page after page, an administrator's
reload and the heartbeat came too late for half a minute, again and again.
"""

from __future__ import annotations

import threading
from collections import deque


class WritersQueue:
    """One of the threads writes; the others wait, and the first to ask is the next."""

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    def enter(self, *, within: float) -> bool:
        """Wait for one's turn; false when it did not come within so many seconds."""
        called = threading.Event()
        with self._door:
            if not self._is_taken:
                self._is_taken = True
                return True
            self._waiting.append(called)
        if called.wait(within):
            return True
        with self._door:
            if called.is_set():  # just now
                return True
            self._waiting.remove(called)
        return False

    def leave(self) -> None:
        """Let the next one in. Only who was let in may leave."""
        with self._door:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False
