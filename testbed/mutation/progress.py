"""How far a run has come, for whoever waits: one line that is written over on a terminal, now and then a line in a file."""

from __future__ import annotations

import sys
import time

# In a file each line stays. The tests of all files take minutes, and who reads the file wants to know that it goes on.
_PAUSE = 15.0


class Progress:
    """Says how far a run is."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = self._began - _PAUSE

    def say(self, text: str, *, last: bool) -> None:
        """How far it is. In a file only the first, the last and what comes long enough after the one before."""
        now = time.monotonic()
        line = f"{text} ({now - self._began:.0f} s)"
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K{line}" + ("\n" if last else ""))
        elif last or now - self._said >= _PAUSE:
            sys.stdout.write(f"{line}\n")
            self._said = now
        sys.stdout.flush()

    @staticmethod
    def note(text: str) -> None:
        """What is found on the way, on a line of its own."""
        sys.stdout.write(f"\r\033[K{text}\n" if sys.stdout.isatty() else f"{text}\n")
        sys.stdout.flush()
