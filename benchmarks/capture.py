"""How much of the MIS's time capture takes under `mis.max_load`, where there is always something to read.

On a PostgreSQL out of its wheel, with the daemon as a process of its own: every active loan is stamped at once while an
old transaction keeps the watermark where it is. How much of the time is the MIS busy for us, by our own clock and by
the server's?
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from testbed.database import postgres
from testbed.rig import compiled
from testbed.rig.measured import MeasuredRelay, book

_IN_MEMORY = Path("/dev/shm")

_LOOKS = 5
"""At least so many are measured."""


def pinned(server: postgres.PostgresServer, folder: Path, *, loans: int, max_load: int, seconds: float) -> None:
    """Stamp, and look."""
    url = server.create_database("pinned")
    book(url, loans)
    with psycopg.connect(url, autocommit=True) as teller, psycopg.connect(url) as old:
        relay = MeasuredRelay(folder / "pinned", url, max_load=max_load)
        relay.start()
        try:
            relay.waits_until(lambda: not relay.scanning())
            old.execute("SELECT pg_current_xact_id()")
            teller.execute("UPDATE loan SET changed = now()")
            share, looks, span = _looks(relay, seconds)
            servers = _active(teller)
            _say(
                f"{loans:,} loans stamped at once, an old transaction open, max_load {max_load} %: {looks} looks in"
                f" {span:.0f} s kept the MIS busy {100 * share:.1f} % of the time, by our clock, which counts our own"
                f" work on the rows, too; since the start {servers:.1f} s by the server's"
            )
        finally:
            relay.end()
            relay.outbox.close()


def _looks(relay: MeasuredRelay, seconds: float) -> tuple[float, int, float]:
    """From the end of one look to the end of a later one: the share of the time, how many looks, the time."""
    ends: list[tuple[float, float]] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(ends) < _LOOKS:
        busy = relay.busy()
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


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-capture-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamped", type=int, default=6_000, help="loans (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long it is looked at (default %(default)s)")
    parser.add_argument("--max-load", type=int, default=5, help="in percent (default %(default)s)")
    chosen = parser.parse_args()
    compiled.before_measuring()
    with _folder() as folder, postgres.start(folder / "server") as server:
        pinned(server, folder, loans=chosen.stamped, max_load=chosen.max_load, seconds=chosen.seconds)


if __name__ == "__main__":
    main()
