"""The relay as a daemon, in threads of this process, through the ends of months: the hour is put ahead under its hands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from kiva_relay.config import loader
from kiva_relay.outbox import table
from kiva_relay.service.relay import Relay
from testbed.rig import patience, running, site
from testbed.year.clock import HurriedClock
from testbed.year.stage import Stage

_UNSETTLED = ("ready", "sending")
_LISTS_EVERY = timedelta(hours=1)
_LONG = 120.0


class Daemon:
    """It runs while the block does. `until` puts the hour ahead, and waits until the relay has done what was due."""

    def __init__(self, stage: Stage, relay: Relay, clock: HurriedClock) -> None:
        self._stage, self._relay, self._clock = stage, relay, clock

    def until(self, moment: datetime) -> None:
        """The hour is this one; the days between are played, and the relay has come to rest."""
        reads_lists = moment - self._clock.now() > _LISTS_EVERY
        # Between two looks: in the middle of one, hours would pass that it seems to have taken of the database.
        patience.eventually(self._is_between_looks, within=_LONG, every=0.005)
        self._stage.play(moment)
        patience.eventually(lambda: self._has_looked(since=moment, reads_lists=reads_lists), within=_LONG)
        seen = self._clock.now()
        patience.eventually(lambda: self._has_looked(since=seen, reads_lists=False) and self._rests(), within=_LONG)

    def _is_between_looks(self) -> bool:
        return not self._relay.capture_loop.poll.under_way

    def _has_looked(self, *, since: datetime, reads_lists: bool) -> bool:
        looked = self._relay.capture_loop.health.mis.last_good
        asked = self._relay.context.destination.last_harmless_success
        return (looked is not None and looked > since) and (not reads_lists or (asked is not None and asked > since))

    def _rests(self) -> bool:
        """Nothing is to be sent, and nothing to be read again."""
        entry, captured = table.entry.c, table.captured.c
        with self._relay.outbox.read() as tx:
            due = (entry.state.in_(_UNSETTLED), entry.due_at <= self._clock.now())  # what changed waits for the night
            left = tx.execute(sa.select(sa.func.count()).where(*due)).scalar_one()
            again = tx.execute(sa.select(sa.func.count()).where(captured.again)).scalar_one()
        report = self._relay.context.report()
        return not again and (not left or not report.is_open)


@contextlib.contextmanager
def daemon(stage: Stage) -> Iterator[Daemon]:
    """Start it at the hour of the stage. Kiva has the same clock, so that both see each jump at once."""
    stage.end_relay()
    settings = loader.load(stage.config, environ={})
    clock = stage.clock
    assert isinstance(clock, HurriedClock), "a daemon needs a clock that goes on"
    relay = Relay(settings, site.documents(settings), time=clock)
    with clock.everywhere():
        relay.open()
        try:
            with running.in_threads(relay):
                stage.relay = relay
                yield Daemon(stage, relay, clock)
        finally:
            stage.relay = None
            relay.close()
