"""What is measured has its code compiled, as an installed relay has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_STARTS_PROCESSES = re.compile(r"subprocess\.|MeasuredRelay|watcher\(")
_PROCESS = """
import subprocess, sys
from testbed.rig import compiled
assert compiled.forbidden()
compiled.keep_in(sys.argv[1])
subprocess.run([sys.executable, "-c", "import kiva_relay.errors"], check=True)
"""


def test_processes_share_what_is_compiled(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", _PROCESS, str(tmp_path)], check=True, env=environ)
    assert [*tmp_path.rglob("errors.*.pyc")]


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda script: script.name)
def test_a_benchmark_measures_no_compiling(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not _STARTS_PROCESSES.search(text) or "compiled.before_measuring()" in text
