"""An MFI at work on each database, one relay a capture mode beside it, and a poller that loses what they must not lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.workload import engine as databases
from testbed.workload import run

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


ENGINES = [
    # Its twin is tried each time.
    pytest.param(name, marks=pytest.mark.night) if name == "mysql" else name
    for name in databases.engines()
]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_change_is_missed_by_any_capture_mode(engine: str, tmp_path: Path) -> None:
    figures = run.run(engine, tmp_path, seconds=60, rate=50, seed=7, loans=400, at_least=2_001)
    assert figures.missed == {mode: [] for mode in figures.missed}
    assert figures.naive > 0
    assert figures.counts["committed"] > 2_000
