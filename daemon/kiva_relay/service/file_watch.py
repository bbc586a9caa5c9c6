"""Told by the kernel that a file was written (inotify(7)), so that nobody wakes up to look.

Python has no module for it; three functions of the C library are enough.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

_CHANGED = 0x2 | 0x80 | 0x100  # IN_MODIFY, IN_MOVED_TO, IN_CREATE
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # IN_NONBLOCK, IN_CLOEXEC
_EVENTS = 64 * 1024
_AT_MOST_EVERY = 0.25
"""Seconds. A folder in which something is written a thousand times a second is looked at four times."""


class FileWatch:
    """A thread that calls `changed` after files of a folder whose names begin alike were written, until `close`.

    Raises:
        OSError: the kernel gives no more watches to this user, or the folder cannot be read.
    """

    def __init__(self, file: Path, changed: Callable[[], None]) -> None:
        self._prefix, self._changed = os.fsencode(file.name), changed
        self._events = _watching(file.parent)
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="file watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Call no more."""
        self._end.close()
        self._thread.join()

    def _run(self) -> None:
        with self._ended, selectors.DefaultSelector() as selector:
            selector.register(self._events, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while all(key.fileobj is not self._ended for key, _ in selector.select()):
                if self._prefix in os.read(self._events, _EVENTS):
                    self._changed()
                if self._is_over():
                    break
        os.close(self._events)

    def _is_over(self) -> bool:
        """Wait a little; true when it is to end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            return bool(selector.select(_AT_MOST_EVERY))


def _watching(folder: Path) -> int:
    """A descriptor from which the names of the folder's changed files can be read."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = int(library.inotify_init1(_FLAGS))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if library.inotify_add_watch(descriptor, os.fsencode(folder), _CHANGED) < 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return descriptor
