"""How long a test waits: the seconds of a quick, idle machine, and as much longer as this one is slower or busier.

A deadline is there to end a wait for what will never come. It must not fail what only comes later, so it grows with the
machine: with its processor and its disk, measured once, and with how many processes want the processors now.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing.process
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What the two probes take on a machine on which every deadline in the tests was right as it is written.
_QUICK_PROCESSOR = 0.01
_QUICK_DISK = 0.005
_MOST = 60.0
_LOAD = Path("/proc/loadavg")
# What a wait is as long as when nothing else is said.
USUAL = 30.0


def factor() -> float:
    """How many times longer than on a quick, idle machine things take here and now; from 1 to 60."""
    return min(_MOST, slowness() * busyness())


@functools.cache
def slowness() -> float:
    """Of this machine, however busy: its processor's or its disk's, whichever is worse; at least 1."""
    return max(1.0, _processor() / _QUICK_PROCESSOR, _disk() / _QUICK_DISK)


def busyness() -> float:
    """How many processes want each processor now; at least 1. Counts what is just ready and the last minute's mean."""
    minute, ready = os.getloadavg()[0], 0
    if _LOAD.exists():
        # The fourth word is "ready/all"; this process is one of the first.
        ready = int(_LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])
    return max(1.0, max(minute, ready) / (os.cpu_count() or 1))


def seconds(quick: float) -> float:
    """A number of seconds for whoever takes one (a library's timeout), long enough for here and now."""
    return quick * factor()


class Deadline:
    """Counts down only as fast as the machine works: a second in which it was three times busier counts a third."""

    def __init__(self, quick: float = USUAL) -> None:
        self.quick = self._left = quick
        self._seen = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        now = time.monotonic()
        self._left -= (now - self._seen) / factor()
        self._seen = now
        return self._left < 0


def eventually(question: Callable[[], Any], *, within: float = USUAL, every: float = 0.05) -> Any:
    """The first true answer to a question that is asked again and again; fails loudly when none comes in time."""
    deadline, pause = Deadline(within), threading.Event()
    while True:
        answer = question()
        if answer:
            return answer
        if deadline.over:
            raise AssertionError(f"no true answer within {within:g} s of a quick machine; the last one was {answer!r}")
        pause.wait(every)


def ended(process: subprocess.Popen[Any], *, within: float = USUAL) -> int:
    """The exit code of a process that ends by itself. AssertionError: it did not in time, and was killed."""
    try:
        eventually(lambda: process.poll() is not None, within=within, every=0.02)
    except AssertionError:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args!r} did not end within {within:g} s of a quick machine") from None
    return int(process.returncode)


def joined(one: threading.Thread | multiprocessing.process.BaseProcess, *, within: float = USUAL) -> None:
    """Wait for a thread or a process of Python's to end. AssertionError: it did not in time."""
    deadline = Deadline(within)
    while one.is_alive():
        one.join(0.02)
        assert not deadline.over, f"{one.name} did not end within {within:g} s of a quick machine"
    one.join()


def _processor() -> float:
    """Seconds of processor time, whoever else is at work, for a piece of work in Python and in C."""

    def once() -> float:
        began = time.process_time()
        digest = b""
        for number in range(6_000):
            digest = hashlib.sha256(digest + b"%d" % number).digest()
        return time.process_time() - began

    return min(once() for _ in range(3))


def _disk() -> float:
    """Seconds until a few bytes are on the disk of the temporary folder."""

    def once(descriptor: int) -> float:
        began = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        return time.perf_counter() - began

    with tempfile.TemporaryFile() as file:
        return min(once(file.fileno()) for _ in range(5))
