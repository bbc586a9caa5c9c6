"""From the commit in the MIS until the sink has accepted: new loans, 1 and 20 a second, by each way of noticing.

A relay polls each second, or follows the stream; Debezium is asked with its own default of 500 ms and with 20 ms, and
the better of the two counts. Each has the book for itself, and nothing of it is sent but what is new. The processor
time is that of the whole process over the time in which the loans came, for one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import psycopg

from benchmarks import book, sent
from benchmarks.bench import Bench, correctness
from benchmarks.contender import Peer
from benchmarks.environment import NAMES
from benchmarks.figure import OURS, Figure
from benchmarks.ours import OurRelay

PART = "latency"
RATES = (1.0, 20.0)
SECONDS, SHORT = 30.0, 4.0
POLLS, STREAM = f"{OURS}, looking each second", f"{OURS}, by the stream"
INTERVALS = (500, 20)
"""Milliseconds of Debezium's poll.interval.ms."""

_BOOK = 300
_SETTLED_AFTER = 3.0


def measure(bench: Bench) -> None:
    """One after the other: two cores are few for two of them."""
    for who, watch in ((POLLS, "poll"), (STREAM, "replication")):
        url = _fresh(bench)
        relay = OurRelay(bench.place("relay"), url, kiva=bench.sink.plain, poll_every="1s", watch=watch, max_load=100)
        bench.sink.reset()
        try:
            if watch == "replication":
                relay.watch_setup()
            relay.start()
            relay.waits_until(lambda relay=relay: not relay.scanning(), within=120)
            sent.until(bench.sink, _BOOK)
            assert relay.watched is not None
            _at_each_rate(bench, url, who, relay.watched.between, relay.resident)
        finally:
            relay.close()
    for interval in INTERVALS if bench.present("debezium") else ():
        url = _fresh(bench)
        bench.sink.reset()
        folder = bench.place("debezium")
        one = Peer("debezium", folder, url, bench.sink.plain, NUMBER=10**9, POLL_INTERVAL_MS=interval)
        try:
            one.start()
            sent.until(bench.sink, _BOOK)
            assert one.watched is not None
            watched = one.watched
            who = f"{NAMES['debezium']}, poll.interval.ms {interval}"
            _at_each_rate(bench, url, who, watched.between, partial(getattr, watched, "peak"))
        finally:
            one.end()


def _fresh(bench: Bench) -> str:
    """A small book that nobody has read."""
    url = bench.database()
    book.make(url, _BOOK)
    return url


def _at_each_rate(
    bench: Bench, url: str, who: str, between: Callable[[float, float], float], memory: Callable[[], float]
) -> None:
    seconds = SHORT if bench.short else SECONDS
    last = _BOOK
    for rate in RATES:
        time.sleep(_SETTLED_AFTER)
        bench.sink.reset()
        began = time.monotonic()
        committed = _open(url, first=last + 1, number=int(rate * seconds), rate=rate)
        last += len(committed)
        sent.until(bench.sink, len(committed))
        ended = time.monotonic()
        took = bench.sink.took(arrivals=True)
        cpu = between(began, max(took.last, began)) / max(len(committed), 1)
        waits = sorted(took.arrivals[one] - at for one, at in committed.items() if one in took.arrivals)
        right = correctness(took, len(committed))
        case = f"{rate:g} a second"
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            value = 1000 * waits[min(int(len(waits) * share), len(waits) - 1)] if waits else 0.0
            doubled = right if name == "p50" else {"duplicates": 0, "lost": 0}
            bench.figures.add(
                PART, f"{case}, {name}", who, unit="ms", value=value, cpu=1000 * cpu, peak=memory(), **doubled
            )
        told = "  ".join(f"{one.case.rpartition(' ')[2]} {one.middle:,.0f} ms" for one in _mine(bench, case, who))
        counted = f"{right['duplicates']} duplicates  {right['lost']} lost"
        bench.say(f"  {case:<28}{who:<44}{told}  {1000 * cpu:.1f} ms of CPU  {counted}  ({ended - began:.0f} s)")


def _mine(bench: Bench, case: str, who: str) -> list[Figure]:
    return [one for one in bench.figures.of(PART) if one.who == who and one.case.startswith(f"{case},")]


def _open(url: str, *, first: int, number: int, rate: float) -> dict[str, float]:
    """Open loans, so many a second; when each commit had returned, by the monotonic clock."""
    done = {}
    with psycopg.connect(url, autocommit=True) as teller:
        began = time.monotonic()
        for place in range(number):
            time.sleep(max(began + place / rate - time.monotonic(), 0))
            book.add(teller, first=first + place, last=first + place)
            done[book.account(first + place)] = time.monotonic()
    return done
