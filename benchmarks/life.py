"""What it takes to start, and what a relay needs that has nothing to do: seconds, processor time, memory.

A peer that runs once and ends has no idle time; its start is how long it is until its first call came, and its most
memory is that of its drafts. What each step of a day costs after a long history is asked of `benchmarks/growth.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import drafts, growth
from benchmarks.bench import Bench
from benchmarks.environment import NAMES
from benchmarks.figure import OURS
from benchmarks.ours import OurRelay
from kiva_relay.outbox.database import Outbox
from testbed.rig import outboxes
from testbed.rig.measured import environment

PART, GROWTH = "life", "growth"
_TIMES = 2
_REST, _IDLE = 10.0, 20.0
_LOANS, _SHORT = 12_500, 250
_ENTRIES = 8
"""Of each loan of a history."""


def measure(bench: Bench) -> None:
    """A relay that starts, and rests; the peers from what was seen of them."""
    for _ in range(1 if bench.short else _TIMES):
        relay = OurRelay(bench.place("relay"), bench.url, most=100, kiva=bench.sink.plain, poll_every="10s")
        bench.sink.reset()
        try:
            relay.hold()
            relay.start()
            relay.ready()
            took, cpu = time.monotonic() - relay.began, relay.seconds()
            bench.figures.add(PART, "start, until ready", OURS, unit="s", value=took, cpu=1000 * cpu)
            typed = [sys.executable, "-m", "kiva_relay", "status", "--config", str(relay.config)]
            began = time.monotonic()
            subprocess.run(typed, env=environment(), capture_output=True, check=False)
            bench.figures.add(PART, "kiva-relay status", OURS, unit="s", value=time.monotonic() - began)
            if not bench.short:
                relay.waits_until(lambda relay=relay: not relay.scanning(), within=120)
                time.sleep(_REST)
                before = relay.seconds()
                time.sleep(_IDLE)
                share = 100 * (relay.seconds() - before) / _IDLE
                bench.figures.add(PART, "idle, of a core", OURS, unit="%", value=share)
            bench.figures.add(PART, "idle, memory", OURS, unit="MB", value=relay.resident(), peak=relay.peak())
        finally:
            relay.close()
    for one in bench.figures.of(drafts.PART, "0 ms"):
        if one.who in NAMES.values():
            bench.figures.add(PART, "start, until its first call", one.who, unit="s", value=one.start)
            bench.figures.add(PART, "most memory", one.who, unit="MB", value=one.peak)
    grown(bench)
    for one in [*bench.figures.of(PART), *bench.figures.of(GROWTH)]:
        bench.say(f"  {one.case:<36}{one.who:<36}{one.middle:>10,.2f} {one.unit}  {one.spread}")


def grown(bench: Bench) -> None:
    """What each step of a day costs after a long history, beside what it costs after a short one."""
    many = _SHORT if bench.short else _LOANS
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)

        def on_file(size: int) -> Outbox:
            (folder / f"file of {size}").mkdir()
            return outboxes.on_file(folder / f"file of {size}")

        found = growth.lived(folder / "file", on_file, (growth.FEW, many))
    for what, (few, much) in found.items():
        case = f"{what}, {many * _ENTRIES:,} entries to {growth.FEW * _ENTRIES:,}"
        bench.figures.add(GROWTH, case, OURS, unit="times", value=much / few if few else 1.0, cpu=1000 * much)
