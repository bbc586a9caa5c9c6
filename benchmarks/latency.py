"""How long after its commit a change of the MIS is an entry of the outbox, and what it costs: by stream and by polling.

    .venv/bin/python benchmarks/latency.py [SECONDS] [CHANGES A SECOND ...]

One MIS, one writer, two relays as they are run in earnest, each with an outbox of its own, at the same time. An entry
counts when another process can read it. First nobody writes: what does a relay cost that has nothing to do? The figures
of processor time are the relay's own, so they say the same on a busy machine. Nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from testbed.database import postgres
from testbed.rig import compiled, patience

LOANS = 500
SECONDS = 30.0
RATES = (5.0, 20.0, 50.0, 200.0)
POLL_EVERY = 1
IDLE_POLL_EVERY = 10
"""Seconds, as it is by default."""
_LOOK_EVERY = 0.002
_PATIENCE = 30.0

TABLES = f"""
CREATE TABLE client (id int PRIMARY KEY, first_name text, last_name text);
CREATE TABLE loan (id int PRIMARY KEY, account text, client_id int, amount numeric(12, 2), disbursed date,
    activity int);
CREATE TABLE instalment (loan_id int, number int, due date, principal numeric(12, 2), interest numeric(12, 2),
    PRIMARY KEY (loan_id, number));
INSERT INTO client SELECT n, 'Awa', 'Diop' FROM generate_series(1, {LOANS}) n;
INSERT INTO loan SELECT n, 'L' || n, n, 1200, current_date, 1 FROM generate_series(1, {LOANS}) n;
INSERT INTO instalment SELECT n, i, current_date + 30 * i, 100, 10
    FROM generate_series(1, {LOANS}) n, generate_series(1, 12) i;
"""

MAPPING = """\
resource: loan_draft
identity: account
source: {table: loan, key: id}
relations:
  client: {table: client, match: {id: client_id}}
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: number}
fields:
  entreps:
    - {loan_id: account, client_id: client_id, first_name: client.first_name, last_name: client.last_name,
       gender: {text: female}, amount: amount}
  currency: {text: XOF}
  location: {text: "Dakar: Senegal"}
  activity_id: activity
  disburse_time: disbursed
  schedule: {each: schedule, do: {date: due, principal: principal, interest: interest}}
left_to_the_coordinator: [description, loanuse, image_encoded, client_waiver_signed]
"""

CONFIG = """\
kiva: {{environment: sandbox, partner_id: 1, client_id: a, client_secret: {{env: KIVA_SECRET}}, send: false,
       token_url: "http://127.0.0.1:9/token", api_url: "http://127.0.0.1:9"}}
mis: {{url: "{url}", timezone: UTC, watch: {watch}, poll_every: {poll}s}}
mappings: {mappings}
resources: [loan_draft]
outbox: {{url: "sqlite:///{outbox}"}}
loan_drafts: {{since: all}}
journals: {{since: all}}
delivery: {{brake: 100000}}
metrics: {{listen: "off"}}
"""


@dataclass
class Observed:
    """One relay: its folder, and when each change was first seen in its outbox."""

    name: str
    watch: str
    folder: Path
    poll_every: int = POLL_EVERY
    seen: dict[str, float] = field(default_factory=dict)
    pid: int = 0

    @property
    def outbox(self) -> Path:
        """Its outbox."""
        return self.folder / "outbox.db"

    def look(self, stop: threading.Event) -> None:
        """Read new entries until told to stop."""
        with contextlib.closing(sqlite3.connect(self.outbox, isolation_level=None)) as outbox:
            last = 0
            while not stop.wait(_LOOK_EVERY):
                for number, body in outbox.execute("SELECT id, body FROM entry WHERE id > ? ORDER BY id", [last]):
                    last = number
                    name = (body or "").partition('"first_name":"')[2].partition('"')[0]
                    self.seen.setdefault(name, time.monotonic())

    def cpu(self) -> float:
        """Seconds of processor time that it took so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def wakes(self) -> int:
        """How often its threads woke so far, since each of them began."""
        statuses = (file.read_text(encoding="ascii") for file in Path(f"/proc/{self.pid}/task").glob("*/status"))
        return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in statuses)


@contextlib.contextmanager
def running(one: Observed, url: str, mappings: Path) -> Iterator[None]:
    """The relay as a process."""
    one.folder.mkdir()
    config = one.folder / "config.yaml"
    config.write_text(
        CONFIG.format(url=url, watch=one.watch, poll=one.poll_every, mappings=mappings, outbox=one.outbox),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "kiva_relay"]
    if one.watch == "replication":
        subprocess.run(
            [*command, "watch", "setup", "--apply", "--config", str(config)], check=True, stdout=subprocess.DEVNULL
        )
    with (one.folder / "log").open("w") as log:
        process = subprocess.Popen([*command, "run", "--config", str(config)], stdout=log, stderr=log)
        one.pid = process.pid
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def settled(one: Observed) -> bool:
    """Whether the book was read, and the stream is all that is listened to."""
    if not one.outbox.exists():
        return False
    with contextlib.closing(sqlite3.connect(one.outbox)) as outbox:
        if outbox.execute("SELECT 1 FROM sqlite_master WHERE name = 'watermark'").fetchone() is None:
            return False
        row = outbox.execute("SELECT mode, scan FROM watermark").fetchone()
    return row is not None and row[1] is None and (row[0] == "replication") == (one.watch == "replication")


