"""One contender sends, and it is waited for: a relay with entries that are ready, or a peer that reads and posts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import psycopg

from benchmarks.bench import Bench, correctness
from benchmarks.contender import Peer
from benchmarks.environment import NAMES
from benchmarks.figure import OURS, Figure
from benchmarks.ours import OurRelay
from benchmarks.served import Served, Took
from testbed.rig import patience

_SLOTS = "FROM pg_replication_slots WHERE database = current_database()"
STALLED = 120.0
"""Seconds without anything new, after which nothing more is waited for."""


def until(
    sink: Served, number: int, *, over: Callable[[], bool] = lambda: False, every: float = 0.1, stalled: float = STALLED
) -> Took:
    """Wait until so many different loans came, it is over, or nothing comes any more; what came."""
    took, at = sink.took(), time.monotonic()
    while took.distinct < number and time.monotonic() - at < stalled and not over():
        time.sleep(every)
        newer = sink.took()
        at = time.monotonic() if newer.calls > took.calls else at
        took = newer
    time.sleep(0.5)  # what comes twice comes now
    return sink.took()


@contextlib.contextmanager
def relay_with_ready(bench: Bench, number: int, *, resource: str = "loan_draft", url: str = "") -> Iterator[OurRelay]:
    """A relay that has so many entries ready, and is held."""
    folder = bench.place("relay")
    at = url or bench.url
    relay = OurRelay(folder, at, resource=resource, most=number, kiva=bench.sink.plain, poll_every="10s")
    relay.hold()
    relay.start()
    try:
        relay.waits_until(lambda: not relay.scanning(), within=900)
        relay.waits_until(lambda: relay.states()["ready"] >= number, within=900)
        yield relay
    finally:
        relay.close()


def ours(bench: Bench, part: str, case: str, number: int, *, resource: str = "loan_draft", url: str = "") -> Figure:
    """Let a relay send what it has ready."""
    with relay_with_ready(bench, number, resource=resource, url=url) as relay:
        relay.release()
        took = until(bench.sink, number)
        assert relay.watched is not None
        cpu = relay.watched.between(took.first, took.last)
        peak = relay.peak()
    return add(bench, part, case, OURS, took=took, number=number, cpu=cpu, peak=peak)


def peer(bench: Bench, name: str, part: str, case: str, number: int, *, batch: int = 1, url: str = "") -> Figure:
    """Let a peer read and send."""
    at = url or bench.url
    clean(at)
    one = Peer(name, bench.place(name), at, bench.sink.plain, NUMBER=number, BATCH=batch, POLL_INTERVAL_MS=20)
    one.start()
    try:
        process = one.process
        assert process is not None
        took = until(bench.sink, number, over=lambda: process.poll() is not None)
    finally:
        one.end()
    assert one.watched is not None
    cpu, start = one.watched.between(took.first, took.last), took.first - one.began
    return add(bench, part, case, NAMES[name], took=took, number=number, cpu=cpu, peak=one.watched.peak, start=start)


def add(
    bench: Bench,
    part: str,
    case: str,
    who: str,
    *,
    took: Took,
    number: int,
    cpu: float,
    peak: float = 0.0,
    start: float = 0.0,
) -> Figure:
    """Put down how fast it was, with what was doubled and lost."""
    right = correctness(took, number)
    found = bench.figures.add(
        part,
        case,
        who,
        unit="a second",
        value=took.rate,
        cpu=1000 * cpu / max(took.distinct, 1),
        peak=peak,
        start=start,
        duplicates=right["duplicates"],
        lost=right["lost"],
        connections=took.connections,
    )
    bench.say(
        f"  {case:<28}{who:<44}{took.rate:>10,.1f} a second  {right['duplicates']} duplicates  {right['lost']} lost"
    )
    return found


def clean(url: str) -> None:
    """Nothing of an earlier run of a peer is left in the database."""
    with psycopg.connect(url, autocommit=True) as tx:
        tx.execute("DROP TABLE IF EXISTS sent, reported")
        tx.execute(f"SELECT pg_terminate_backend(active_pid) {_SLOTS} AND active")
        patience.eventually(lambda: tx.execute(f"SELECT 1 {_SLOTS} AND active").fetchone() is None, within=30)
        tx.execute(f"SELECT pg_drop_replication_slot(slot_name) {_SLOTS}")
        tx.execute("DROP PUBLICATION IF EXISTS dbz_publication")
        tx.execute("DROP SCHEMA IF EXISTS _drt CASCADE")
