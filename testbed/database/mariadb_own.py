"""A MariaDB of our own out of the binaries that this machine has, so that it may be restarted and killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa

from testbed.database import leash
from testbed.rig import patience

_BINARIES = ("mariadbd", "mariadb-install-db")
_STARTS_WITHIN = 60.0
_STOPS_WITHIN = 60.0
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))  # not everybody's


class Server:
    """A server in a folder, on a free loopback port; root has no password, for nobody else is let in."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.folder, self._options = folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.data = folder / "data"
        self._leash: leash.Leash | None = None

    @property
    def pid(self) -> int:
        """Its number; 0 while it does not run."""
        return self._leash.process.pid if self._leash is not None else 0

    def url(self, database: str) -> str:
        """As it stands in mis.url."""
        url = sa.URL.create("mariadb", "root", host="127.0.0.1", port=self.port, database=database)
        return url.render_as_string(hide_password=False)

    def connect(self, database: str | None = None, **more: Any) -> pymysql.Connection[Any]:
        """A connection of root's."""
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database=database, **more)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [_binary("mariadbd"), "--no-defaults", f"--datadir={self.data}", f"--port={self.port}"]
        # In the data folder, by its name alone: the path of a socket has to be shorter than 108 bytes.
        command += ["--bind-address=127.0.0.1", "--socket=socket", *self._options]
        command += ["--user=root"] if os.geteuid() == 0 else []
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


@contextlib.contextmanager
def start(folder: Path, *options: str) -> Iterator[Server]:
    """A server in `folder`, which is made; `options` are further ones of mariadbd. Its data is removed at the end."""
    folder.mkdir()
    server = Server(folder, options)
    command = [_binary("mariadb-install-db"), "--no-defaults", f"--datadir={server.data}", "--skip-test-db"]
    command += ["--auth-root-authentication-method=normal", *(["--user=root"] if os.geteuid() == 0 else [])]
    try:
        subprocess.run(command, check=True, capture_output=True)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.data, ignore_errors=True)