def write(url: str, seconds: float, rate: float) -> dict[str, float]:
    """Change a loan's client, so many times a second; when each commit had returned."""
    dice, done = random.Random(1), {}
    with psycopg.connect(url, autocommit=True) as teller:
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            time.sleep(max(began + number / rate - time.monotonic(), 0))
            name = f"Awa {rate:g}/{number}"
            teller.execute("UPDATE client SET first_name = %s WHERE id = %s", [name, dice.randint(1, LOANS)])
            done[name] = time.monotonic()
    return done


def told(one: Observed, done: dict[str, float], cpu: float) -> str:
    """Its latencies in a line, and what a change cost it."""
    waits = sorted(max(one.seen[name] - at, 0.0) for name, at in done.items() if name in one.seen)
    at = {share: waits[min(int(len(waits) * share), len(waits) - 1)] * 1000 for share in (0.5, 0.9, 0.99)}
    skipped = len(done) - len(waits)
    return (
        f"{one.name:<28}{at[0.5]:>10.1f}{at[0.9]:>10.1f}{at[0.99]:>10.1f}{waits[-1] * 1000:>10.1f}"
        f"{len(waits):>9,}{skipped:>12,}{cpu / len(done) * 1000:>14.1f}"
    )


def main() -> None:
    """Measure, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    rates = [float(rate) for rate in sys.argv[2:]] or RATES
    os.environ.setdefault("KIVA_SECRET", "none")
    compiled.before_measuring()
    folder = Path(tempfile.mkdtemp())
    try:
        mappings = folder / "mappings"
        mappings.mkdir()
        (mappings / "loan_draft.yaml").write_text(MAPPING, encoding="utf-8")
        with postgres.start(folder / "postgres", settings={"wal_level": "logical"}) as server:
            url = server.create_database("benchmark")
            with psycopg.connect(url) as connection:
                connection.execute(TABLES)
            with relays(folder, url, mappings, poll_every=IDLE_POLL_EVERY) as idle:
                _idle(idle, 2 * max(seconds, IDLE_POLL_EVERY))
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            with relays(folder, url, mappings, poll_every=POLL_EVERY) as busy:
                for rate in rates:
                    _measure(busy, url, seconds, rate)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def relays(folder: Path, url: str, mappings: Path, *, poll_every: int) -> Iterator[list[Observed]]:
    """Both of them, once they have read the book."""
    one = Observed("by the stream", "replication", folder / f"stream {poll_every}", poll_every)
    other = Observed(f"by polling every {poll_every} s", "poll", folder / f"poll {poll_every}", poll_every)
    with running(one, url, mappings), running(other, url, mappings):
        patience.eventually(lambda: settled(one) and settled(other), within=120)
        yield [one, other]


def _idle(relays: list[Observed], seconds: float) -> None:
    time.sleep(2)
    before = [(one.cpu(), one.wakes()) for one in relays]
    time.sleep(seconds)
    for one, (cpu, wakes) in zip(relays, before, strict=True):
        share, woke = (one.cpu() - cpu) / seconds, (one.wakes() - wakes) / seconds
        print(f"{one.name:<28} nothing to do: {share:.2%} of a core, threads woke {woke:.1f} times a second")


def _measure(relays: list[Observed], url: str, seconds: float, rate: float) -> None:
    stop = threading.Event()
    lookers = [threading.Thread(target=one.look, args=(stop,)) for one in relays]
    for looker in lookers:
        looker.start()
    time.sleep(1)
    before = [one.cpu() for one in relays]
    done = write(url, seconds, rate)
    last = set([*done][-10:])
    until = time.monotonic() + _PATIENCE
    while not all(last & one.seen.keys() for one in relays) and time.monotonic() < until:
        time.sleep(0.1)
    cost = [one.cpu() - cpu for one, cpu in zip(relays, before, strict=True)]
    stop.set()
    for looker in lookers:
        looker.join()
    for one in relays:
        assert last & one.seen.keys(), f"{one.name} saw none of the last changes"
    load = os.getloadavg()[0]
    print(f"{len(done):,} changes at {rate:g} a second, machine load {load:.1f} on {os.cpu_count()} cores")
    columns = ("p50", "p90", "p99", "worst")
    print(
        f"{'commit to entry, ms':<28}{''.join(f'{each:>10}' for each in columns)}"
        f"{'seen':>9}{'overwritten':>12}{'CPU a change':>14}"
    )
    for one, cpu in zip(relays, cost, strict=True):
        print(told(one, done, cpu))


if __name__ == "__main__":
    main()
