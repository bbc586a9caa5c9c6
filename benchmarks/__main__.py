"""What the relay costs, side by side with what one would use instead, in one run.

    make bench                                   all of it
    .venv/bin/python -m benchmarks --only drafts,faults
    .venv/bin/python -m benchmarks --short       small, and only to see whether the result is right
    .venv/bin/python -m benchmarks --json figures.json --pages docs
    .venv/bin/python -m benchmarks --from figures.json --pages docs

One book, one sink, one machine. The peers get environments of their own, made when they are first needed; what cannot
be had is said, and the rest runs. Exit 1: something of ours was sent twice or lost. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import backfill, drafts, faults, latency, life, page, positions, sent, stages
from benchmarks.bench import Bench, disk, where
from benchmarks.environment import NAMES
from benchmarks.figure import Figures
from benchmarks.limit import today
from benchmarks.served import served
from kiva_relay import log
from testbed.database import postgres
from testbed.rig import compiled

PARTS: Mapping[str, Callable[[Bench], None]] = {
    "drafts": drafts.measure,
    "positions": positions.measure,
    "faults": faults.measure,
    "backfill": backfill.measure,
    "latency": latency.measure,
    "life": life.measure,
    "stages": stages.measure,
}
LOANS, LARGE, SHORT = 20_000, 100_000, 2_000
ROUNDS = 3
_SETTINGS = {"wal_level": "logical", "fsync": "on", "synchronous_commit": "on", "max_replication_slots": "20"}
"""A server that keeps what it was told: a plain script's table `sent` has to cost what it costs."""


def chosen() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by comma (default all)")
    parser.add_argument("--short", action="store_true", help="small; with --peers none it needs nothing but .venv")
    parser.add_argument("--peers", default=",".join(NAMES), help=f"by comma, of {', '.join(NAMES)}; or none")
    parser.add_argument("--loans", type=int, default=LOANS, help="of the book (default %(default)s)")
    parser.add_argument("--large", type=int, default=LARGE, help="of the large book; 0: none (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the middle counts (default %(default)s)")
    parser.add_argument("--folder", default="", help="on the disk to measure on (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--from", type=Path, dest="earlier", help="measure nothing; take the figures of this file")
    parser.add_argument("--pages", type=Path, help="write benchmarks.md and its plots in this folder anew")
    found = parser.parse_args()
    unknown = sorted({*found.only.split(",")} - {*PARTS} | {*found.peers.split(",")} - {*NAMES, "none"})
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}, and {', '.join(NAMES)}")
    return found


def machine(folder: Path) -> dict[str, object]:
    """What it is, without its name."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "day": today(),
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(memory),
        "disk": disk(folder),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def measured(typed: argparse.Namespace) -> Figures:
    """All parts that were asked for."""
    os.environ.setdefault("KIVA_SECRET", "none")
    compiled.before_measuring()
    temporary = tempfile.TemporaryDirectory(prefix="kiva-relay-bench-", dir=where(typed.folder))
    with temporary as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "run").mkdir()
        stack.enter_context(_lines_in(folder / "log"))
        with postgres.start(folder / "server", settings=_SETTINGS) as server, served() as sink:
            bench = Bench(
                folder=folder / "run",
                server=server,
                sink=sink,
                loans=SHORT if typed.short else typed.loans,
                large=0 if typed.short else typed.large,
                rounds=1 if typed.short else typed.rounds,
                short=typed.short,
                peers=typed.peers.split(","),
            )
            bench.figures.about |= machine(folder) | {"loans": bench.loans, "large": bench.large}
            _warm(bench)
            began = time.monotonic()
            for part in typed.only.split(","):
                at = time.monotonic()
                bench.say(f"== {part}")
                PARTS[part](bench)
                bench.say(f"   {time.monotonic() - at:.0f} s")
            bench.figures.about |= {
                "minutes": round((time.monotonic() - began) / 60, 1),
                "load_after": round(os.getloadavg()[0], 1),
            }
            return bench.figures


@contextlib.contextmanager
def _lines_in(file: Path) -> Iterator[None]:
    """What the relay's own code says in this process goes into a file, as a service's goes into the journal."""
    with file.open("w", encoding="utf-8") as stream:
        log.configure(stream=stream)
        try:
            yield
        finally:
            log.configure()


def _warm(bench: Bench) -> None:
    """A relay once, from its start to its end: from then on all of its code is compiled."""
    bench.sink.reset()
    with sent.relay_with_ready(bench, 3) as relay:
        relay.release()
        sent.until(bench.sink, 3)


def main() -> int:
    """Measure, print, write."""
    typed = chosen()
    figures = Figures.read(json.loads(typed.earlier.read_text(encoding="utf-8"))) if typed.earlier else measured(typed)
    if typed.json:
        typed.json.parent.mkdir(parents=True, exist_ok=True)
        typed.json.write_text(json.dumps(figures.document(), indent=1) + "\n", encoding="utf-8")
    print(page.tables(figures))
    for who, why in figures.missing.items():
        print(f"Not measured: {who} ({why})")
    if typed.pages:
        page.write(typed.pages, figures)
    wrong = figures.wrong()
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
