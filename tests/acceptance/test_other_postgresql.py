"""The tests of capture on each PostgreSQL whose binaries this machine has, beside the one of the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.database import postgres_found

TESTS = Path(__file__).parents[1]
CAPTURE = (
    "contract/test_source_reading.py",
    "integration/test_source_postgresql.py",
    "integration/test_source_replication.py",
    "integration/test_source_seams.py",
    "integration/test_source_surprises.py",
)
NONE = pytest.param(None, marks=pytest.mark.skip(reason="cannot run here: no other PostgreSQL is installed"))


@pytest.mark.long
@pytest.mark.night
@pytest.mark.timeout(600)
@pytest.mark.parametrize("binaries", postgres_found.others() or [NONE], ids=str)
def test_capture_holds_on_another_postgresql(binaries: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", *(str(TESTS / name) for name in CAPTURE)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:xdist"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        | {postgres_found.VARIABLE: str(binaries)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout.splitlines()[-1]
