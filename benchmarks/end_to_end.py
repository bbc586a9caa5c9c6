"""How long after its commit a new loan is an entry of the outbox, and how long until Kiva has it.

    .venv/bin/python benchmarks/end_to_end.py [SECONDS] [--loans 125000 ...] [--rate 20]

New loans, so many a second, by a poll each second and by the stream; the outbox in a file and on a PostgreSQL, after a
short and after a long history (each loan of it has eight entries). Each relay has a MIS of its own, they take turns,
and Kiva is a stand-in on this machine. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.outbox import hold, mirror, table
from kiva_relay.sandbox import server as stand_in
from kiva_relay.sandbox.config import SandboxConfig
from testbed.database import postgres
from testbed.rig import compiled, long_history, outboxes, patience
from testbed.rig.measured import MeasuredRelay, book

FEW = 125
MANY = 125_000
RATE = 20.0
SECONDS = 60.0
BOOK = 300
_WAYS = (("poll", False), ("poll", True), ("replication", False), ("replication", True))

_OPEN = (
    "INSERT INTO client VALUES (%(id)s, 'Client', now())",
    "INSERT INTO loan VALUES (%(id)s, %(account)s, %(id)s, 300, 400, current_date, now(), now())",
    "INSERT INTO instalment SELECT %(id)s, i, current_date + 30 * i, 100, now() FROM generate_series(1, 4) i",
)


def work(url: str, *, rate: float, seconds: float) -> dict[str, datetime]:
    """Open loans; when each commit had returned, by account."""
    done = {}
    with psycopg.connect(url) as teller:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            time.sleep(max(began + number / rate - time.monotonic(), 0))
            account = f"new {number:06}"
            for sql in _OPEN:
                teller.execute(sql, {"id": 1_000_000 + number, "account": account})
            teller.commit()
            done[account] = datetime.now(UTC)
    return done


def followed(relay: MeasuredRelay, done: dict[str, datetime]) -> tuple[list[float], list[float]]:
    """Seconds from commit to entry, and from commit until Kiva had it, in order."""
    columns = table.entry.c
    query = sa.select(columns.identity, columns.created_at, columns.settled_at).where(columns.identity.like("new %"))

    def found() -> list[sa.Row[Any]]:
        with relay.outbox.read() as tx:
            return list(tx.execute(query))

    patience.eventually(lambda: sum(row.settled_at is not None for row in found()) == len(done), within=120, every=1)
    rows = [(done[row.identity], row.created_at, row.settled_at) for row in found()]
    return (
        sorted((entered - at).total_seconds() for at, entered, _ in rows),
        sorted((settled - at).total_seconds() for at, _, settled in rows if settled is not None),
    )


def measured(folder: Path, watch: str, *, beside: bool, loans: int, rate: float, seconds: float) -> None:
    """One relay, and its figures in a line."""
    folder.mkdir()
    settings = {"wal_level": "logical", "synchronous_commit": "on"}
    with (
        postgres.start(folder / "server", settings=settings) as server,
        stand_in.start(stand_in.plain(SandboxConfig(partner="123"))) as kiva,
    ):
        url, outbox = server.create_database("book"), server.create_database("outbox") if beside else ""
        book(url, BOOK)
        at = folder / "relay"
        relay = MeasuredRelay(at, url, kiva=kiva.url, outbox=outbox, hold_for="0s", poll_every="1s", watch=watch)
        (outboxes.migrated(outbox) if beside else outboxes.on_file(at)).close()
        long_history.write(relay.outbox, loans, before=datetime.now(UTC))
        with relay.outbox.begin() as tx:  # of mappings that are there no more: the book is another one
            tx.execute(sa.text("UPDATE captured SET stream = 'old ' || stream"))
        relay.outbox.scrub()  # what the history left in the log is not the relay's to write back
        if watch == "replication":
            relay.watch_setup()
        relay.start()
        try:
            relay.waits_until(lambda: not relay.scanning() and _listed(relay), within=300)
            with relay.outbox.begin() as tx:  # the history has no witness
                for held in hold.in_force(tx):
                    hold.release(tx, held.what, by="the benchmark", note="played", now=datetime.now(UTC))
            time.sleep(5)
            before = relay.seconds()
            entered, settled = followed(relay, work(url, rate=rate, seconds=seconds))
            cost = (relay.seconds() - before) / len(settled)
        finally:
            relay.end()
            relay.outbox.close()
    where = "a server" if beside else "a file"
    print(
        f"{'by the stream' if watch == 'replication' else 'by a poll each 1 s':<20}{where:<10}{loans * 8:>11,}"
        f"{_at(entered, 50):>9.2f}{_at(entered, 99):>8.2f}{_at(settled, 50):>10.2f}{_at(settled, 99):>8.2f}"
        f"{cost * 1000:>10.1f} ms{os.getloadavg()[0]:>8.1f}",
        flush=True,
    )


def _listed(relay: MeasuredRelay) -> bool:
    with relay.outbox.read() as tx:
        last = mirror.last_complete(tx)
    return last is not None and last.started_at.timestamp() > relay.config.stat().st_mtime


def _at(waits: Sequence[float], percent: int) -> float:
    return waits[min(len(waits) * percent // 100, len(waits) - 1)]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, nargs="?", default=SECONDS, help="of work (default %(default)s)")
    parser.add_argument("--loans", type=int, nargs="+", default=[FEW, MANY], help="of the histories (default both)")
    parser.add_argument("--rate", type=float, default=RATE, help="new loans a second (default %(default)s)")
    chosen = parser.parse_args()
    compiled.before_measuring()
    os.environ.setdefault("KIVA_SECRET", "none")
    title = f"{chosen.rate:g} new loans a second"
    print(f"{title:<30}{'entries':>11}{'to entry, s':>17}{'to Kiva, s':>18}{'CPU a loan':>13}{'load':>8}")
    print(f"{'':<41}{'p50':>9}{'p99':>8}{'p50':>10}{'p99':>8}{'bound: p50 1 s':>18}")
    with tempfile.TemporaryDirectory(prefix="kiva-relay-end-to-end-") as name:
        for loans in chosen.loans:
            for watch, beside in _WAYS:
                folder = Path(name) / f"{watch} {beside} {loans}"
                measured(folder, watch, beside=beside, loans=loans, rate=chosen.rate, seconds=chosen.seconds)


if __name__ == "__main__":
    main()
