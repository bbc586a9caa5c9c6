"""The short form of the comparison: it fails on what was sent twice or lost, never on time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figure import BARE, COURIER, DURABLE, FOUR, OURS, Figures
from testbed.rig import patience

ROOT = Path(__file__).resolve().parents[2]
PARTS = "drafts,positions,faults"


@pytest.mark.long
def test_nothing_is_sent_twice_or_lost(tmp_path: Path) -> None:
    typed = [sys.executable, "-m", "benchmarks", "--short", "--only", PARTS, "--peers", "script"]
    done = subprocess.run(
        [*typed, "--folder", str(tmp_path), "--json", str(tmp_path / "figures.json")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'daemon'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=patience.seconds(240),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    figures = Figures.read(json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")))
    assert figures.wrong() == []
    ours = [one for one in figures if one.who in {OURS, COURIER}]
    assert {one.part for one in ours} == set(PARTS.split(","))
    # No figure without what was sent twice and lost beside it.
    assert [one for one in ours if one.duplicates is None or one.lost is None] == []
    assert {COURIER, BARE, FOUR, DURABLE} <= {one.who for one in figures.of("drafts")}
    killed = next(one for one in ours if one.case == "three kills, -9")
    assert (killed.more["kills"], killed.duplicates, killed.lost) == (3, 0, 0)
    assert killed.more["in_doubt"] == 3
