"""Boots a root of a Debian release by systemd-nspawn, and lets `trial.sh` do in it what an administrator does.

    python -m testbed.boot [bookworm|trixie]

As root, with systemd-container and debootstrap; the package is that of `make deb`. The log, which holds the answers of
`systemctl` in the booted root, is printed and kept in dist/boot-SUITE.log. Exit code 3: it cannot be run here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testbed.database import release

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 900.0
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_PACKAGES = ("systemd-sysv", "dbus", "python3", "ca-certificates")
_NUMBERS = {"bookworm": "deb12", "trixie": "deb13"}
_CANNOT = 3
_MAIL_SERVER = ("aiosmtpd", "attr", "attrs", "public")
"""What a mail server in the booted root is made of: nothing of it is compiled."""


def roots() -> Path:
    """Where the roots are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("KIVA_RELAY_ROOTS") or Path(cache) / "kiva-relay" / "roots")


def package(suite: str) -> Path | None:
    """The newest package of a release that `make deb` made."""
    found = sorted((ROOT / "dist").glob(f"kiva-relay_*~{_NUMBERS[suite]}u*.deb"), key=lambda one: one.stat().st_mtime)
    return found[-1] if found else None


def lacking(suite: str) -> str:
    """Why it cannot be run here, "" when it can."""
    if os.geteuid() != 0:
        return "only root boots a root"
    if shutil.which("systemd-nspawn", path=_PATH) is None:
        return "systemd-nspawn is missing; apt install systemd-container"
    if package(suite) is None:
        return f"there is no package of {suite} in dist/; make deb SUITES={suite}"
    if not (roots() / f"{suite}-boot").is_dir() and shutil.which("debootstrap", path=_PATH) is None:
        return "debootstrap is missing; apt install debootstrap"
    return ""


def made(suite: str) -> Path:
    """A bare root of the release, with a systemd; it is made once."""
    root = roots() / f"{suite}-boot"
    if not root.is_dir():
        new = roots() / f"{suite}-boot.new"
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        program = shutil.which("debootstrap", path=_PATH) or "debootstrap"
        include = f"--include={','.join(_PACKAGES)}"
        command = [program, "--variant=minbase", include, suite, str(new), release.mirror()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        new.rename(root)
    return root


def _package(name: str) -> Path:
    """Where a package of this Python's lies."""
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def boot(suite: str) -> tuple[bool, str]:
    """Boot a copy of the root, and wait until the trial has switched it off; whether all went well, and its log."""
    chosen = package(suite)
    assert chosen is not None
    with tempfile.TemporaryDirectory(prefix="kiva-relay-boot-", dir=roots()) as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(made(suite)), str(root)], check=True)
        trial = root / "trial"
        trial.mkdir()
        for file in (*Path(__file__).parent.glob("trial*"), ROOT / "tests" / "data" / "outbox-0.2.sql"):
            shutil.copy(file, trial)
        shutil.copy(chosen, trial / "kiva-relay.deb")
        for name in _MAIL_SERVER:
            shutil.copytree(_package(name), trial / name)
        unit = root / "etc/systemd/system/trial.service"
        unit.write_text((Path(__file__).parent / "trial.service").read_text("utf-8"), encoding="utf-8")
        wants = root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / "trial.service").symlink_to("/etc/systemd/system/trial.service")
        nspawn = shutil.which("systemd-nspawn", path=_PATH) or "systemd-nspawn"
        command = [nspawn, "--register=no", "--keep-unit", "--quiet", "--private-network", "-b", "-D", str(root)]
        with (trial / "console").open("wb") as console:
            process = subprocess.Popen(command, stdout=console, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                process.wait(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait(timeout=60)
        log = trial / "log"
        text = log.read_text("utf-8", errors="replace") if log.exists() else ""
        if not text:
            text = (trial / "console").read_text("utf-8", errors="replace")
    return text.rstrip().endswith("ALL WENT WELL"), text


def main() -> int:
    """Boot the release that is named, print the log, keep it."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    if suite not in _NUMBERS:
        sys.stderr.write(f"There is no release {suite} here: {', '.join(_NUMBERS)}\n")
        return 2
    if reason := lacking(suite):
        sys.stdout.write(f"not run: {reason}\n")
        return _CANNOT
    well, log = boot(suite)
    (ROOT / "dist" / f"boot-{suite}.log").write_text(log, encoding="utf-8")
    sys.stdout.write(log)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
