"""What it costs to look at a large report: each page and command, in milliseconds, by the clock and of the processor.

    .venv/bin/python benchmarks/shown.py [LOANS]

Kiva expects so many loans (100,000 by default). Of twenty eighteen are accepted, one is on its way, one waits for a
decision, but for 5,000 of these at most. A page is asked for in this process; a command is a process of its own. A page
may take 120 ms of the processor with 5,000 lines to decide, a command 2 s. Nothing leaves the machine.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kiva_relay.account import standing
from kiva_relay.config import loader
from kiva_relay.outbox import mirror, report_table, table
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.person import Person
from kiva_relay.page import report, view
from kiva_relay.resource import loan_id as spelled
from kiva_relay.words import language
from testbed.rig import compiled, full_outbox
from testbed.rig.full_outbox import FullOutbox
from testbed.rig.morning import Morning

LOANS = 100_000
MOST_TO_DECIDE = 5_000
TIMES = 5
_AT_ONCE = 5_000


def lay_down(told: FullOutbox, loans: int) -> None:
    """The report, and last month's file made by hand."""
    morning = Morning(told)
    ids = [f"{10_000_000 + number:09}" for number in range(loans)]
    listed = [
        MirroredLoan(f"{number:08}", one, f"C{one}", "payingBack", "500000", "XOF") for number, one in enumerate(ids)
    ]
    with told.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=told.now)
        for start in range(0, loans, _AT_ONCE):
            mirror.keep(tx, refresh, listed[start : start + _AT_ONCE])
        mirror.end_refresh(tx, refresh, complete=True, listed=loans, detail=None, now=told.now)
    first = morning.november.position(ids[0], "150000", waits="position_fell", scheduled="41667")
    with told.outbox.begin() as tx:
        like = tx.execute(sa.select(table.entry).where(table.entry.c.id == first.id)).one()._asdict()
        rows = [_row(like, number, one) for number, one in enumerate(ids) if number]
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            tx.execute(sa.insert(table.entry), some)
            given = {"basis": "cumulative_principal", "lent": "500000", "scheduled": "41667"}
            tx.execute(sa.insert(report_table.position), [{"entry_id": one["id"], **given} for one in some])
    file = "".join(f"{one},{100_000 + number % 40_000}\n" for number, one in enumerate(ids))
    told.config.with_name("october.csv").write_text(file, encoding="utf-8")


def _row(like: dict[str, Any], number: int, loan_id: str) -> dict[str, Any]:
    place, row = number % 20, {
        "id": like["id"] + number, "identity": loan_id, "loan_id": loan_id, "loan_fold": spelled.fold(loan_id),
        "key": loan_id, "amount": str(150_000 + number % 40_000),
    }  # fmt: skip
    if place == 0 and number < 20 * MOST_TO_DECIDE:
        return like | row
    if place == 1:
        return like | row | {"state": "ready", "reason": None}
    receipt = {"upload_id": str(88_000 + number // 250)}
    done = {
        "state": "delivered",
        "reason": None,
        "evidence": "receipt",
        "receipt": receipt,
        "settled_at": like["due_at"],
    }
    return like | row | done


def of_page(told: FullOutbox, page: Callable[[Any, Any], Any]) -> tuple[float, float]:
    """Milliseconds of a page, by the clock and of the processor: the middle of some."""
    settings = loader.load(told.config, environ={"KIVA_SECRET": "s"})
    walls, used = [], []
    for _ in range(TIMES):
        wall, processor = time.perf_counter(), time.process_time()
        with told.outbox.read() as tx:
            page(tx, settings)
        walls.append(time.perf_counter() - wall)
        used.append(time.process_time() - processor)
    return statistics.median(walls) * 1000, statistics.median(used) * 1000


def of_command(told: FullOutbox, *typed: str) -> tuple[float, float]:
    """The same of a command, which is a process of its own."""
    environ = {**os.environ, "KIVA_SECRET": "s", "SUDO_USER": "awa"}
    command = [sys.executable, "-c", _AT_ITS_HOUR.format(now=told.now), *typed, "--config", str(told.config)]
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with told.config.with_name("said.txt").open("wb") as said:
        process = subprocess.run(command, env=environ, stdout=said, stderr=subprocess.STDOUT, check=False)
    if process.returncode not in (0, 1):
        raise SystemExit(told.config.with_name("said.txt").read_text(encoding="utf-8"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (time.perf_counter() - wall) * 1000, used * 1000


_AT_ITS_HOUR = """
import datetime, sys
from kiva_relay import cli
from kiva_relay.cli import frame
frame.now = lambda: datetime.datetime.fromisoformat("{now}")
raise SystemExit(cli.main(sys.argv[1:]))
"""


def main() -> None:
    """All of it, in a folder that is removed."""
    loans = int(sys.argv[1]) if len(sys.argv) > 1 else LOANS
    compiled.before_measuring()
    with tempfile.TemporaryDirectory() as name:
        told = full_outbox.made(Path(name))
        lay_down(told, loans)
        spoken, ann = language.of("en"), Person("ann", "coordinator", "en")

        def of_report(page: int, kind: str = "") -> Callable[[Any, Any], Any]:
            return lambda tx, settings: report.show(
                tx, settings, spoken, period=None, kind=kind, page=page, now=told.now
            )

        def today(tx: Any, settings: Any) -> None:
            view.today(tx, standing.gather(tx, settings, now=told.now, in_parts=True), ann, spoken)

        for path, page in (
            ("/", today),
            ("/report", of_report(1)),
            ("/report?page=77", of_report(77)),
            ("/report?kind=accepted", of_report(1, "accepted")),
        ):
            wall, used = of_page(told, page)
            print(f"{path:34}{wall:>8.0f} ms {used:>8.0f} ms of the processor", flush=True)
        for typed in (
            ("report",),
            ("report", "--for-audit"),
            ("report", "--compare", str(told.config.with_name("october.csv"))),
            ("report", "decide", "--loan", "010000000", "--leave-out", "--note", "x", "--yes"),
            ("review",),
        ):
            wall, used = of_command(told, *typed)
            print(f"{' '.join(typed)[:32]:34}{wall:>8.0f} ms {used:>8.0f} ms of the processor", flush=True)
        told.outbox.close()


if __name__ == "__main__":
    main()
