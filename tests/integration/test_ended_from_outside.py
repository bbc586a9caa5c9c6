"""However a run of the tests is ended, no server that it has started runs on, and none of their data stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.rig import checkout, patience
from testbed.rig.patience import eventually

WITHIN = 60.0

WAITS = """
import contextlib, os, pathlib, threading
from testbed.database import mariadb_own
from testbed.rig import killable

def test_it(tmp_path, postgres_server, house):
    own = mariadb_own.start(tmp_path / "own") if mariadb_own.found() else contextlib.nullcontext()
    with own as mariadb:
        relay = killable.start(killable.Life(house.config, tmp_path / "relay.log"))
        pids, data = [postgres_server.pid, relay.pid], [postgres_server.data]
        if mariadb:
            pids.append(mariadb.pid)
            data.append(mariadb.data)
        told = pathlib.Path(os.environ["TOLD"])
        told.with_name("new").write_text("\\n".join(map(str, [*pids, *data])))
        told.with_name("new").rename(told)
        threading.Event().wait()
"""


def ctrl_c(running: subprocess.Popen[bytes]) -> None:
    """What a terminal does."""
    os.killpg(running.pid, signal.SIGINT)


def terminate(running: subprocess.Popen[bytes]) -> None:
    """What CI does when its time is over."""
    running.terminate()


def kill(running: subprocess.Popen[bytes]) -> None:
    """What the kernel does when memory is short."""
    running.kill()


@contextlib.contextmanager
def run(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int], list[Path]]]:
    """Tests in a process of their own: that, the servers that it has started, and the folders of their data."""
    test, told = folder / "test_waits.py", folder / "told"
    test.write_text(WAITS)
    temporary = Path(tempfile.mkdtemp())  # its name is short: sockets are made in it
    path = os.pathsep.join(str(checkout.ROOT / name) for name in ("tests", "daemon", "."))
    command = [sys.executable, "-m", "pytest", "-c", str(checkout.ROOT / "pyproject.toml"), "-p", "conftest"]
    with (folder / "said").open("wb") as said:
        running = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", *options, str(test)],
            cwd=folder,
            env=checkout.environment(PYTHONPATH=path, TMPDIR=str(temporary), TOLD=str(told)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            process_group=0,
            # A shell has what it starts in the background ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs yet
        )
    try:
        eventually(lambda: told.exists() or running.poll() is not None, within=WITHIN)
        assert told.exists(), (folder / "said").read_text()
        lines = told.read_text().splitlines()
        yield running, [int(line) for line in lines if line.isdigit()], [Path(line) for line in lines if "/" in line]
    finally:
        running.kill()
        running.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def runs(pid: int) -> bool:
    """Whether this process is at work; where nobody asks how it ended, its number stays."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("end", [ctrl_c, terminate, kill])
@pytest.mark.parametrize("workers", ["alone", "with workers"])
def test_no_server_runs_on(tmp_path: Path, workers: str, end: Callable[[subprocess.Popen[bytes]], None]) -> None:
    options = ("-p", "no:xdist") if workers == "alone" else ("-n", "1")
    with run(tmp_path, *options) as (running, pids, data):
        assert all(map(runs, pids))
        assert all(folder.is_dir() for folder in data)
        end(running)
        running.wait(patience.seconds(WITHIN))
        eventually(lambda: not any(map(runs, pids)), within=WITHIN)
        eventually(lambda: not any(folder.exists() for folder in data))
