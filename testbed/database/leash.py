"""A server on a leash: it ends when we end, also by kill -9, which runs no `finally`.

This file is run as a script, too. The script leaves a watcher behind and becomes the server, so that the server has
the number of the process that was started. The watcher listens to us: a word of farewell, and it goes; silence, which
is what the kernel makes of our end, and it ends the server. It is the server's child, and therefore knows for certain
whether the process of this number is still the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

_FAREWELL = b"."
_ENDS_WITHIN = 10.0
"""Seconds, in order; after that by force."""


class Leash:
    """A process of ours in a session of its own: Ctrl-C in the terminal is for us, who stop it in order.

    Args:
        command: a full path, and arguments.
        log: takes what it says.
        how: what ends it in order.
        user: its uid and gid, where they are not ours.
        environment: ours when missing.
        where: the folder that it starts in; ours when missing.
        remove: folders that nobody needs when we have ended without a farewell.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: IO[bytes],
        how: signal.Signals,
        user: tuple[int, int] | None = None,
        environment: dict[str, str] | None = None,
        where: str | None = None,
        remove: Sequence[Path] = (),
    ) -> None:
        order = {"how": int(how), "user": user, "remove": [str(folder) for folder in remove]}
        script = [sys.executable, "-I", "-S", __file__, json.dumps(order)]
        self._ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*script, *command],
                cwd=where,
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )

    def let_go(self) -> None:
        """Send the watcher away, and wait until it has gone. For when the process has ended."""
        with self._ours, contextlib.suppress(OSError):
            self._ours.settimeout(_ENDS_WITHIN)
            self._ours.sendall(_FAREWELL)
            self._ours.recv(1)


def _main() -> None:
    order, command = json.loads(sys.argv[1]), sys.argv[2:]
    server = os.getpid()
    if os.fork() == 0:
        os.setsid()
        _watch(server, order["how"], order["remove"])
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; the server would inherit that
        signal.signal(ignored, signal.SIG_DFL)
    if order["user"]:
        uid, gid = order["user"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.execv(command[0], command)


def _watch(server: int, how: int, remove: list[str]) -> None:
    with contextlib.suppress(ConnectionError):
        if os.read(0, 1):
            return
    patience = time.monotonic() + _ENDS_WITHIN
    if os.getppid() == server:
        os.kill(server, how)
    while os.getppid() == server:
        if time.monotonic() > patience:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.02)
    for folder in remove:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
