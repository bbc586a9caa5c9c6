"""A book is read in as fast as it can be, and the relay killed on its way; then the same book is rehearsed.

    .venv/bin/python benchmarks/read_in.py [LOANS] [--rehearse]

On a PostgreSQL out of its wheel, with the relay as a process of its own: `mis.max_load: 100`, three kills with -9. How
many rows a second, how much memory, and does it go on where it was? Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kiva_relay.outbox import scan, watermark
from testbed.database import postgres
from testbed.rig import compiled
from testbed.rig.measured import MeasuredRelay, book, environment

LOANS = 100_000
KILLS = 3
MOST = 150
"""MB resident that the relay may need."""
_FOREVER = 24 * 3600.0


def read_in(relay: MeasuredRelay, loans: int) -> None:
    """Read the book, and say what it took."""
    began, most, lost = time.monotonic(), 0.0, 0
    relay.start()
    try:
        for number in range(1, KILLS + 1):
            relay.waits_until(lambda number=number: _share(relay) >= number / (KILLS + 1), within=_FOREVER)
            most = max(most, relay.peak())
            relay.end(signal.SIGKILL)
            before = relay.progress()
            relay.start()
            relay.waits_until(lambda before=before: relay.progress() != before, within=_FOREVER)
            after = relay.progress()
            lost += after is None or before is None or after.done < before.done
        relay.waits_until(lambda: not relay.scanning(), within=_FOREVER)
        most = max(most, relay.peak())
        span = time.monotonic() - began
        with relay.outbox.read() as tx:
            known, found = watermark.counted(tx).get("loan_draft", 0), scan.of(tx, "loan_draft")
    finally:
        relay.end()
        relay.outbox.close()
    print(f"{loans:,} loans with {4 * loans:,} instalments: {span:.0f} s, {loans / span:,.0f} a second")
    print(f"at most {most:.0f} MB resident (may be {MOST}); killed {KILLS} times, began anew {lost} times")
    print(f"{0 if found is None else found.done:,} rows read, {known:,} known in the end")


def rehearse(relay: MeasuredRelay) -> None:
    """Send the whole of it to a stand-in on this machine, as an administrator does before the first day."""
    began = time.monotonic()
    command = [sys.executable, "-m", "kiva_relay", "rehearse", "--config", str(relay.config)]
    process = subprocess.Popen(command, env=environment())
    _, code, used = os.wait4(process.pid, 0)
    seconds = used.ru_utime + used.ru_stime
    print(f"rehearsed in {time.monotonic() - began:.0f} s, {seconds:.0f} s of processor time, exit code {code >> 8}")
    print(f"at most {used.ru_maxrss / 1024:.0f} MB resident (may be {MOST})")


def _share(relay: MeasuredRelay) -> float:
    progress = relay.progress()
    return 0.0 if progress is None else progress.done / max(progress.total, 1)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loans", type=int, nargs="?", default=LOANS, help="(default %(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="rehearse it instead")
    chosen = parser.parse_args()
    compiled.before_measuring()
    with tempfile.TemporaryDirectory(prefix="kiva-relay-read-in-") as name:
        folder = Path(name)
        with postgres.start(folder / "server") as server:
            url = server.create_database("book")
            book(url, chosen.loans)
            relay = MeasuredRelay(folder / "relay", url, since="all" if chosen.rehearse else "first_start")
            if chosen.rehearse:
                rehearse(relay)
            else:
                read_in(relay, chosen.loans)


if __name__ == "__main__":
    main()
