"""What each step of a day costs after a short and after a long history, and what a relay costs that has nothing to do.

    .venv/bin/python benchmarks/growth.py [LOANS] [--seconds 120] [--only steps|processes]

Each loan of the history has eight entries: 125,000 loans, the default, are a million. Costs are seconds of processor
time, of this process and of the database server, so that other work on the machine does not count; the middle of some
steps, side by side in one run. Behind each figure stands what it may be. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.delivery import start
from kiva_relay.delivery.mirror import PAGE
from kiva_relay.outbox import mirror
from kiva_relay.outbox.database import Outbox
from kiva_relay.sandbox import server as stand_in
from kiva_relay.sandbox.config import SandboxConfig
from testbed.database import postgres
from testbed.rig import compiled, long_history, outboxes
from testbed.rig.life import DAY, Life
from testbed.rig.measured import MeasuredRelay, Ready, book, environment

FEW = 125
MANY = 125_000
LISTED = 100_000
TIMES = 9
STARTS = 5
PART = 500
BOOK = 1_000
SECONDS = 120.0
AFTER_THE_START = 30.0
AT_THE_START = ("audit", "reconcile", "purge")
"""Jobs that go through all there is when a relay starts, and then once a day or an hour: that is no idleness."""
ONE_AT_A_TIME = threading.Lock()
MILLISECONDS = 1_000
LIBRARIES = "import sqlalchemy, pydantic, ruamel.yaml"


def _start(life: Life) -> None:
    start.recover(life.machine.context)


STEPS: Mapping[str, Callable[[Life], None]] = {**DAY, "a start": _start}


def cost(do: Callable[[], object], server: int = 0) -> float:
    """Seconds of processor time that it takes of this process, and of the processes of a PostgreSQL."""
    before = _of_server(server)
    began = time.process_time()
    do()
    own = time.process_time() - began
    return own + _of_server(server) - before


def _of_server(number: int) -> float:
    """Seconds of processor time of the processes that a PostgreSQL has now."""
    return sum(map(_of_process, _children(number)))


def _children(parent: int) -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*/stat") if parent else ():
        try:
            words = place.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            yield int(place.parent.name)


def _of_process(number: int) -> float:
    try:
        return int(Path(f"/proc/{number}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except OSError:
        return 0.0


def day(lives: Sequence[Life], server: int = 0) -> dict[str, list[float]]:
    """The middle of each step, by life. They take turns, so that whatever else happens happens to all."""
    found = {}
    for what, step in STEPS.items():
        costs: list[list[float]] = [[] for _ in lives]
        for _ in range(TIMES):
            for life, its in zip(lives, costs, strict=True):
                its.append(cost(partial(step, life), server))
        found[what] = [statistics.median(its) for its in costs]
    return found


def lived(folder: Path, make: Callable[[int], Outbox], sizes: Sequence[int], server: int = 0) -> dict[str, list[float]]:
    """A day after histories of so many loans."""
    folder.mkdir()
    lives = []
    for size in sizes:
        (folder / str(size)).mkdir()
        lives.append(Life(folder / str(size), size, make(size)))
    found = day(lives, server)
    for life in lives:
        life.machine.context.witness.close()
        life.outbox.close()
    return found


def table(title: str, found: Mapping[str, Sequence[float]], loans: int) -> None:
    """Print it."""
    print(f"\n{title:<36}{FEW * 8:>14,}{loans * 8:>16,}{'ratio':>8}   may be")
    for what, (few, many) in found.items():
        print(f"{what:<36}{few * MILLISECONDS:>11.2f} ms{many * MILLISECONDS:>13.2f} ms{many / few:>8.2f}     1.30")


def steps(folder: Path, loans: int) -> None:
    """Measure each step of a day after a short and after a long history; print what it costs."""
    sizes = (FEW, loans)

    def on_file(size: int) -> Outbox:
        (folder / f"file of {size}").mkdir()
        return outboxes.on_file(folder / f"file of {size}")

    table("Entries, in a file", lived(folder / "file", on_file, sizes), loans)
    with postgres.start(folder / "server") as server:

        def on_server(size: int) -> Outbox:
            return outboxes.migrated(server.create_database(f"outbox_{size}"))

        table("Entries, on PostgreSQL", lived(folder / "beside", on_server, sizes, server.pid), loans)
        listing(folder / "list")


def listing(folder: Path) -> None:
    """Kiva's list of loans, for the first time and again."""
    folder.mkdir()
    outbox = outboxes.on_file(folder)
    loans = [mirror.MirroredLoan(f"k{n}", f"{n:09}", "", "payingBack", "100.00", "XOF") for n in range(LISTED)]
    longest = 0.0

    def write(do: Callable[[Connection], None]) -> None:
        with outbox.begin() as tx:
            do(tx)

    def read(loans: Sequence[mirror.MirroredLoan]) -> None:
        nonlocal longest
        with outbox.begin() as tx:
            number = mirror.begin_refresh(tx, now=outboxes.NOW)
        with outbox.read() as tx:
            pages = [loans[place : place + PAGE] for place in range(0, len(loans), PAGE)]
            others = [loan for page in pages for loan in mirror.others(tx, page)]
        for place in range(0, len(others), PART):
            keep = partial(mirror.keep, refresh=number, loans=others[place : place + PART])
            longest = max(longest, cost(partial(write, keep)))
        after: str | None = ""
        listed = {loan.kiva_id for loan in loans}
        while after is not None:
            with outbox.read() as tx:
                lacking, after = mirror.lacking_in(tx, listed, after=after)
            for place in range(0, len(lacking), PART):
                drop = partial(mirror.drop, refresh=number, kiva_ids=lacking[place : place + PART])
                longest = max(longest, cost(partial(write, drop)))
        with outbox.begin() as tx:
            mirror.end_refresh(tx, number, complete=True, listed=len(loans), detail=None, now=outboxes.NOW)

    first, again, gone = (cost(partial(read, its)) for its in (loans, loans, []))
    print(f"\nKiva's list of {LISTED:,} loans{'':<37}may be")
    print(f"{'the first time':<36}{first:>30.2f} s    20.00")
    print(f"{'again':<36}{again:>30.2f} s     2.00")
    print(f"{'Kiva lists none of them any more':<36}{gone:>30.2f} s    20.00")
    print(f"{'the longest transaction':<36}{longest * MILLISECONDS:>29.0f} ms      200")
    outbox.close()


