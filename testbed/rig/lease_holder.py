"""A process that does nothing but hold a lease, write, and send: as fast as it can, as long as it may."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from kiva_relay import errors
from kiva_relay.clock import SystemClock
from kiva_relay.outbox import lease, meta
from kiva_relay.outbox.database import Outbox


def start(url: str, sent: Path, *, seconds: float) -> ForkServerProcess:
    """Stand by, then hold. Each send is a line of `sent`: the fencing number; `-` when it begins to stand by."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable", "lease_holder"])
    process = context.Process(target=_hold, args=(url, sent, seconds), daemon=True)
    process.start()
    return process


def _hold(url: str, sent: Path, seconds: float) -> None:
    lease.DURATION, lease.MARGIN = timedelta(seconds=seconds), timedelta(seconds=seconds / 5)
    outbox, stop = Outbox(url), threading.Event()
    mine = lease.Lease(outbox, clock=SystemClock())
    line = os.open(sent, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    said = False

    def told(_why: str) -> None:
        nonlocal said
        if not said:
            os.write(line, b"-\n")
        said = True

    mine.stand_by(stop, waits=told)
    mine.keep(lost=lambda _error: os._exit(errors.Stolen.exit_code))
    text = f"{mine.fence}\n".encode()
    while True:
        with contextlib.suppress(errors.OutboxAway), outbox.begin() as tx:
            meta.text("written by").put(tx, str(mine.fence))
        mine.still_held()
        os.write(line, text)
        stop.wait(0.003)
