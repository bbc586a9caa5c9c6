"""What capture costs: the MIS's time under `mis.max_load`, and a backfill's rate and memory, killed on its way.

On a PostgreSQL out of its wheel, with the daemon as a process of its own:

1. Every active loan is stamped at once while an old transaction keeps the watermark where it is. How much of the time
   is the MIS busy for us, by our own clock and by the server's?
2. Loans are corrected, so many a second. How long after its commit is a correction an entry of the outbox?
3. A book with schedules is read in, and the relay killed with -9 on its way. How many rows a second, how much memory,
   and does it go on where it was?
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import scan, table, watermark
from kiva_relay.outbox.database import Outbox
from testbed.database import postgres

_IN_MEMORY = Path("/dev/shm")

_LOOKS = 5
"""At least so many are measured."""

TABLES = """
CREATE TABLE client (id bigint PRIMARY KEY, name text, changed timestamptz);
CREATE TABLE loan (id bigint PRIMARY KEY, account text, client_id bigint, status int, amount numeric(12, 2),
                   disbursed date, created timestamptz, changed timestamptz);
CREATE TABLE instalment (loan_id bigint, number int, due date, principal numeric(12, 2), changed timestamptz);
INSERT INTO client SELECT n, 'Client ' || n, now() FROM generate_series(1, {loans}) n;
INSERT INTO loan SELECT n, lpad(n::text, 9, '0'), n, 300, 400, current_date, now(), now()
    FROM generate_series(1, {loans}) n;
INSERT INTO instalment SELECT n, i, current_date + 30 * i, 100, now()
    FROM generate_series(1, {loans}) n, generate_series(1, 4) i;
CREATE INDEX ON instalment (loan_id);
ANALYZE
"""
MAPPING = """\
resource: loan_draft
identity: account
source: {table: loan, key: id, changed_at: changed, created_at: created, where: status = 300}
relations:
  client: {table: client, match: {id: client_id}, changed_at: changed}
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: number, changed_at: changed}
fields:
  entreps: [{client_id: client_id, loan_id: account, first_name: client.name, amount: amount}]
  currency: "'XOF'"
  disburse_time: disbursed
  schedule: {each: schedule, do: {date: due, principal: principal, interest: 0}}
"""


class Context:
    """A MIS of so many loans, and a relay in front of it."""

    def __init__(self, folder: Path, mis: str, *, max_load: int, since: str = "first_start") -> None:
        folder.mkdir()
        (folder / "mappings").mkdir()
        (folder / "mappings" / "loan_draft.yaml").write_text(MAPPING, encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        nowhere = "http://127.0.0.1:9"
        kiva = {
            "environment": "sandbox",
            "partner_id": "1",
            "client_id": "context",
            "client_secret": {"env": "KIVA_SECRET"},
        }
        settings = {
            "kiva": {**kiva, "token_url": nowhere, "api_url": nowhere, "send": False},
            "mis": {"url": mis, "timezone": "UTC", "poll_every": "1s", "max_load": max_load, "sweep_at": _far_away()},
            "mappings": str(folder / "mappings"),
            "outbox": {"url": f"sqlite:///{folder}/outbox.db"},
            "loan_drafts": {"since": since},
            "delivery": {"brake": 100_000},
            "journals": {"since": "first_start"},
            "metrics": {"listen": f"127.0.0.1:{self.port}"},
        }
        self.config, self.log = folder / "config.yaml", folder / "relay.log"
        self.config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        self.config.chmod(0o600)
        self.outbox = Outbox(f"sqlite:///{folder}/outbox.db")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a relay."""
        command = [sys.executable, "-m", "kiva_relay", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "KIVA_SECRET": "x"})

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def memory(self) -> float:
        """The most that it ever had resident, in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def busy(self) -> float:
        """For how many seconds it kept the MIS at work."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("kiva_relay_mis_query_seconds_total"))

    def progress(self) -> scan.ScanProgress | None:
        """How far the scan is."""
        with contextlib.suppress(errors.OutboxAway), self.outbox.read() as tx:
            return scan.of(tx, "loan_draft")
        return None

    def scanning(self) -> bool:
        """Whether there is a scan under way, or was none yet."""
        with contextlib.suppress(errors.OutboxAway), self.outbox.read() as tx:
            marks = watermark.watermarks(tx)
            return not marks or any(mark.scan is not None for mark in marks.values())
        return True


def _far_away() -> str:
    return f"{(datetime.now(UTC).hour + 12) % 24:02d}:00"


def pinned(server: postgres.PostgresServer, folder: Path, *, loans: int, max_load: int, seconds: float) -> None:
    """The first measurement."""
    url = server.create_database("pinned")
    with psycopg.connect(url, autocommit=True) as teller, psycopg.connect(url) as old:
        for sql in TABLES.format(loans=loans).split(";"):
            teller.execute(sql)
        context = Context(folder / "pinned", url, max_load=max_load)
        context.start()
        try:
            _wait(lambda: not context.scanning(), context)
            old.execute("SELECT pg_current_xact_id()")
            teller.execute("UPDATE loan SET changed = now()")
            share, looks, span = _looks(context, seconds)
            servers = _active(teller)
            _say(
                f"{loans:,} loans stamped at once, an old transaction open, max_load {max_load} %: {looks} looks in"
                f" {span:.0f} s kept the MIS busy {100 * share:.1f} % of the time, by our clock, which counts our own"
                f" work on the rows, too; since the start {servers:.1f} s by the server's"
            )
        finally:
            context.end()
            context.outbox.close()


