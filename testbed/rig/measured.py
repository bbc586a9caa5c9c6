"""A MIS on PostgreSQL with a large book, a relay before it as a process of its own, and what that process costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from kiva_relay import errors
from kiva_relay.outbox import heartbeat, scan, watermark
from kiva_relay.outbox.database import Outbox
from testbed.rig.patience import USUAL, eventually

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
"""A book without an index on its stamps."""

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
NOWHERE = "http://127.0.0.1:9"


def book(url: str, loans: int) -> None:
    """Write it."""
    with psycopg.connect(url, autocommit=True) as teller:
        for sql in TABLES.format(loans=loans).split(";"):
            teller.execute(sql)


def environment() -> dict[str, str]:
    """That of the processes that are measured."""
    return {**os.environ, "KIVA_SECRET": "x"}


@dataclass(frozen=True)
class Ready:
    """What a relay had used when it was ready: seconds of processor time, and MB resident at most."""

    seconds: float
    peak: float


class MeasuredRelay:
    """A relay before a book; it sends nothing unless `kiva` says otherwise. `changes` are to its settings of the MIS."""

    def __init__(
        self,
        folder: Path,
        mis: str,
        *,
        max_load: int = 100,
        since: str = "first_start",
        kiva: str = NOWHERE,
        outbox: str = "",
        hold_for: str = "15m",
        **changes: object,
    ) -> None:
        folder.mkdir()
        (folder / "mappings").mkdir()
        (folder / "mappings" / "loan_draft.yaml").write_text(MAPPING, encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        url = outbox or f"sqlite:///{folder}/outbox.db"
        settings: Mapping[str, Any] = {
            "kiva": {
                "environment": "sandbox",
                "partner_id": "123",
                "client_id": "measured",
                "client_secret": {"env": "KIVA_SECRET"},
                "token_url": f"{kiva}/oauth/token",
                "api_url": kiva,
                "send": kiva != NOWHERE,
            },
            "mis": {
                "url": mis,
                "timezone": "UTC",
                "poll_every": "1s",
                "max_load": max_load,
                "sweep_at": _far_away(),
                **changes,
            },
            "mappings": str(folder / "mappings"),
            "outbox": {"url": url, "witness": str(folder / "witness.log")},
            "loan_drafts": {"since": since},
            "delivery": {"brake": 100_000, "hold_for": hold_for},
            "journals": {"since": "first_start"},
            "metrics": {"listen": f"127.0.0.1:{self.port}"},
        }
        self.config, self.log = folder / "config.yaml", folder / "relay.log"
        self.config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        self.config.chmod(0o600)
        self.outbox = Outbox(url)
        self.process: subprocess.Popen[bytes] | None = None
        self._at_ready: Ready | None = None

    def start(self) -> None:
        """Begin a relay."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(f"\0kiva-relay-measured-{self.port}")
        told = {"NOTIFY_SOCKET": f"@kiva-relay-measured-{self.port}"}
        self._at_ready = None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._typed("run"), stdout=log, stderr=log, env=environment() | told)
        threading.Thread(target=self._hear, args=[manager], daemon=True).start()

    def _hear(self, manager: socket.socket) -> None:
        """Look at it in the moment in which it says that it is ready: a little later its jobs are at work."""
        with manager, contextlib.suppress(OSError):  # it may have ended before we look
            while b"READY=1" not in manager.recv(4096):
                pass
            self._at_ready = Ready(self.seconds(), self.peak())

    def watch_setup(self) -> None:
        """Make the MIS's stream, as an administrator does."""
        typed = self._typed("watch", "setup", "--apply")
        subprocess.run(typed, check=True, env=environment(), stdout=subprocess.DEVNULL)

    def _typed(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "kiva_relay", *words, "--config", str(self.config)]

    def ready(self) -> Ready:
        """Wait until it says so: what it had used by then; SystemExit when it ended by itself."""
        self.waits_until(lambda: self._at_ready)
        assert self._at_ready is not None
        return self._at_ready

    def waits_until(self, question: Any, *, within: float = USUAL) -> None:
        """Wait for an answer that is true; SystemExit when the relay ended by itself."""

        def asked() -> bool:
            if self.process is None or self.process.poll() is not None:
                sys.exit(f"The relay ended by itself; see {self.log}")
            return bool(question())

        eventually(asked, within=within, every=0.2)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def peak(self) -> float:
        """The most that it ever had resident, in MB."""
        return self._status("VmHWM") / 1024

    def resident(self) -> float:
        """What it has resident now, in MB."""
        return self._status("VmRSS") / 1024

    def seconds(self) -> float:
        """Seconds of processor time that it has used."""
        assert self.process is not None
        words = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def switches(self) -> int:
        """How often its threads have gone to sleep: each time something had woken one of them."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        return sum(int(task.read_text("ascii").partition("voluntary_ctxt_switches:")[2].split()[0]) for task in tasks)

    def libraries(self) -> str:
        """What the kernel has mapped for it: the names of its files."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/maps").read_text()

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

    def has_run(self, *jobs: str) -> bool:
        """Has the work of each of these jobs ended at least once since it started?"""
        with contextlib.suppress(errors.OutboxAway), self.outbox.read() as tx:
            beat = heartbeat.read(tx)
            return beat is not None and {*jobs} <= {job.name for job in beat.jobs if job.last_run is not None}
        return False

    def _status(self, name: str) -> int:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(text.partition(f"{name}:")[2].split()[0])


def _far_away() -> str:
    return f"{(datetime.now(UTC).hour + 12) % 24:02d}:00"
