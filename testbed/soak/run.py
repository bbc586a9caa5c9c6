"""Soak a relay: a day of changes in a few minutes, then some hours without any; what it holds must not grow.

`make soak` runs it as a script. The relay is `kiva-relay run` as a process, before a MIS on PostgreSQL and a stand-in
for Kiva, its outbox in a file or on a server, the MIS watched by polls or by its stream, with mail to a server on this
machine. All that comes by the clock comes about as often as in a day (testbed/soak/day.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psycopg
import sqlalchemy as sa

from kiva_relay.config import duration, loader
from kiva_relay.outbox import hold, table
from kiva_relay.outbox.database import Outbox
from testbed.database import postgres
from testbed.rig import mail_server, patience
from testbed.rig.mail_server import Mailbox
from testbed.soak import day, sample, verdict
from testbed.soak.sample import Sample, Sampler
from testbed.torture import mishap
from testbed.torture import run as torture
from testbed.torture.branch import Branch

DAY = timedelta(days=1)
_IN_MEMORY = Path("/dev/shm")
_CLIENTS, _LOANS = 400, 80
_SAMPLES = 200
_AT_REST = 3
"""Looks in a row that find nothing under way."""
_UNDER_WAY = sa.select(sa.func.count()).where(table.entry.c.state.in_(["ready", "sending"]))


@dataclass(frozen=True)
class Way:
    """How a relay is set up: where its outbox is, how the MIS is watched."""

    outbox: Literal["sqlite", "postgresql"] = "sqlite"
    watch: Literal["poll", "replication"] = "poll"

    @property
    def server(self) -> Mapping[str, str]:
        """What the MIS's server needs for it."""
        return {"wal_level": "logical"} if self.watch == "replication" else {}


@dataclass(frozen=True)
class Soaked:
    """What was seen: samples under load, and for how many hours of the played day it said how many lines at rest.

    `turns` are those of its loops under load, by name and how they ended; `mails` those that arrived.
    """

    samples: list[Sample]
    turns: Mapping[tuple[str, str], int]
    idle_lines: int
    idle_hours: float
    mails: int

    def lines(self) -> list[verdict.Line]:
        """Every figure, with what it may be."""
        return [*verdict.compared(self.samples), verdict.idle(self.idle_lines, self.idle_hours)]


_USUAL = Way()


@contextlib.contextmanager
def stage(
    folder: Path,
    server: postgres.PostgresServer,
    *,
    speed: float,
    name: str,
    way: Way = _USUAL,
    clients: int = _CLIENTS,
    loans: int = _LOANS,
) -> Iterator[tuple[torture.Stage, Mailbox]]:
    """The stage of the torture, for a day that goes `speed` times as fast; nothing fails on it."""
    folder.mkdir()
    photos = folder / "photos"
    with (
        mail_server.serving() as mailbox,
        torture.book_of(server, photos, clients=clients) as template,
        torture.set_up(
            folder / "stage",
            server,
            on=way.outbox,
            name=name,
            template=template,
            photos=photos,
            loans=loans,
            reads=lambda _: {"watch": way.watch},
            changes={
                **day.settings(speed),
                "metrics": {"listen": f"127.0.0.1:{_free_port()}"},
                "mail": _mail(mailbox.port),
            },
        ) as made,
    ):
        if way.watch == "replication":
            mishap.Broken(made, server).set_up()
        yield made, mailbox


def _mail(port: int) -> Mapping[str, Any]:
    recipients = [
        {"address": "awa@example.org", "role": "coordinator", "language": "fr"},
        {"address": "it@example.org", "role": "administrator"},
    ]
    server = {"host": "127.0.0.1", "port": port, "security": "none", "from": "kiva-relay@example.org", "at": "00:00"}
    return {**server, "recipients": recipients}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def soak(on: torture.Stage, mailbox: Mailbox, *, speed: float, seconds: float, rate: float, idle: float) -> Soaked:
    """So many seconds of work at `rate` changes a second, then `idle` seconds in which nothing changes."""
    with _relay(on, speed) as process, psycopg.connect(on.mis, autocommit=True) as mis:
        metrics = f"http://{loader.load(on.config, environ={}).metrics.listen}/metrics"
        look = Sampler(process.pid, outbox=on.outbox, log=on.folder / "relay.log", mis=mis, metrics=metrics)

        def sampled(for_seconds: float) -> list[Sample]:
            samples, until = [], time.monotonic() + for_seconds
            while time.monotonic() < until:
                _runs(process, on)
                samples.append(look.take(on.branch.changes.total()))
                time.sleep(max(seconds / _SAMPLES, 0.25))
            return samples

        with _at_work(on.branch, rate), _looked_after(on.outbox, every=timedelta(hours=4) / speed):
            busy = sampled(seconds)
        turns = look.turns
        _comes_to_rest(lambda: _runs(process, on), on)
        began, before = time.monotonic(), look.take(0).lines
        sampled(idle)
        hours = timedelta(seconds=time.monotonic() - began) * speed / timedelta(hours=1)
        return Soaked(busy, turns, look.take(0).lines - before, hours, len(mailbox.taken))


