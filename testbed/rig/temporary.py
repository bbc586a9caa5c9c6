"""The temporary folder of a test run: in memory where there is room, and not where somebody else was here first."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from testbed.rig import compiled

_ROOT = "PYTEST_DEBUG_TEMPROOT"
_IN_MEMORY = Path("/dev/shm")
_ROOM = 6 << 30
"""Bytes. The servers and outboxes of three workers take less than half of it."""


def be_quick() -> None:
    """Put temporary files into memory, unless somebody chose a place: each commit of an outbox waits for its disk."""
    if "TMPDIR" in os.environ or _ROOT in os.environ or not _IN_MEMORY.is_dir():
        return
    if os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free >= _ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_IN_MEMORY)


def be_compiled(config: pytest.Config) -> None:
    """Let the processes of all runs share what Python compiled, also where the environment forbids it to write beside us.

    Each would compile the relay anew, which is half of what a command takes, and each worker all of the tests: a
    minute. A copy that is no checkout may change faster than Python notices, and keeps it for one run only.
    """
    if hasattr(config, "workerinput") or not compiled.forbidden():
        return
    folder = compiled.of_the_checkout()
    if folder is None:
        folder = tempfile.mkdtemp(prefix="kiva-relay-bytecode-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    compiled.keep_in(folder)


def be_ours(config: pytest.Config) -> None:
    """Choose a folder of our own where pytest's is somebody else's: it would refuse to run.

    Its name is made of the user's name in the environment, which after `sudo` or `su` may still be the other's.
    """
    if config.option.basetemp is None and _is_anothers(_pytests()):
        config.option.basetemp = str(Path(tempfile.mkdtemp(prefix="kiva-relay-tests-")) / "run")


def _pytests() -> Path:
    try:
        user = getpass.getuser()
    except (ImportError, OSError, KeyError):
        user = "unknown"
    return Path(os.environ.get(_ROOT) or tempfile.gettempdir()) / f"pytest-of-{user}"


def _is_anothers(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid()
