"""What is measured has its code compiled, as an installed relay has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_a_benchmark_measures_no_compiling() -> None:
    """Whatever is typed compiles first, and starts its processes then; the other files are parts of `benchmarks`."""
    texts = {script.name: script.read_text(encoding="utf-8") for script in BENCHMARKS.glob("*.py")}
    typed = {name: text for name, text in texts.items() if '__name__ == "__main__"' in text}
    start = {name for name, text in typed.items() if name == "__main__.py" or _STARTS_PROCESSES.search(text)}
    assert len(start) > 5
    assert {name for name in start if "compiled.before_measuring()" not in typed[name]} == set()
