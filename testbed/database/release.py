"""Servers that only other releases of Debian have, each in a folder of its own: `make servers` makes them.

They are made by debootstrap, out of the mirror that this machine's apt uses, once: a folder that is there is taken as
it is (remove it, and the next run makes it of what Debian has by then). What cannot be made here is told, so that
nobody takes it for tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "KIVA_RELAY_TEST_SERVERS"
"""Names the folder in which they are kept; by default one in the person's cache."""

_LONGEST = 1800.0
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Release:
    """A server's package in a release of Debian; `name` is for the command line, `product` for people."""

    name: str
    product: str
    suite: str
    packages: tuple[str, ...]
    daemon: str

    @property
    def root(self) -> Path:
        """The folder that the server sees as the whole file system."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        kept = Path(os.environ.get(VARIABLE) or Path(cache) / "kiva-relay" / "servers")
        return kept / f"{self.suite}-{self.packages[0]}"

    @property
    def of_mysql(self) -> bool:
        """Whether it is MySQL, which is installed and reached otherwise than MariaDB."""
        return self.name == "mysql"

    def inside(self, *command: str) -> list[str]:
        """A command in its folder, as the user `nobody`: a server refuses to be root's, or warns."""
        chroot = shutil.which("chroot", path=_PATH) or "/usr/sbin/chroot"
        # Nothing of our environment: it names folders that are not there.
        environment = ("/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        return [chroot, "--userspec=nobody:nogroup", str(self.root), *environment, *command]

    def lacking(self) -> str:
        """Why it cannot be run here, "" when it can."""
        if not (self.root / self.daemon.lstrip("/")).exists():
            return "it was not made; `make servers` makes it"
        return "" if os.geteuid() == 0 else "only root may use chroot"


MYSQL = Release("mysql", "MySQL 9 (Debian sid)", "sid", ("mysql-server-core",), "/usr/sbin/mysqld")
MARIADB = Release(
    "mariadb-trixie",
    "MariaDB 11.8 (Debian trixie)",
    "trixie",
    ("mariadb-server-core", "mariadb-client-core"),
    "/usr/sbin/mariadbd",
)
ALL = (MYSQL, MARIADB)


def made() -> list[Release]:
    """Those that can be run here."""
    return [one for one in ALL if not one.lacking()]


def told() -> list[str]:
    """Those that cannot, each with the reason."""
    return [f"{one.product}: {one.lacking()}" for one in ALL if one.lacking()]


def make(one: Release) -> str:
    """Make its folder, about half a minute.

    Returns:
        why that was not possible, "" when it was.
    """
    if not one.lacking():
        return ""
    program = shutil.which("debootstrap", path=_PATH)
    source = mirror()
    if os.geteuid() != 0:
        return "only root may use chroot"
    if program is None:
        return "debootstrap is missing; apt install debootstrap"
    if not source:
        return "this machine's apt names no mirror of Debian"
    one.root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=one.root.parent) as new:
        folder = Path(new) / "root"
        command = [program, "--variant=minbase", f"--include={','.join(one.packages)}", one.suite, str(folder), source]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST)
        if done.returncode:
            return f"debootstrap failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
        # Nobody is asked who 127.0.0.1 is: root may come from `localhost` only.
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
        if not one.root.exists():  # another run may have been quicker
            folder.rename(one.root)
    return ""


def mirror() -> str:
    """Where this machine's apt has Debian itself from, "" when it does not."""
    apt = shutil.which("apt-get", path=_PATH)
    if apt is None:
        return ""
    asked = [apt, "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return next((line.split()[2] for line in done.stdout.splitlines() if line.startswith("Debian Debian ")), "")


def main() -> int:
    """Make what can be made here, and tell what could not. That is no failure."""
    for one in ALL:
        reason = make(one)
        sys.stdout.write(f"{one.product}: {f'not made: {reason}' if reason else one.root}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
