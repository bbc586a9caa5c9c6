"""What a relay costs the MIS that it reads: the MIS's own transactions, with a relay beside them and without.

    .venv/bin/python benchmarks/guest.py [--pairs 10] [--seconds 30]

The transactions are those of `make workload`, without its breaks. In pairs, one after the other: so many seconds with
a relay, so many without; which comes first alternates. PostgreSQL by polling and by the stream, MariaDB by polling.
Without the stream is also without publication, slot and replica identities. Errors of the transactions are counted by
their cause: deadlocks and lock time-outs are the branch's own, and there must be none that only a relay makes.

A relay has a machine of its own in earnest, or should have; here it gets what the others leave of the processors
(SCHED_IDLE), and what it costs is what the MIS's server does for it.

The figure is the median of the pairs' ratios: p50 at most 1.10, p99 at most 1.30.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import SystemClock
from kiva_relay.config import loader
from kiva_relay.outbox import table
from kiva_relay.service import opening
from kiva_relay.source import slot
from testbed.rig import compiled, configuration, patience
from testbed.workload import branch
from testbed.workload.branch import Branch, Work
from testbed.workload.engine import Engine, engine, engines
from testbed.workload.watcher import Watcher, watcher

WAYS = (("postgresql", "poll"), ("postgresql", "replication"), ("mariadb", "auto"))
LOANS = 2_000
TELLERS = 8
MOST = {"p50": 1.10, "p99": 1.30}


@dataclass
class Round:
    """So many seconds of the MIS's work: what each transaction took, in ms, and what failed, by its cause."""

    times: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def part(self, share: float) -> float:
        """The time below which this share of the transactions stays."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def figures(self) -> dict[str, float]:
        """What is compared."""
        return {"p50": self.part(0.5), "p99": self.part(0.99)}


class Timed(Branch):
    """The branch of the workload, with nobody who waits before a commit."""

    def round(self, seconds: float) -> Round:
        """Its tellers at work, at a rate of so many transactions a second in all."""
        found, until = Round(), time.monotonic() + seconds
        seeds = [self._dice.random() for _ in range(TELLERS)]
        with ThreadPoolExecutor(TELLERS) as tellers:
            for done in [tellers.submit(self._one_teller, until, random.Random(seed), found) for seed in seeds]:
                done.result()
        return found

    def _one_teller(self, until: float, dice: random.Random, found: Round) -> None:
        try:
            self._work_until(until, dice, found)
        finally:
            self._drop()  # each round has tellers of its own, and a server has no more than a hundred connections

    def _work_until(self, until: float, dice: random.Random, found: Round) -> None:
        due, never = time.monotonic(), threading.Event()
        while (due := due + dice.expovariate(self.rate / TELLERS)) < until:
            never.wait(max(due - time.monotonic(), 0))
            began = time.perf_counter()
            try:
                self._one(dice)
            except Exception as error:  # noqa: BLE001 - each is counted
                found.failed[_cause(error)] += 1
                self._drop()
            else:
                found.times.append((time.perf_counter() - began) * 1000)

    def _one(self, dice: random.Random) -> None:
        what = dice.choices(list(branch.OFTEN), list(branch.OFTEN.values()))[0]
        connection = self._connection()
        work = Work(connection.cursor(), self.engine.stamp(datetime.now(UTC)), next(self._numbers), quiet=True)
        what(self, work, dice)
        connection.commit()


def _cause(error: Exception) -> str:
    code = error.sqlstate if isinstance(error, psycopg.Error) else next(iter(error.args), "")
    return f"{type(error).__name__} {code}".strip()


@contextlib.contextmanager
def beside(mis: Engine, one: Watcher) -> Iterator[None]:
    """A relay that has read the book, and watches."""
    if one.mode == "replication":
        _publication(mis, one, slot.setup)
    one.start()
    assert one.process is not None
    try:
        patience.eventually(lambda: _watches(one), within=300)
        _let_the_others_first(one.process.pid or 0)
        yield
    finally:
        one.process.terminate()
        patience.joined(one.process)
        if one.mode == "replication":
            _publication(mis, one, slot.drop)


def _let_the_others_first(process: int) -> None:
    """Each thread of it: what is set for a process is set for its first thread, and the others were there before."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def _publication(mis: Engine, one: Watcher, statements: Any) -> None:
    """Make slot, publication and identities, or take them away."""
    settings = loader.load(one.config, environ={})
    streams = [document.stream for document in configuration.documents(settings)]
    reader = opening.open_mis(settings, clock=SystemClock())
    facts = reader.slot(opening.stream_name(settings), streams)
    wanted = (facts, streams, reader.dialect) if statements is slot.setup else (facts, reader.dialect)
    with contextlib.closing(mis.connect()) as owner:
        owner.autocommit = True
        for statement in statements(*wanted):
            owner.execute(statement)
    reader.close()


