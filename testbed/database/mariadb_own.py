"""A MariaDB or MySQL of our own, so that it may be restarted and killed: of this machine, or of another release."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pymysql
import sqlalchemy as sa

from testbed.database import leash
from testbed.database.release import Release
from testbed.rig import patience

_BINARIES = ("mariadbd", "mariadb-install-db")
_STARTS_WITHIN = 60.0
_STOPS_WITHIN = 60.0
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))  # not everybody's

# A server that lives for minutes may lose everything in a power cut.
_OF_MYSQL = ("--mysqlx=OFF", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2", "--secure-file-priv=NULL")


class Server:
    """A server on a free loopback port; root has no password, for nobody else is let in. `folder` has its log.

    Its data is in `folder`, too, but for one of another release: that sees nothing beside the release's folder.
    """

    def __init__(self, folder: Path, options: Sequence[str], release: Release | None) -> None:
        self.folder, self._options, self._release = folder, options, release
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._inside = f"/srv/kiva-relay-{secrets.token_hex(8)}"
        self.data = release.root / self._inside.lstrip("/") if release else folder / "data"
        self._leash: leash.Leash | None = None

    @property
    def scheme(self) -> str:
        """What mis.url begins with."""
        return "mysql" if self._release and self._release.of_mysql else "mariadb"

    @property
    def pid(self) -> int:
        """Its number; 0 while it does not run."""
        return self._leash.process.pid if self._leash is not None else 0

    def url(self, database: str = "") -> str:
        """As it stands in mis.url."""
        url = sa.URL.create(self.scheme, "root", host="127.0.0.1", port=self.port, database=database or None)
        return url.render_as_string(hide_password=False)

    def connect(self, database: str | None = None, **more: Any) -> pymysql.Connection[Any]:
        """A connection of root's."""
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database=database, **more)

    def install(self) -> None:
        """Make its data."""
        with (self.folder / "install.log").open("wb") as log:
            if self._release is None:
                command = [_binary("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db"]
                command += ["--auth-root-authentication-method=normal"]
                _run([*command, *(["--user=root"] if os.geteuid() == 0 else [])], log)
                return
            self.data.mkdir(mode=0o700)
            shutil.chown(self.data, "nobody", "nogroup")
            where = f"--datadir={self._inside}"
            if self._release.of_mysql:
                names = [one for one in self._options if one.startswith("--lower-case-table-names")]
                command = [self._release.daemon, "--no-defaults", "--initialize-insecure", where, *names]
            else:
                command = ["/usr/bin/mariadb-install-db", "--no-defaults", where, "--skip-test-db"]
                command += ["--auth-root-authentication-method=normal"]
            _run(self._release.inside(*command), log)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        data = self._inside if self._release else str(self.data)
        # In the data folder, by its name alone: the path of a socket has to be shorter than 108 bytes.
        options = ["--no-defaults", f"--datadir={data}", f"--port={self.port}"]
        options += ["--bind-address=127.0.0.1", "--socket=socket", *(_OF_MYSQL if self.scheme == "mysql" else ())]
        options += self._options
        if self._release is None:
            command = [_binary("mariadbd"), *options, *(["--user=root"] if os.geteuid() == 0 else [])]
        else:
            command = self._release.inside(self._release.daemon, *options, f"--pid-file={data}/pid")
        with (self.folder / "server.log").open("ab") as log:
            self._leash = leash.Leash(command, log=log, how=signal.SIGTERM, remove=[self.data])
        deadline = time.monotonic() + patience.seconds(_STARTS_WITHIN)
        while True:
            try:
                self.connect(connect_timeout=3).close()
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline or self._leash.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, or kill it."""
        if self._leash is None:
            return
        process = self._leash.process
        process.send_signal(how)
        try:
            process.wait(patience.seconds(_STOPS_WITHIN))
        finally:
            process.kill()  # nothing happens when it has ended
            process.wait()
            self._leash.let_go()
            self._leash = None

    def restart(self) -> None:
        """Stop it, and start it on the same port with the same data."""
        self.stop()
        self.start()


def found() -> bool:
    """Whether this machine has what it takes."""
    return all(shutil.which(name, path=_PATH) for name in _BINARIES)


def _binary(name: str) -> str:
    return shutil.which(name, path=_PATH) or name


def _run(command: Sequence[str], log: IO[bytes]) -> None:
    subprocess.run(command, check=True, stdout=log, stderr=log)


@contextlib.contextmanager
def start(folder: Path, *options: str, release: Release | None = None) -> Iterator[Server]:
    """A server in `folder`, which is made; `options` are further ones of the server. Its data is removed at the end."""
    folder.mkdir()
    server = Server(folder, options, release)
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.data, ignore_errors=True)
