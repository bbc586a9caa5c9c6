"""A process that is measured: a peer or a relay, what it costs from moment to moment, and what it leaves behind."""

from __future__ import annotations

import bisect
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import environment
from benchmarks.environment import Environment

_EVERY = 0.05
_TICK = os.sysconf("SC_CLK_TCK")
_PEERS = Path(__file__).parent / "peers"
SCRIPTS = {"script": "script.py", "dlt": "dlt_destination.py", "drt": "drt_project.py", "debezium": "debezium.py"}
NO_WORD_HOME = {"DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}
"""Nothing leaves the machine."""


def seconds(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / _TICK


def megabytes(pid: int, what: str = "VmHWM") -> float:
    """The most that it ever had resident (`VmHWM`), or has now (`VmRSS`); 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    found = text.partition(f"{what}:")[2].split()
    return int(found[0]) / 1024 if found else 0.0


class Watched:
    """Looks at a process twenty times a second, until it is told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._times: list[float] = []
        self._costs: list[float] = []
        self.peak = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            cost = seconds(self._pid)
            if not cost:
                continue
            self._times.append(time.monotonic())
            self._costs.append(cost)
            self.peak = max(self.peak, megabytes(self._pid))

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def between(self, first: float, last: float) -> float:
        """Seconds of processor time between two moments of the monotonic clock."""
        return self._at(last) - self._at(first)

    def _at(self, moment: float) -> float:
        if not self._times:
            return 0.0
        place = min(bisect.bisect_left(self._times, moment), len(self._times) - 1)
        return self._costs[place]


class Peer:
    """A peer's process, in a folder of its own that outlives it: what it knows after a kill is there."""

    def __init__(self, name: str, folder: Path, url: str, sink: str, **environ: str | int) -> None:
        self.name, self._folder = name, folder
        self._environment: Environment = environment.of(name)
        folder.mkdir(parents=True, exist_ok=True)
        self._environ = _apart() | NO_WORD_HOME | {"DATABASE_URL": url, "SINK_URL": sink, "HOME": str(folder)}
        self._environ |= {key: str(value) for key, value in environ.items()}
        self._environ["PYTHONPYCACHEPREFIX"] = str(environment.folder() / "bytecode")
        self.process: subprocess.Popen[bytes] | None = None
        self.watched: Watched | None = None
        self.began = 0.0

    @property
    def log(self) -> Path:
        """What it said."""
        return self._folder / "log"

    def start(self, script: str = "") -> int:
        """Begin it; its process id."""
        assert self._environment.python is not None
        typed = [str(self._environment.python), str(_PEERS / (script or SCRIPTS[self.name]))]
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(typed, cwd=self._folder, env=self._environ, stdout=log, stderr=log)
        self.watched = Watched(self.process.pid)
        return self.process.pid

    def wait(self, *, within: float = 600) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self.process is not None
        assert self.watched is not None
        code = self.process.wait(timeout=within)
        self.watched.stop()
        return code

    def end(self) -> None:
        """End it, if it has not ended: one that does not want to is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.watched is not None:
            self.watched.stop()


def _apart() -> dict[str, str]:
    """The environment without what would lead a peer's Python into the project, or its bytecode nowhere."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


def output(typed: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> str:
    """What a command prints on its last line."""
    done = subprocess.run(typed, cwd=cwd, env=dict(environ), capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise RuntimeError((done.stderr or done.stdout).strip()[-2000:] or f"exit {done.returncode}")
    return lines[-1]