def _watches(one: Watcher) -> bool:
    with contextlib.suppress(errors.OutboxAway), one.outbox.read() as tx:
        rows = tx.execute(sa.select(table.watermark)).all()
        followed = {row.mode == "replication" for row in rows} == {one.mode == "replication"}
        return followed and not any(row.scan for row in rows)
    return False


def compare(name: str, mode: str, folder: Path, *, pairs: int, seconds: float, rate: float) -> bool:
    """One way of watching: print its pairs; whether it stays below what it may cost."""
    print(f"== {name}, watched by {mode}: {pairs} pairs of {seconds:g} s, {rate:g} transactions a second")
    print(f"{'pair':<6}{'p50 without':>14}{'with':>9}{'ratio':>8}{'p99 without':>14}{'with':>9}{'ratio':>8}")
    ratios: dict[str, list[float]] = {each: [] for each in MOST}
    failed: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    number = 0
    with engine(name, folder) as mis:
        work = Timed(mis, loans=LOANS, rate=rate, seed=1)
        work.open()
        one = watcher(mis, mode, folder / mode, poll_every="1s", max_load=5)
        work.round(min(seconds, 5.0))  # caches fill
        for pair in range(pairs):
            found: dict[bool, Round] = {}
            for has_relay in (pair % 2 == 0, pair % 2 != 0):
                with beside(mis, one) if has_relay else contextlib.nullcontext():
                    found[has_relay] = work.round(seconds)
                failed[has_relay] += found[has_relay].failed
            number += sum(len(each.times) for each in found.values())
            without, beside_us = found[False].figures(), found[True].figures()
            line = f"{pair + 1:<6}"
            for each, times in ratios.items():
                times.append(beside_us[each] / without[each])
                line += f"{without[each]:>14.2f}{beside_us[each]:>9.2f}{times[-1]:>8.2f}"
            print(line, flush=True)
        one.outbox.close()
    medians = {each: statistics.median(times) for each, times in ratios.items()}
    print(f"{number:,} transactions; median ratio: {', '.join(f'{each} {it:.2f}' for each, it in medians.items())}")
    for has_relay, words in ((False, "without"), (True, "with")):
        told = ", ".join(f"{cause}: {times}" for cause, times in sorted(failed[has_relay].items())) or "none"
        print(f"failed {words} a relay: {told}")
    ours = failed[True].keys() - failed[False].keys()
    if ours:
        print(f"only with a relay: {', '.join(sorted(ours))}")
    return not ours and all(medians[each] <= most for each, most in MOST.items())


def main() -> int:
    """Measure, and print; 1 when it costs more than it may."""
    parser = argparse.ArgumentParser(description="What a relay costs the MIS's own transactions")
    parser.add_argument("--pairs", type=int, default=10, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half of a pair (default %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="transactions a second (default %(default)s)")
    given = parser.parse_args()
    compiled.before_measuring()
    os.environ["KIVA_SECRET"] = "s3cr3t"
    good = True
    for name, mode in WAYS:
        if name not in engines():
            print(f"not run: {name}")
            continue
        with tempfile.TemporaryDirectory(prefix="kiva-relay-guest-") as made:
            folder = Path(made)
            good &= compare(name, mode, folder, pairs=given.pairs, seconds=given.seconds, rate=given.rate)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
