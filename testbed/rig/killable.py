"""The daemon as `kiva-relay run` starts it, in a process that can be made to end itself at a step of its work.

The end is SIGKILL, from inside, exactly between two steps: nothing is flushed, closed or said. Processes are forked
from a server that has everything imported, so that a life costs a tenth of a second to begin, not two.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import util
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from kiva_relay import errors, log
from kiva_relay.config import loader
from kiva_relay.delivery import context
from kiva_relay.outbox import database, lease, preference
from kiva_relay.service import relay
from testbed.rig import configuration

_LONGEST = 107 - len("/pymp-01234567/listener-01234567")

STEPS = {
    "leased": "the lease is ours, and the last process's attempts are still open",
    "read": "a page of the MIS was read, nothing of it is in the outbox",
    "captured": "its entries and W are committed",
    "listed": "Kiva's list was read, nothing of it is in the outbox",
    "claimed": "the attempt is committed, the witness knows nothing",
    "testified": "the witness is synced, no byte has left",
    "answered": "Kiva has answered, nothing of it is recorded",
    "settled": "what the answer means is committed",
}
"""Where a process can be ended from inside. Between `testified` and `answered` it is ended from outside."""


@dataclass(frozen=True)
class Death:
    """SIGKILL at the nth passage of a step."""

    step: str
    nth: int = 1


@dataclass(frozen=True)
class Life:
    """One process. `lease` shortens the lease of a PostgreSQL outbox, in seconds, and `stay` how long it is kept from a
    preferred machine; `free_bytes` and `busy_seconds` what is kept free on the disk, and how long a locked file is
    waited for. `machine`: what it is called.
    """

    config: Path
    log: Path
    death: Death | None = None
    lease: float | None = None
    stay: float | None = None
    free_bytes: int | None = None
    busy_seconds: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""


def start(life: Life) -> ForkServerProcess:
    """Begin a life. Its `exitcode` is -9 after SIGKILL, -14 when its lease had ended, 0 when it was stopped."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    _shorten_the_path_of_sockets()
    process = context.Process(target=run, args=(life,), daemon=True)
    process.start()
    return process


def _shorten_the_path_of_sockets() -> None:
    """The server is reached by a socket in the temporary folder, and the path of a socket is 107 bytes at most."""
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        before, tempfile.tempdir = tempfile.tempdir, "/tmp"
        try:
            util.get_temp_dir()  # it is made once
        finally:
            tempfile.tempdir = before


def run(life: Life) -> None:
    """The daemon, in the process that was begun for it."""
    with life.log.open("ab") as log_file:
        os.dup2(log_file.fileno(), 1)
        os.dup2(log_file.fileno(), 2)
    faulthandler.register(signal.SIGUSR1)
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    os.environ.update(life.environ)
    if life.machine:
        socket.gethostname = lambda: life.machine
    settings = loader.load(life.config, environ={})
    log.configure(settings.log.format, stream=sys.stdout)
    if life.lease is not None:
        lease.DURATION, lease.MARGIN = timedelta(seconds=life.lease), timedelta(seconds=life.lease / 5)
    if life.stay is not None:
        preference.STAY = timedelta(seconds=life.stay)
    if life.free_bytes is not None:
        context.FREE_BYTES = life.free_bytes  # type: ignore[attr-defined]  # the name that has_room looks at
    if life.busy_seconds is not None:
        database.BUSY_TIMEOUT_SECONDS = life.busy_seconds  # type: ignore[assignment]  # a whole number of them in earnest
    daemon = relay.Relay(settings, configuration.documents(settings), at=_end_at(life.death))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop.set())
    try:
        if daemon.open(stand_by=True):
            try:
                daemon.run()
            finally:
                daemon.close()
    except errors.RelayError as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        sys.stdout.flush()
        os._exit(error.exit_code)
    sys.stdout.flush()
    os._exit(0)  # the process belongs to the server that forked it: its own endings are not ours to run


def _end_with_the_test() -> None:
    """The server that forks us outlives the test that asked for us, when that is killed; we would, too."""
    if test := multiprocessing.parent_process():
        test.join()
        os._exit(1)


def _end_at(death: Death | None) -> Callable[[str], None]:
    passed = 0
    one_at_a_time = threading.Lock()

    def at(step: str) -> None:
        nonlocal passed
        if death is None or step != death.step:
            return
        with one_at_a_time:
            passed += 1
            if passed == death.nth:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    return at
