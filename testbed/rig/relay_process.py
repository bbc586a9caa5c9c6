"""`kiva-relay run` as a process of its own, on a machine that is made to fail under it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from testbed.rig import patience

_SOURCE = Path(__file__).with_name("broken_disk.c")
_CLOCK = Path(__file__).with_name("set_machine.c")


@dataclass
class RelayProcess:
    """The process of one configuration, with `environ` beside our own, begun by `under` (as `prlimit --nofile=64`)."""

    config: Path
    environ: dict[str, str] = field(default_factory=dict)
    under: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it said, in all its lives."""
        path = self.config.with_name("relay.log")
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def pid(self) -> int:
        """Of the life that is or was the last."""
        assert self.process is not None
        return self.process.pid

    def begin(self) -> None:
        """Begin a life."""
        with self.config.with_name("relay.log").open("ab") as log:
            command = [*self.under, sys.executable, "-m", "kiva_relay", "run", "--config", str(self.config)]
            environ = {**os.environ, **self.environ}
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environ)

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self.process is None else self.process.poll()

    def end(self) -> None:
        """Ask it to stop, and wait until it has."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            patience.ended(self.process)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the administrator's, on the same configuration and in front of the same disk."""
        return subprocess.run(
            [sys.executable, "-m", "kiva_relay", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=patience.seconds(60),
            env={**os.environ, **self.environ},
            check=False,
        )


@dataclass(frozen=True)
class BrokenDisk:
    """What is preloaded, and the folder that says how the disk fails: `write`, `sync`, `read`, `readonly`."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to have this disk."""
        return {"LD_PRELOAD": str(self.folder / "broken_disk.so"), "BROKEN_DISK": str(self.folder)}

    def fails(self, *kinds: str) -> None:
        """From now on these calls fail, and no others."""
        for kind in ("write", "sync", "read", "readonly"):
            file = self.folder / kind
            file.touch() if kind in kinds else file.unlink(missing_ok=True)


def broken_disk(folder: Path) -> BrokenDisk:
    """Compile it; a test is skipped where there is no C compiler."""
    folder.mkdir()
    _compiled(_SOURCE, folder / "broken_disk.so")
    return BrokenDisk(folder)


@dataclass(frozen=True)
class MachineClock:
    """The clock of the relay's machine, as somebody sets it: what is preloaded, and the file that says it."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to have this clock."""
        return {"LD_PRELOAD": str(self.folder / "set_machine.so"), "SET_CLOCK": str(self.folder / "off")}

    def is_off(self, by: timedelta) -> None:
        """From now on it is off by so much."""
        with (self.folder / "off").open("r+b") as file:
            file.write(int(by.total_seconds()).to_bytes(8, sys.byteorder, signed=True))


def machine_clock(folder: Path) -> MachineClock:
    """Compile it, right for now; a test is skipped where there is no C compiler."""
    folder.mkdir()
    _compiled(_CLOCK, folder / "set_machine.so")
    (folder / "off").write_bytes(bytes(8))
    return MachineClock(folder)


def _compiled(source: Path, library: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("cannot run here: what is preloaded into the relay is compiled, and there is no cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