@contextlib.contextmanager
def _relay(on: torture.Stage, speed: float) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it is ready."""
    log = on.folder / "relay.log"
    environ = {**os.environ, "KIVA_SECRET": "s3cr3t", day.SPEED: str(speed)}
    command = [sys.executable, "-m", "testbed.soak.day", "run", "--config", str(on.config)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environ)
    try:
        patience.eventually(lambda: process.poll() is not None or b" ready " in log.read_bytes())
        _runs(process, on)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        patience.ended(process)


def _runs(process: subprocess.Popen[bytes], on: torture.Stage) -> None:
    if process.poll() is not None:
        raise AssertionError(f"the relay ended with exit code {process.returncode}; see {on.folder}/relay.log")


def _at_work(branch: Branch, rate: float) -> AbstractContextManager[None]:
    """Meanwhile the branch changes so many rows a second."""

    def work(over: threading.Event) -> None:
        began, before = time.monotonic(), branch.changes.total()
        while not over.wait(1 / rate):
            while branch.changes.total() - before < (time.monotonic() - began) * rate and not over.is_set():
                branch.work()

    return _meanwhile(work)


def _looked_after(outbox: Outbox, *, every: timedelta) -> AbstractContextManager[None]:
    """Meanwhile a person holds the journals now and then, and releases them: each is told by mail."""
    third = every.total_seconds() / 3

    def hold_and_release(over: threading.Event) -> None:
        while not over.wait(2 * third):
            with outbox.begin() as tx:
                hold.put(tx, "journal", "asked", now=datetime.now(UTC))
            over.wait(third)
            with outbox.begin() as tx:
                hold.release(tx, "journal", by="awa", note="looked", now=datetime.now(UTC), reason="asked")

    return _meanwhile(hold_and_release)


@contextlib.contextmanager
def _meanwhile(do: Callable[[threading.Event], None]) -> Iterator[None]:
    """Somebody works in a thread until its event is set; what ended her work before is raised here."""
    over, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            do(over)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def _comes_to_rest(runs: Callable[[], None], on: torture.Stage) -> None:
    """Wait until nothing is under way, for some looks in a row."""
    quiet = 0

    def rests() -> bool:
        nonlocal quiet
        runs()
        with on.outbox.read() as tx:
            quiet = 0 if tx.execute(_UNDER_WAY).scalar_one() else quiet + 1
        return quiet >= _AT_REST

    patience.eventually(rests, within=60, every=1.0)


def main() -> int:
    """Soak it, and print the table; 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="length", default="10m", help="how long a day is (default %(default)s)")
    parser.add_argument("--rate", type=float, default=5.0, help="changes a second (default %(default)s)")
    parser.add_argument("--idle", default="3m", help="how long nothing changes after it (default %(default)s)")
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite", help="default %(default)s")
    parser.add_argument("--watch", choices=["poll", "replication"], default="poll", help="default %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    given = parser.parse_args()
    length, idle = duration.parse(given.length), duration.parse(given.idle)
    speed, way = DAY / length, Way(given.outbox, given.watch)
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-soak-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    _say(f"== a day in {given.length}, {speed:,.0f} times as fast, {given.rate:g} changes a second; {folder}")
    _say(f"   outbox: {way.outbox}, MIS by {way.watch}, mail to a server on this machine")
    with (
        postgres.start(folder / "postgres", settings=way.server) as server,
        stage(folder / "soak", server, speed=speed, name="soak", way=way) as (on, mailbox),
    ):
        seconds = {"seconds": length.total_seconds(), "idle": idle.total_seconds()}
        found = soak(on, mailbox, speed=speed, rate=given.rate, **seconds)
    sample.write(found.samples, folder / "samples.csv")
    lines = found.lines()
    for line in verdict.table(lines):
        _say(line)
    _say("turns: " + ", ".join(f"{loop} {each:,} {ended}" for (loop, ended), each in found.turns.items() if each))
    _say(f"{found.mails:,} mails arrived")
    _say(f"{_about(found.samples)}; then {found.idle_lines} lines in {found.idle_hours:.1f} idle hours")
    grew = [line for line in lines if line.grew]
    if grew or given.keep:
        _say(f"every sample is in {folder}/samples.csv")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if grew else 0


def _about(samples: list[Sample]) -> str:
    last = samples[-1]
    return f"{last.changes:,} changes, {last.entries:,} entries, {last.lines:,} lines of log, {len(samples)} samples"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
