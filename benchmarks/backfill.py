"""From the book to entries: a relay's first start beside dlt's extract of the same tables, and psycopg alone.

A relay reads, maps, hashes, and puts an entry with its body into its outbox for each loan; it sends nothing. dlt reads
the three tables and writes their rows to files of its own; nothing is mapped. psycopg reads the same rows by the page,
as tuples, and does nothing with them. Beside `mis.max_load: 100` stands the shipped setting, for a minute of it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg

from benchmarks.bench import Bench
from benchmarks.contender import Peer
from benchmarks.figure import OURS
from benchmarks.ours import OurRelay

PART = "backfill"
SHIPPED = "as shipped, mis.max_load 5"
LIMIT = "limit: psycopg, the same rows"
EXTRACT = "dlt, its extract"
_PAGE = 1_000
_LOOKED_AT = 60.0
_ROUNDS = 2
_LONGEST = 180.0
"""Seconds of reading in that are looked at: a book that takes longer is measured by what was read until then."""

_SHORT = 600


def measure(bench: Bench) -> None:
    """Side by side, for each size of the book."""
    if bench.short:
        _round(bench, _SHORT, bench.url)
        return
    for _ in range(min(bench.rounds, _ROUNDS)):
        _round(bench, bench.loans, bench.book_of(bench.loans))
    _shipped(bench)
    if bench.large:
        _round(bench, bench.large, bench.book_of(bench.large))


def _round(bench: Bench, loans: int, url: str) -> None:
    case = f"{loans:,} loans"
    _ours(bench, case, url, loans)
    if bench.present("dlt"):
        one = Peer("dlt", bench.place("dlt extract"), url, bench.sink.plain)
        one.start("dlt_extract.py")
        code = one.wait(within=1200)
        said = one.log.read_text(encoding="utf-8").strip().splitlines()
        if code:
            bench.say(f"  dlt ended with {code}: {said[-1] if said else ''}")
        else:
            found: dict[str, Any] = json.loads(said[-1])
            total = _in_book(url)
            _add(bench, case, EXTRACT, total, found["seconds"], cpu=found["cpu"], peak=found["peak"])
    began, cpu = time.perf_counter(), time.process_time()
    read = _psycopg(url, loans)
    _add(bench, case, LIMIT, read, time.perf_counter() - began, cpu=time.process_time() - cpu)


def _ours(bench: Bench, case: str, url: str, loans: int) -> None:
    relay = OurRelay(bench.place("relay"), url, most=loans, max_load=100, poll_every="10s")
    try:
        relay.start()
        began, before = _begun(relay)
        relay.waits_until(lambda: not relay.scanning() or time.monotonic() - began > _LONGEST, within=3600)
        whole, took = not relay.scanning(), time.monotonic() - began
        assert relay.watched is not None
        cpu, peak = relay.watched.between(began, began + took), relay.peak()
        states = relay.states()
        entries = sum(states.values())
    finally:
        relay.close()
    lost = max(loans - entries, 0) if whole else 0
    wrong = {"duplicates": max(entries - loans, 0), "lost": lost}
    _add(bench, case, OURS, entries - before, took, cpu=cpu, peak=peak, **wrong)


def _begun(relay: OurRelay) -> tuple[float, int]:
    """Wait for the first entries; when that was, and how many they were. What a start costs is another figure."""
    relay.waits_until(lambda: sum(relay.states().values()), within=120)
    return time.monotonic(), sum(relay.states().values())


def _shipped(bench: Bench) -> None:
    relay = OurRelay(bench.place("relay"), bench.book_of(bench.loans), most=bench.loans, max_load=5, poll_every="10s")
    try:
        relay.start()
        began, before = _begun(relay)
        relay.waits_until(lambda: time.monotonic() - began > _LOOKED_AT or not relay.scanning(), within=3600)
        took, read = time.monotonic() - began, sum(relay.states().values()) - before
        assert relay.watched is not None
        cpu, peak = relay.watched.between(began, began + took), relay.peak()
    finally:
        relay.close()
    _add(bench, f"{bench.loans:,} loans", f"{OURS}, {SHIPPED}", read, took, cpu=cpu, peak=peak)


def _psycopg(url: str, loans: int) -> int:
    """Read the rows of a page of loans at a time; how many loans."""
    with psycopg.connect(url) as mis:
        found = 0
        for first in range(1, loans + 1, _PAGE):
            keys = [first, min(first + _PAGE - 1, loans)]
            found += len(mis.execute("SELECT * FROM loan WHERE id BETWEEN %s AND %s ORDER BY id", keys).fetchall())
            mis.execute("SELECT * FROM client WHERE id BETWEEN %s AND %s", keys).fetchall()
            rows = "SELECT * FROM instalment WHERE loan_id BETWEEN %s AND %s ORDER BY loan_id, number"
            mis.execute(rows, keys).fetchall()
    return found


def _in_book(url: str) -> int:
    with psycopg.connect(url) as mis:
        row = mis.execute("SELECT count(*) FROM loan").fetchone()
    return int(row[0]) if row else 0


def _add(
    bench: Bench, case: str, who: str, loans: int, seconds: float, *, cpu: float, peak: float = 0.0, **wrong: int
) -> None:
    rate = loans / seconds
    bench.figures.add(
        PART,
        case,
        who,
        unit="loans a second",
        value=rate,
        cpu=1000 * cpu / max(loans, 1),
        peak=peak,
        duplicates=wrong.get("duplicates"),
        lost=wrong.get("lost"),
    )
    counted = f"  {wrong['duplicates']} duplicates  {wrong['lost']} lost" if wrong else ""
    bench.say(f"  {case:<28}{who:<44}{rate:>10,.0f} a second{counted}")
