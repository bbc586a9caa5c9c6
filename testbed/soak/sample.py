"""What a relay holds at one moment, as the kernel, its files and the MIS say it."""

from __future__ import annotations

import csv
import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.outbox import table
from kiva_relay.outbox.database import Outbox
from testbed.rig import patience

_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
_OURS = "kiva-relay%"
_SIZE = sa.select(sa.func.pg_database_size(sa.func.current_database()))
_KEPT = "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)) FROM pg_replication_slots WHERE database = current_database()"
_BLOCK = 1 << 16
_TURNS = re.compile(r'^kiva_relay_loop_turns_total\{ended="(\w+)",loop="(\w+)"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """`at` in seconds of the monotonic clock; memory, files and log in bytes; what is counted (`entries`,
    `calls` to Kiva, `lines` of log, `changes` of the MIS) is counted since the start. `connections` are those at the
    MIS, `of_outbox` those at the outbox's server; `kept` is what the MIS's server keeps of its log for a stream.
    """

    at: float
    resident: int
    private: int
    descriptors: int
    threads: int
    wal: int
    outbox: int
    entries: int
    calls: int
    connections: int
    of_outbox: int
    kept: int
    lines: int
    log: int
    changes: int


def write(samples: Sequence[Sample], path: Path) -> None:
    """All of them as CSV, for a look at how something grew."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, [each.name for each in fields(Sample)])
        rows.writeheader()
        rows.writerows(map(asdict, samples))


class Sampler:
    """Looks at the relay of process `pid`, whose log and outbox are files, and whose `metrics` are at a URL.

    `turns` counts how often each of its loops did its work, by its name and how that ended.
    """

    def __init__(self, pid: int, *, outbox: Outbox, log: Path, mis: psycopg.Connection[Any], metrics: str) -> None:
        self._process, self._outbox, self._log, self._mis = Path(f"/proc/{pid}"), outbox, log, mis
        self._metrics = metrics
        self._read = self._lines = 0
        self.turns: dict[tuple[str, str], int] = {}

    def take(self, changes: int) -> Sample:
        """A sample; the MIS had so many changes."""
        self._read_on()
        with self._outbox.read() as tx:
            entries, calls = (_rows(tx, each) for each in (table.entry, table.attempt))
            size, of_outbox = (
                self._of_a_server(tx) if not self._outbox.is_file else (self._outbox.path.stat().st_size, 0)
            )
        memory = self._fields("smaps_rollup")
        connections, kept = (self._asked(_CONNECTIONS, _OURS), self._asked(_KEPT))
        sample = Sample(
            time.monotonic(),
            resident=memory["Rss"] * 1024,
            private=(memory["Private_Clean"] + memory["Private_Dirty"]) * 1024,
            descriptors=sum(1 for _ in (self._process / "fd").iterdir()),
            threads=self._fields("status")["Threads"],
            wal=self.wal(),
            outbox=size,
            entries=entries,
            calls=calls,
            connections=connections,
            of_outbox=of_outbox,
            kept=kept,
            lines=self._lines,
            log=self._read,
            changes=changes,
        )
        self._scrape()
        return sample

    def wal(self) -> int:
        """Bytes of a file's write-ahead log."""
        if not self._outbox.is_file:
            return 0
        try:
            return self._outbox.path.with_name(f"{self._outbox.path.name}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _asked(self, statement: str, *parameters: str) -> int:
        row = self._mis.execute(statement.encode(), parameters or None).fetchone()
        return int(row[0] or 0) if row else 0

    def _of_a_server(self, tx: sa.Connection) -> tuple[int, int]:
        """How large it is there, and how many connections the relay has; one more is ours."""
        size = int(tx.execute(_SIZE).scalar_one())
        held = int(tx.execute(sa.text(_CONNECTIONS.replace("%s", ":ours")), {"ours": _OURS}).scalar_one())
        return size, held

    def _scrape(self) -> None:
        """Ask as Prometheus does, after the sample: the answer has a thread and a descriptor of its own."""
        with urllib.request.urlopen(self._metrics, timeout=patience.seconds(10)) as page:
            text = page.read().decode()
        self.turns = {(loop, ended): int(float(turns)) for ended, loop, turns in _TURNS.findall(text)}

    def _fields(self, name: str) -> dict[str, int]:
        """The lines `Name:  number …` of a file of /proc."""
        words = (line.split() for line in (self._process / name).read_text("ascii", "replace").splitlines())
        return {each[0].rstrip(":"): int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}

    def _read_on(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._read)
            while block := file.read(_BLOCK):
                self._read += len(block)
                self._lines += block.count(b"\n")


def _rows(tx: sa.Connection, of: sa.Table) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(of)).scalar_one())
