"""Boots a root of a Debian release by systemd-nspawn, and lets `trial.sh` do in it what an administrator does.

    python -m testbed.boot [bookworm|trixie]

As root, with systemd-container and debootstrap; the package is that of `make deb`. The log, which holds the answers of
`systemctl` in the booted root, is printed and kept in dist/boot-SUITE.log. Exit code 3: it cannot be run here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed.database import leash, postgres
from testbed.rig import patience

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1200.0
BEGINS_WITHIN, _ENDS_WITHIN = 60.0, 30.0
"""Seconds, for a whole trial; from the start to its first word (of a quick machine); to switch it off."""
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
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


_HAS_BOOTED = "multi-user.target"
"""What a systemd that booted says on its console, right before the trial's unit is due (`trial.service`)."""


class NotBootedError(Exception):
    """Nothing of the trial ran: this machine lacks what it takes to boot a root. Its text says why."""


def lacking(suite: str) -> str:
    """Why it cannot be run here, "" when it can."""
    if os.geteuid() != 0:
        return "only root boots a root"
    if shutil.which("systemd-nspawn", path=_PATH) is None:
        return "systemd-nspawn is missing; apt install systemd-container"
    if package(suite) is None:
        return f"there is no package of {suite} in dist/; make deb SUITES={suite}"
    return ""


def made(suite: str) -> Path:
    """A bare root of the release, with a systemd; it is made once.

    Raises:
        NotBootedError: Debian's packages cannot be had.
    """
    done = subprocess.run(
        [str(ROOT / "packaging" / "deb" / "root.sh"), suite],
        env={**os.environ, "PATH": _PATH, "KIVA_RELAY_ROOTS": str(roots())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotBootedError(done.stderr.strip())
    return Path(done.stdout.strip())


def _package(name: str) -> Path:
    """Where a package of this Python's lies."""
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def boot(suite: str) -> tuple[bool, str]:
    """Boot a copy of the root, and wait until the trial has switched it off; whether all went well, and its log.

    Whatever becomes of it, or of us, what was booted ends and its root is removed.

    Raises:
        NotBootedError: the machine that was booted never came to the trial.
    """
    bare = made(suite)
    with tempfile.TemporaryDirectory(prefix="kiva-relay-boot-", dir=roots()) as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(bare), str(root)], check=True)
        trial = _prepared(root, suite)
        console = trial / "console"
        nspawn = shutil.which("systemd-nspawn", path=_PATH) or "systemd-nspawn"
        command = [nspawn, "--register=no", "--keep-unit", "--quiet", "--private-network", "-b", "-D", str(root)]
        with console.open("wb") as said:
            held = leash.Leash(command, log=said, how=signal.SIGTERM, remove=[Path(folder)])
            try:
                began = _came_to_the_trial(held.process, trial)
                if began:
                    held.process.wait(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _ended(held)
        told = console.read_text("utf-8", errors="replace")
        if not began and _HAS_BOOTED in told:
            return False, told  # it booted, and the trial did not begin: that is no lack of this machine
        if not began:
            raise NotBootedError(f"what was booted never began: {' '.join(told.split()[-30:]) or 'it said nothing'}")
        log = (trial / "log").read_text("utf-8", errors="replace")
    return log.rstrip().endswith("ALL WENT WELL"), log or told


def _prepared(root: Path, suite: str) -> Path:
    """Put into a root what the trial needs, so that it runs once it is booted; the trial's folder."""
    chosen = package(suite)
    assert chosen is not None
    trial = root / "trial"
    trial.mkdir()
    trial.chmod(0o755)  # the mail server and PostgreSQL are not root's
    for file in (*Path(__file__).parent.glob("trial*"), ROOT / "tests" / "data" / "outbox-0.2.sql"):
        shutil.copy(file, trial)
    shutil.copy(chosen, trial / "kiva-relay.deb")
    for name in _MAIL_SERVER:
        shutil.copytree(_package(name), trial / name)
    programs = postgres.binaries().parent
    shutil.copytree(programs, trial / postgres.WHEEL / programs.name, symlinks=True)
    if (beside := programs.parents[1] / postgres.LIBRARIES).is_dir():
        shutil.copytree(beside, trial / postgres.LIBRARIES, symlinks=True)
    unit = root / "etc/systemd/system/trial.service"
    unit.write_text((Path(__file__).parent / "trial.service").read_text("utf-8"), encoding="utf-8")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "trial.service").symlink_to("/etc/systemd/system/trial.service")
    return trial


def _came_to_the_trial(process: subprocess.Popen[bytes], trial: Path) -> bool:
    """Wait for the first word of the trial."""
    log, deadline = trial / "log", patience.Deadline(BEGINS_WITHIN)
    while not (log.exists() and log.stat().st_size):
        if process.poll() is not None or deadline.over:
            return False
        time.sleep(0.2)
    return True


def _ended(held: leash.Leash) -> None:
    """The machine that was booted is over: in order, or by force."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if held.process.poll() is None:
            held.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                held.process.wait(timeout=_ENDS_WITHIN)
    held.let_go()


def main() -> int:
    """Boot the release that is named, print the log, keep it."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    if suite not in _NUMBERS:
        sys.stderr.write(f"There is no release {suite} here: {', '.join(_NUMBERS)}\n")
        return 2
    if reason := lacking(suite):
        sys.stdout.write(f"not run: {reason}\n")
        return _CANNOT
    try:
        well, log = boot(suite)
    except NotBootedError as error:
        sys.stdout.write(f"not run: {error}\n")
        return _CANNOT
    (ROOT / "dist" / f"boot-{suite}.log").write_text(log, encoding="utf-8")
    sys.stdout.write(log)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
