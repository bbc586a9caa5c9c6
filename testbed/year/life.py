"""One look of the relay in a process of its own, at an hour of the played year, that is killed at a step of its work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from datetime import datetime
from pathlib import Path

from kiva_relay import errors, log
from kiva_relay.config import loader
from kiva_relay.service.relay import Relay
from testbed.rig import configuration, patience
from testbed.rig.killable import Death, _end_at
from testbed.year.clock import StandingClock

KILLED = -9


def lived(config: Path, moment: datetime, death: Death) -> bool:
    """Look once and send what is due, unless SIGKILL comes first; whether it came."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["testbed.year.life"])
    process = context.Process(target=_look, args=(config, moment, death), daemon=True)
    process.start()
    patience.joined(process, within=60)
    assert process.exitcode in {0, KILLED}, f"a relay that was to be killed ended with {process.exitcode}"
    return process.exitcode == KILLED


def _look(config: Path, moment: datetime, death: Death) -> None:
    log.configure(stream=config.with_name("relay.log").open("a", encoding="utf-8"))
    settings = loader.load(config, environ={})
    relay = Relay(settings, configuration.documents(settings), time=StandingClock(moment), at=_end_at(death))
    relay.open()
    try:
        # Where calls are lost, one may be lost before its step: then it was not killed, as at each look of the year.
        with contextlib.suppress(errors.Unreachable):
            relay.once()
    finally:
        relay.close()
    os._exit(0)
