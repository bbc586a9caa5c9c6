"""Another checkout of this project with a `.venv` of its own, as `make` would have made it, without a network."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MADE_HERE = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "dist")
_NOT_NEEDED = shutil.ignore_patterns("mypy*", "*__mypyc*", "pip", "setuptools", "ruff", "__pycache__", "pginstall")


def copy(to: Path, *, python: Path) -> Path:
    """Copy this checkout and the packages that this Python has; the files get the modes that the umask leaves them."""
    shutil.copytree(ROOT, to, ignore=_MADE_HERE)
    venv = to / ".venv"
    packages = venv / sysconfig.get_path("purelib", "venv", {"base": ""}).lstrip("/")
    shutil.copytree(sysconfig.get_path("purelib"), packages, ignore=_NOT_NEEDED)
    for ours in packages.glob("*kiva_relay*.pth"):
        ours.write_text(f"{to / 'daemon'}\n{to}\n", encoding="utf-8")
    (venv / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(python)
    for stamp in (".demo-installed", ".dev-installed"):
        (venv / stamp).touch()
    return to


def make(where: Path, *arguments: str, environ: Mapping[str, str], user: str = "") -> subprocess.CompletedProcess[str]:
    """Type `make …` in it, as we or as somebody else, with umask 077."""
    who = pwd.getpwnam(user) if user else None
    return subprocess.run(
        ["make", *arguments],
        cwd=where,
        env=environ,
        umask=0o077,
        user=who and who.pw_uid,
        group=who and who.pw_gid,
        extra_groups=() if who else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def environment(**changes: str) -> dict[str, str]:
    """Ours, without what the run of pytest and the `make` around us have put there."""
    foreign = ("PYTEST", "PYTHON", "MAKE", "MFLAGS", "KIVA_RELAY", "TMPDIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | changes


@functools.cache
def python_for_everybody() -> Path | None:
    """A Python like ours that other users may run, too; only root can ask."""
    nobody = pwd.getpwnam("nobody")
    places = (str(Path(sys.executable).resolve().parent), "/usr/local/bin", "/usr/bin")
    question = f"import ensurepip, ssl, sqlite3, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for place in map(Path, places):
        python = place / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if python.exists() and _answers(python, question, nobody):
            return python
    return None


def _answers(python: Path, question: str, user: pwd.struct_passwd) -> bool:
    command: Sequence[str] = [str(python), "-I", "-c", question]
    try:
        tried = subprocess.run(
            command, check=False, capture_output=True, user=user.pw_uid, group=user.pw_gid, extra_groups=()
        )
    except OSError:
        return False
    return not tried.returncode
