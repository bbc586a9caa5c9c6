"""What a night's work needed is the system's again when it is over."""

from __future__ import annotations

import subprocess
import sys

_LOOK = """
from pathlib import Path
from kiva_relay.service import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

heap.share()
pieces = [bytes(2_000) for _ in range(20_000)]
kept = pieces[::50]
del pieces
before = resident()
heap.give_back()
print(before - resident(), len(kept))
"""


def test_what_was_freed_between_what_is_in_use_is_given_back() -> None:
    """A relay kept 3 MB of its first night for ever."""
    told = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    given_back, kept = map(int, told.stdout.split())
    assert kept == 400
    assert given_back > 20_000_000
