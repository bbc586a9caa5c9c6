"""The whole demo, short and small: it ends by itself, says that nothing was lost, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.rig import patience
from testbed.rig.patience import eventually

SENTENCE = re.compile(r"^lost 0 · duplicated 0 · answers lost ([1-9][0-9]*) · kills 1$", re.MULTILINE)


@contextlib.contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "testbed.demo", "--clients", "300", *options]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "KIVA_RELAY_MIS__POLL_EVERY": "1d"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGTERM)
                patience.ended(running, within=60)


def left_behind(folder: Path) -> list[str]:
    """Processes that still have something to do with this folder, by a word of theirs or as their temporary one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line or os.fsencode(f"TMPDIR={folder}") in (process / "environ").read_bytes():
                found.append(line)
    return found


def until_at_work(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    for line in running.stdout:
        if "tellers at work" in line:
            return


@pytest.mark.long  # `.ci/run` also plays it as a person would
@pytest.mark.timeout(400)
def test_it_ends_by_itself_and_nothing_was_lost(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "6s") as running:
        said, _ = running.communicate(timeout=patience.seconds(380))
    assert SENTENCE.search(said), said
    assert running.returncode == 0
    assert "\x1b" not in said
    assert "waits for a person (entry " in said
    assert re.search(r"outbox settle \d+ --delivered", said)
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(200)
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "5m") as running:
        until_at_work(running)
        assert any("postgres" in line for line in left_behind(tmp_path))
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=patience.seconds(120))
    assert running.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(200)
def test_after_kill_9_nothing_runs_on(tmp_path: Path) -> None:
    with demo(tmp_path, "--for", "5m") as running:
        until_at_work(running)
        running.kill()
        running.communicate(timeout=60)
    eventually(lambda: left_behind(tmp_path) == [])
