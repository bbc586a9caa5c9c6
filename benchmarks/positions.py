"""Positions a second, in calls of 250: relay, peers and bare httpx, measured at the sink."""

from __future__ import annotations

import time

from benchmarks import limit, sent
from benchmarks.bench import Bench
from benchmarks.figure import BARE

PART = "positions"
CASE = "calls of 250"
BATCH = 250
PEERS = ("script", "dlt", "drt")
_MOST, _SHORT = 10_000, 500


def measure(bench: Bench) -> None:
    """Side by side."""
    number = _SHORT if bench.short else min(bench.loans, _MOST)
    url = bench.book_of(number)
    for _ in range(bench.rounds):
        bench.sink.reset(expected=number)
        sent.ours(bench, PART, CASE, number, resource="repayment", url=url)
        for name in bench.present(*PEERS):
            bench.sink.reset()
            sent.peer(bench, name, PART, CASE, number, batch=BATCH, url=url)
        bench.sink.reset()
        began = time.process_time()
        limit.bare(bench.sink, bench.sink.plain, limit.positions(number, BATCH), path=limit.REPAYMENTS)
        cpu = time.process_time() - began
        sent.add(bench, PART, CASE, BARE, took=bench.sink.took(), number=number, cpu=cpu)