@dataclass(frozen=True)
class Kind:
    """How a relay watches the MIS (`mis.watch`), and whether its outbox is `beside` it, on the MIS's server."""

    title: str
    watch: str
    beside: bool = False


KINDS = (
    Kind("looking every 10 s", "poll"),
    Kind("by the stream", "replication"),
    Kind("looking, on one server", "poll", beside=True),
    Kind("by the stream, on one server", "replication", beside=True),
)


@dataclass(frozen=True)
class Alone:
    """A relay that has nothing to do: its memory in MB, its share of a core, how often a second its threads wake.

    `ready` and `status` are processor time, beside that of Python and its largest libraries at about the same moment.
    `servers` is the share of a core that the MIS's server takes meanwhile, with all that is on it.
    """

    ready: float
    at_start: float
    most: float
    resident: float
    idle: float
    wakes: float
    servers: float
    status: float


def alone(folder: Path, kind: Kind, address: str, *, loans: int, seconds: float) -> Alone:
    """Start one after a history of so many loans, and leave it alone. No other database is on its MIS's server."""
    with postgres.start(folder.with_name(f"{folder.name} server"), settings={"wal_level": "logical"}) as server:
        url = server.create_database("book")
        book(url, BOOK)
        beside = server.create_database("outbox") if kind.beside else ""
        relay = MeasuredRelay(folder, url, kiva=address, outbox=beside, poll_every="10s", watch=kind.watch)
        with ONE_AT_A_TIME:  # Alembic is not for threads
            (outboxes.migrated(beside) if kind.beside else outboxes.on_file(folder)).close()
        long_history.write(relay.outbox, loans, before=datetime.now(UTC))
        with relay.outbox.begin() as tx:  # of mappings that are there no more: the book is another one
            tx.execute(sa.text("UPDATE captured SET stream = 'old ' || stream"))
        relay.outbox.scrub()  # what the history left in the log is not the relay's to write back
        if kind.watch == "replication":
            relay.watch_setup()
        try:
            ready = _starts(relay)
            return _left_alone(relay, server.pid, ready=ready, seconds=seconds)
        finally:
            relay.end()
            relay.outbox.close()