def _looks(context: Context, seconds: float) -> tuple[float, int, float]:
    """From the end of one look to the end of a later one: the share of the time, how many looks, the time."""
    ends: list[tuple[float, float]] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(ends) < _LOOKS:
        busy = context.busy()
        if not ends or busy != ends[-1][1]:
            ends.append((time.monotonic(), busy))
        time.sleep(0.1)
    (first, before), (last, after) = ends[1], ends[-1]
    return (after - before) / (last - first), len(ends) - 2, last - first


def _active(teller: psycopg.Connection[tuple[object, ...]]) -> float:
    """Seconds for which sessions of this database were at work, by the server's count; ours of this teller aside."""
    teller.execute("SELECT pg_stat_clear_snapshot()")
    row = teller.execute("SELECT active_time FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return float(str(row[0])) / 1000 if row else 0.0


def backfill(server: postgres.PostgresServer, folder: Path, *, loans: int, kills: int) -> None:
    """The third measurement."""
    url = server.create_database("backfill")
    with psycopg.connect(url, autocommit=True) as teller:
        for sql in TABLES.format(loans=loans).split(";"):
            teller.execute(sql)
    context = Context(folder / "backfill", url, max_load=100)
    began, most, lost = time.monotonic(), 0.0, 0
    context.start()
    try:
        for number in range(1, kills + 1):
            _wait(lambda number=number: _share(context) >= number / (kills + 1), context)
            most = max(most, context.memory())
            context.end(signal.SIGKILL)
            before = context.progress()
            context.start()
            _wait(lambda before=before: context.progress() != before, context)
            after = context.progress()
            lost += after is None or before is None or after.done < before.done
        while context.scanning():
            most = max(most, context.memory())
            time.sleep(0.5)
        span = time.monotonic() - began
        with context.outbox.read() as tx:
            known, found = watermark.counted(tx).get("loan_draft", 0), scan.of(tx, "loan_draft")
        done = 0 if found is None else found.done
        _say(
            f"backfill of {loans:,} loans with {4 * loans:,} instalments: {span:.0f} s, {loans / span:,.0f} a second,"
            f" at most {most:.0f} MB resident; killed {kills} times, began anew {lost} times;"
            f" {done:,} rows read, {known:,} known in the end"
        )
    finally:
        context.end()
        context.outbox.close()


def latency(server: postgres.PostgresServer, folder: Path, *, rate: float, seconds: float) -> None:
    """The second measurement."""
    url, loans = server.create_database("latency"), 2_000
    with psycopg.connect(url, autocommit=True) as teller:
        for sql in TABLES.format(loans=loans).split(";"):
            teller.execute(sql)
        context = Context(folder / "latency", url, max_load=100, since="all")
        context.start()
        try:
            _wait(lambda: not context.scanning(), context)
            committed: dict[str, float] = {}
            began = time.monotonic()
            while (passed := time.monotonic() - began) < seconds:
                number = len(committed) + 1
                with teller.transaction():
                    teller.execute(
                        "UPDATE instalment SET principal = %s WHERE loan_id = %s", [number, number % loans + 1]
                    )
                    teller.execute(
                        "UPDATE loan SET amount = %s, changed = now() WHERE id = %s", [4 * number, number % loans + 1]
                    )
                committed[str(4 * number)] = time.time()
                time.sleep(max(number / rate - passed, 0))
            time.sleep(3)
            with context.outbox.read() as tx:
                rows = tx.execute(
                    sa.select(table.entry.c.amount, table.entry.c.created_at).order_by(table.entry.c.id.desc())
                )
                entered = {str(int(float(amount))): created.timestamp() for amount, created in rows}
            late = sorted(entered[amount] - at for amount, at in committed.items() if amount in entered)
            _say(
                f"{len(committed) / seconds:.0f} corrections a second, mis.poll_every 1s: from commit to entry"
                f" p50 {late[len(late) // 2]:.2f} s, p99 {late[len(late) * 99 // 100]:.2f} s"
                f" ({len(late):,} of {len(committed):,}; of the others a newer one was read)"
            )
        finally:
            context.end()
            context.outbox.close()


def _share(context: Context) -> float:
    progress = context.progress()
    return 0.0 if progress is None else progress.done / max(progress.total, 1)


def _wait(question: object, context: Context) -> None:
    while not question():  # type: ignore[operator]
        if context.process is None or context.process.poll() is not None:
            sys.exit(f"The relay ended by itself; see {context.log}")
        time.sleep(0.2)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-capture-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def main() -> None:
    """Measure them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamped", type=int, default=6_000, help="loans of the first (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long it is looked at (default %(default)s)")
    parser.add_argument("--max-load", type=int, default=5, help="in percent (default %(default)s)")
    parser.add_argument("--rate", type=float, default=50, help="corrections a second (default %(default)s)")
    parser.add_argument("--loans", type=int, default=20_000, help="of the backfill; 1000000 (default %(default)s)")
    parser.add_argument("--kills", type=int, default=2, help="during the backfill (default %(default)s)")
    chosen = parser.parse_args()
    with _folder() as folder, postgres.start(folder / "server") as server:
        pinned(server, folder, loans=chosen.stamped, max_load=chosen.max_load, seconds=chosen.seconds)
        latency(server, folder, rate=chosen.rate, seconds=chosen.seconds)
        backfill(server, folder, loans=chosen.loans, kills=chosen.kills)


if __name__ == "__main__":
    main()
