"""Where the year is played: a database, Kiva's stand-in, a relay, and one clock for all but the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.config import loader
from kiva_relay.outbox import mirror, table
from kiva_relay.report import current
from kiva_relay.service.relay import Relay
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.rig import site
from testbed.rig.killable import Death
from testbed.year import configured, judge, life, months
from testbed.year.clock import HurriedClock, StandingClock
from testbed.year.financed import Financed
from testbed.year.mis import Mis, mis
from testbed.year.verdict import Shown
from testbed.year.village import Village

_UNSETTLED = ("ready", "sending", "in_doubt")
_RUNS_IN = timedelta(days=300)
"""So long before the first report the first loans were made."""


@dataclass
class Stage:
    """Everything that is open. The relay is opened when it is needed."""

    folder: Path
    mis: Mis
    kiva: Sandbox
    clock: StandingClock | HurriedClock
    village: Village
    financed: Financed
    config: Path
    outstanding: bool = False
    """Is it reported what is still owed?"""
    relay: Relay | None = None
    ticks: int = 0
    _played: date = date.min

    def play(self, until: datetime) -> None:
        """Let the time pass, and the days with it."""
        self.clock.until(until)
        last = months.day_there(until)
        while self._played < last:
            self._played += timedelta(days=1)
            self.village.day(self._played)
            self.financed.day(self._played)
        self.mis.commit()

    def tick(self, *, sweep: bool = False) -> None:
        """The relay looks at both sides, and sends what may go."""
        relay = self.open_relay()
        if sweep:
            relay.capture_loop.capture().sweep()
        with contextlib.suppress(errors.Unreachable):
            relay.once()
        self.ticks += 1

    def is_settled(self, *, since: datetime) -> bool:
        """Is nothing to be sent, nothing in doubt and nothing to be read again; was Kiva's list read whole since then?"""
        entry, captured = table.entry.c, table.captured.c
        with self.open_relay().outbox.read() as tx:
            due = (entry.state.in_(_UNSETTLED), entry.due_at <= self.clock.now())  # what changed waits for the night
            left = tx.execute(sa.select(entry.id).where(*due).limit(1)).first()
            again = tx.execute(sa.select(captured.key).where(table.AGAIN).limit(1)).first()
            reading = mirror.last_complete(tx)
        return left is None and again is None and reading is not None and reading.started_at >= since

    def killed(self, death: Death) -> bool:
        """The same by a process that is killed at a step of its work; whether it came to that."""
        self.end_relay()
        return life.lived(self.config, self.clock.now(), death)

    def open_relay(self) -> Relay:
        """The relay, opened if it is not."""
        if self.relay is None:
            settings = loader.load(self.config, environ={})
            self.relay = Relay(settings, site.documents(settings), time=self.clock)
            self.relay.open()
        return self.relay

    def lines(self, period: str) -> list[Shown]:
        """The lines of a report, as the product shows them."""
        relay = self.open_relay()
        with relay.outbox.read() as tx:
            return [
                Shown(one.kiva_id, one.kind.value, one.cause, one.position, one.at_kiva)
                for one in current.lines_of(tx, relay.settings, period, self.clock.now())
            ]

    def scene(self, month: months.Month) -> judge.Scene:
        """What a judge sees now."""
        return judge.scene(self.mis, self.kiva, month, tells_what_is_owed=self.outstanding)

    def end_relay(self) -> None:
        """Stop it; the next tick starts another one on the same outbox."""
        if self.relay is not None:
            self.relay.close()
            self.relay = None


@contextlib.contextmanager
def stage(
    engine: str,
    folder: Path,
    *,
    loans: int,
    first: date,
    reports: int,
    seed: int,
    outstanding: bool = False,
    goes_on: bool = False,
) -> Iterator[Stage]:
    """An institution in its last month before the first report, with a past; and a Kiva that lists its loans.

    `outstanding`: it is reported what is still owed, not what was repaid. `goes_on`: the clock does not stand between
    the moments.
    """
    begins = first.replace(day=1) - _RUNS_IN
    kind = HurriedClock if goes_on else StandingClock
    clock = kind(datetime.combine(first.replace(day=20), datetime.min.time(), UTC))
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(mis(engine, folder, clients=max(300, loans // 2), today=first, seed=seed))
        sandbox = stack.enter_context(server.start(config=KivaConfig(dates="clock"), clock=clock))
        kiva = stack.enter_context(Sandbox(sandbox.url))
        village = Village(database, Random(seed), loans, begins, first + timedelta(days=31 * reports))
        made = Stage(
            folder=folder,
            mis=database,
            kiva=kiva,
            clock=clock,
            village=village,
            financed=Financed(village, kiva),
            config=_config(folder, database, sandbox.url, outstanding=outstanding),
            outstanding=outstanding,
            _played=begins - timedelta(days=10),
        )
        stack.callback(made.end_relay)
        made.play(clock.now())
        yield made


def _config(folder: Path, database: Mis, url: str, *, outstanding: bool) -> Path:
    opens, closes = months.OPENS, months.CLOSES
    repayments: dict[str, Any] = {
        "timezone": months.KIVA_ZONE,
        "opens_on": {"day": opens[0], "at": f"{opens[1]:%H:%M}"},
        "closes_on": {"day": closes[0], "at": f"{closes[1]:%H:%M}"},
        "batch": 60,  # small calls, so that a report takes several
        "basis": "principal_outstanding" if outstanding else "cumulative_principal",
    }
    return configured.write(
        folder,
        mis_url=database.url,
        mis_zone=months.MIS_ZONE,
        kiva_url=url,
        repayments=repayments,
        columns=3 if database.name == "mariadb" else 2,
    )