def _starts(relay: MeasuredRelay) -> Ready:
    """Start it some times, the last one to stay: the middle of what it had used when it was ready, beside libraries."""
    turns = []
    for _ in range(STARTS):
        relay.end()
        libraries = _seconds([sys.executable, "-c", LIBRARIES])
        relay.start()
        at_ready = relay.ready()
        turns.append((at_ready.seconds / libraries, at_ready.peak))
    return Ready(*map(statistics.median, zip(*turns, strict=True)))


def _left_alone(relay: MeasuredRelay, server: int, *, ready: Ready, seconds: float) -> Alone:
    relay.waits_until(lambda: not relay.scanning() and relay.has_run(*AT_THE_START), within=600)
    relay.outbox.close()
    time.sleep(AFTER_THE_START)
    before, woke, its, began = relay.seconds(), relay.switches(), _of_server(server), time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - began
    idle, wakes = (relay.seconds() - before) / span, (relay.switches() - woke) / span
    servers = (_of_server(server) - its) / span
    typed = [sys.executable, "-m", "kiva_relay", "status", "--config", str(relay.config)]
    turns = [(_seconds([sys.executable, "-c", LIBRARIES]), _seconds(typed)) for _ in range(TIMES)]
    libraries, status = (statistics.median(each) for each in zip(*turns, strict=True))
    return Alone(
        ready=ready.seconds,
        at_start=ready.peak,
        most=relay.peak(),
        resident=relay.resident(),
        idle=idle,
        wakes=wakes,
        servers=servers,
        status=status / libraries,
    )


def _seconds(typed: Sequence[str]) -> float:
    process = subprocess.Popen(typed, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, cost = os.wait4(process.pid, 0)
    return cost.ru_utime + cost.ru_stime


def processes(folder: Path, address: str, *, loans: int, seconds: float) -> None:
    """Measure relays of all kinds, side by side, after a short and after a long history; print what they cost."""
    found = []
    for size in (FEW, loans):
        with ThreadPoolExecutor(len(KINDS)) as pool:
            each = [
                pool.submit(alone, folder / f"{kind.title} {size}", kind, address, loans=size, seconds=seconds)
                for kind in KINDS
            ]
            found.append([one.result() for one in each])
    for kind, few, many in zip(KINDS, *found, strict=True):
        print(f"\n{f'A relay {kind.title}':<36}{FEW * 8:>14,}{loans * 8:>16,}{'':>8}   may be")
        rows = [
            ("status, beside its libraries", few.status, many.status, "times", "1.50"),
            ("ready, beside its libraries", few.ready, many.ready, "times", "2.50"),
            ("ready, beside the short history", 1.0, many.ready / few.ready, "times", "1.20"),
            ("most memory until ready", few.at_start, many.at_start, "MB", f"{1.2 * few.at_start:.0f}"),
            ("most memory, with the first jobs", few.most, many.most, "MB", f"{1.2 * few.most:.0f}"),
            ("idle: memory", few.resident, many.resident, "MB", "95"),
            ("idle: of a core", 100 * few.idle, 100 * many.idle, "%", "0.50"),
            ("idle: wakes a second", few.wakes, many.wakes, "", ""),
            ("idle: of a core, the server", 100 * few.servers, 100 * many.servers, "%", ""),
        ]
        for what, short, long, unit, most in rows:
            print(f"{what:<36}{short:>8.2f} {unit:<5}{long:>10.2f} {unit:<5}{'':>8}{most:>9}")


@contextmanager
def kiva() -> Iterator[str]:
    """A stand-in for Kiva; its address."""
    with stand_in.start(stand_in.plain(SandboxConfig(partner="123"))) as running:
        yield running.url


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loans", type=int, nargs="?", default=MANY, help="of the long history (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of doing nothing (default %(default)s)")
    parser.add_argument("--only", choices=("steps", "processes"), help="(default: both)")
    chosen = parser.parse_args()
    compiled.before_measuring()
    with tempfile.TemporaryDirectory(prefix="kiva-relay-growth-") as name:
        if chosen.only != "processes":
            steps(Path(name), chosen.loans)
        if chosen.only != "steps":
            with kiva() as address:
                processes(Path(name), address, loans=chosen.loans, seconds=chosen.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nMost memory of all of this: {peak:.0f} MB (SQLAlchemy {sa.__version__})")


if __name__ == "__main__":
    main()
