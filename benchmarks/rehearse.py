"""A large book is rehearsed: all of it sent to a stand-in on this machine, as before a first day.

    .venv/bin/python benchmarks/rehearse.py [LOANS]

On a PostgreSQL out of its wheel, with the relay as a process of its own: how long it takes, and how much memory. How
fast a book is read in is asked of `make bench`. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed.database import postgres
from testbed.rig.measured import MeasuredRelay, book, environment

LOANS = 100_000
MOST = 150
"""MB resident that it may need."""


def rehearse(relay: MeasuredRelay) -> None:
    """Send the whole of it to a stand-in on this machine, as before a first day."""
    began = time.monotonic()
    command = [sys.executable, "-m", "kiva_relay", "rehearse", "--config", str(relay.config)]
    process = subprocess.Popen(command, env=environment())
    _, code, used = os.wait4(process.pid, 0)
    seconds = used.ru_utime + used.ru_stime
    print(f"rehearsed in {time.monotonic() - began:.0f} s, {seconds:.0f} s of processor time, exit code {code >> 8}")
    print(f"at most {used.ru_maxrss / 1024:.0f} MB resident (may be {MOST})")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loans", type=int, nargs="?", default=LOANS, help="(default %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kiva-relay-rehearse-") as name:
        folder = Path(name)
        with postgres.start(folder / "server") as server:
            url = server.create_database("book")
            book(url, chosen.loans)
            rehearse(MeasuredRelay(folder / "relay", url, since="all"))


if __name__ == "__main__":
    main()
