"""How the daemon keeps its memory: a process of a dozen threads of which seldom two are at work."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""


def share() -> None:
    """Let all threads take memory from one place: glibc gives each its own, and what one gave back serves no other.

    Before the first thread starts. Where the library of C is another one, it stays as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the system that lies between what is in use; glibc returns only what lies at its end.

    After work that goes through all there is: what it needed serves nobody until the next night.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
