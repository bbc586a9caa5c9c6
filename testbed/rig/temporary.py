"""The temporary folder of a test run, where somebody else was here first."""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

import pytest

_ROOT = "PYTEST_DEBUG_TEMPROOT"


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
