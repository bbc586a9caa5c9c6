"""What was booted for a trial ends, whatever becomes of it, and of whoever booted it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.boot import __main__ as booted
from testbed.rig import patience

# It says nothing, or what the trial says first; it ends by force alone.
_MACHINE = """#!/bin/sh
trap '' TERM
for word in "$@"; do root=$word; done
echo $$ > {pid}
echo "a console that speaks"
{begins}
while :; do sleep 0.1; done
"""
_BOOTS = """
import sys
from pathlib import Path
from testbed.boot import __main__ as booted
booted.made = lambda _suite: Path(sys.argv[1])
booted.package = lambda _suite: Path(sys.argv[2])
booted.boot("bookworm")
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemd-nspawn, a bare root, and a package."""
    (tmp_path / "bare" / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "package.deb").touch()
    monkeypatch.setenv("KIVA_RELAY_ROOTS", str(tmp_path / "roots"))
    (tmp_path / "roots").mkdir()
    monkeypatch.setattr(booted, "made", lambda _suite: tmp_path / "bare")
    monkeypatch.setattr(booted, "package", lambda _suite: tmp_path / "package.deb")
    monkeypatch.setattr(booted, "_ENDS_WITHIN", 0.2)
    monkeypatch.setattr(booted, "_PATH", os.pathsep.join((str(tmp_path), os.environ["PATH"])))
    monkeypatch.setenv("PATH", os.pathsep.join((str(tmp_path), os.environ["PATH"])))
    return tmp_path


def stands(machine: Path, *, begins: str = "") -> None:
    file = machine / "systemd-nspawn"
    file.write_text(_MACHINE.format(pid=machine / "pid", begins=begins))
    file.chmod(0o755)


def is_gone(machine: Path) -> bool:
    try:
        os.kill(int((machine / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_one_that_never_begins_cannot_run_here(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stands(machine)
    monkeypatch.setattr(booted, "BEGINS_WITHIN", 0.5)
    with pytest.raises(booted.NotBootedError, match="never began: a console that speaks"):
        booted.boot("bookworm")
    assert is_gone(machine)
    assert list((machine / "roots").iterdir()) == []


def test_one_that_booted_and_never_began_has_failed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was skipped, as on a machine that can boot nothing."""
    stands(machine, begins='echo "[  OK  ] Reached target multi-user.target - Multi-User System."')
    monkeypatch.setattr(booted, "BEGINS_WITHIN", 0.5)
    well, log = booted.boot("bookworm")
    assert not well
    assert "Multi-User System" in log
    assert is_gone(machine)


def test_one_that_hangs_has_failed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stands(machine, begins='echo "==== a step" > "$root/trial/log"')
    monkeypatch.setattr(booted, "LONGEST", 0.5)
    well, log = booted.boot("bookworm")
    assert not well
    assert log == "==== a step\n"
    assert is_gone(machine)
    assert list((machine / "roots").iterdir()) == []


def test_one_whose_host_is_killed_ends_with_it(machine: Path) -> None:
    stands(machine, begins='echo "==== a step" > "$root/trial/log"')
    command = [sys.executable, "-c", _BOOTS, str(machine / "bare"), str(machine / "package.deb")]
    with subprocess.Popen(command) as process:
        patience.eventually(lambda: [*(machine / "roots").glob("*/root/trial/log")])
        process.send_signal(signal.SIGKILL)
    patience.eventually(lambda: is_gone(machine), within=60)
    patience.eventually(lambda: not list((machine / "roots").iterdir()))


def test_it_is_only_tried_where_it_can_be(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stands(machine)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert booted.lacking("bookworm") == ""
    shutil.move(machine / "systemd-nspawn", machine / "elsewhere")
    monkeypatch.setattr(booted, "_PATH", str(machine))
    assert "systemd-nspawn is missing" in booted.lacking("bookworm")
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert booted.lacking("bookworm") == "only root boots a root"
