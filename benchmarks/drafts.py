"""Drafts a second: relay, peers and limits, to a sink that answers at once, after 50 ms and after 200 ms.

A relay sends what it has ready; a peer reads and posts. Both are measured at the sink, from the first call to the
last, so that starting and reading do not count. The limits and the courier alone run in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import limit, sent
from benchmarks.bench import Bench

PART = "drafts"
PEERS = ("script", "dlt", "drt", "debezium")
SMALL, LARGE = 2_000, 300_000
"""Bytes of a body."""


@dataclass(frozen=True)
class Case:
    """`numbers` of drafts: in the usual form, and in the short one."""

    name: str
    delay: float
    rounds: int
    """At most: one, where nearly all of it is waiting."""

    numbers: tuple[int, int]
    size: int = SMALL
    tls: bool = False
    peers: bool = True
    short: bool = False
    """Is it a part of the short form?"""


CASES = (
    Case("0 ms", 0.0, 3, (1_000, 40), short=True),
    Case("50 ms", 0.05, 2, (120, 20)),
    Case("200 ms", 0.2, 1, (30, 5)),
    Case("0 ms, 300 kB", 0.0, 2, (150, 5), size=LARGE, peers=False),
    Case("TLS, 100 ms of round trip", 0.0, 2, (40, 4), tls=True, peers=False, short=True),
)


def measure(bench: Bench) -> None:
    """All cases, side by side."""
    for case in CASES:
        if bench.short and not case.short:
            continue
        number = case.numbers[bench.short]
        for _ in range(min(bench.rounds, case.rounds)):
            if case.peers:
                bench.sink.reset(delay=case.delay)
                sent.ours(bench, PART, case.name, number)
                for name in bench.present(*PEERS):
                    bench.sink.reset(delay=case.delay)
                    sent.peer(bench, name, PART, case.name, number)
            in_this_process(bench, case, number)


def in_this_process(bench: Bench, case: Case, number: int) -> None:
    """The courier alone, and the limits, with the same bodies."""
    url = bench.sink.tls if case.tls else bench.sink.plain
    bodies = limit.drafts(number, case.size)
    folder = bench.place("limit")
    bench.sink.reset(delay=case.delay)
    alone = limit.Alone(folder, bench.sink, url, bodies)
    try:
        for who, send in limit.contenders(folder, bench.sink, url, bodies, alone=alone).items():
            bench.sink.reset(delay=case.delay)
            cpu = _cost(send)
            took = bench.sink.took()
            sent.add(bench, PART, case.name, who, took=took, number=number, cpu=cpu)
    finally:
        alone.close()


def _cost(send: Callable[[], None]) -> float:
    began = time.process_time()
    send()
    return time.process_time() - began
