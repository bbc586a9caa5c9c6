"""The outbox database: one SQLite file by default, PostgreSQL by setting. The same code runs on both.

SQLite's own manual ("Write-Ahead Logging", "PRAGMA synchronous") gives WAL with synchronous=FULL as durable
across a power cut. The driver's transaction handling is off: it would open a transaction late and let DDL slip
out of it; every writing transaction here begins with BEGIN IMMEDIATE.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from kiva_relay import errors, to_type
from kiva_relay.config import secret
from kiva_relay.outbox import own_file

BUSY_TIMEOUT_SECONDS = 30
FREE_BYTES = 64 * 1024 * 1024
"""Nothing is claimed with less room than this: an answer must always find room to be recorded."""

_WRITERS = 0x6B697662  # any number that nobody else uses in this database

_AWAY = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.InterfaceError)
"""What the drivers raise for a disk, a lock, a server or a session; a broken rule of the tables is none of them."""


class Outbox:
    """An open outbox database.

    `guard` is called with the connection at the start of every writing transaction; the daemon's guard checks
    that it still holds the lease, so that nothing is written after another relay took over. `stopped_after`: how
    long a transaction may stand still on a server.
    """

    def __init__(self, url: str, *, password: secret.Secret | None = None) -> None:
        self.url = sa.make_url(url)
        self.is_file = self.url.get_backend_name() == "sqlite"
        self.guard: Callable[[Connection], None] | None = None
        self.stopped_after = timedelta(minutes=1)
        self.engine = _file_engine(self.path) if self.is_file else _server_engine(self.url, password)

    @property
    def path(self) -> Path:
        """The file of a SQLite outbox."""
        return Path(self.url.database or "")

    @contextlib.contextmanager
    def begin(self, *, alone: bool = True) -> Iterator[Connection]:
        """A writing transaction: all of it is durable when the block ends, or none of it happened.

        One writer at a time, on a server as in a file: what one read, no other changes under it, and no two wait
        for each other. Only the lease is written beside a writer (`alone=False`), for it must not wait.
        """
        with self._reached(), self.engine.begin() as tx:
            if not self.is_file:
                tx.execute(self._first(alone=alone))
            if self.guard is not None:
                self.guard(tx)
            yield tx

    def _first(self, *, alone: bool) -> sa.Select[Any]:
        """What begins a transaction on a server. Who is stopped in its middle loses it, and holds nobody up."""
        milliseconds = str(int(self.stopped_after.total_seconds() * 1_000))
        query = sa.select(sa.func.set_config("idle_in_transaction_session_timeout", milliseconds, sa.true()))
        return query.add_columns(sa.func.pg_advisory_xact_lock(_WRITERS)) if alone else query

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A reading transaction: one consistent picture, which disturbs no writer."""
        with self._reached(), self.engine.connect().execution_options(relay_reads=True) as tx, tx.begin():
            yield tx

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def size(self) -> int | None:
        """Bytes of a file, with what stands in its log beside it; None for a server."""
        if not self.is_file:
            return None
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def free_bytes(self) -> int | None:
        """How much room the disk of a file still has; None for a server, whose disk is not ours to see."""
        return shutil.disk_usage(self.path.parent).free if self.is_file else None

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except _AWAY as error:
            raise _explained(error, self) from error


def _explained(error: sa.exc.DBAPIError, outbox: Outbox) -> errors.RelayError:
    cause = (str(error.orig).splitlines() or [type(error.orig).__name__])[0]
    if not outbox.is_file:
        return errors.OutboxAway(f"The outbox database does not answer: {cause}. Nothing is lost.")
    # A daemon that is running could write a moment ago: a disk became read-only, and that passes.
    if outbox.guard is None and ("readonly" in cause or "unable to open" in cause):
        return errors.UsageError(
            f"The outbox {outbox.path} belongs to the service and cannot be used by your user ({cause}).",
            hint=to_type.again(),
        )
    return errors.OutboxAway(f"The outbox {outbox.path} cannot be written now: {cause}. Nothing is lost.")


def _look_at(path: Path) -> None:
    try:
        own_file.look_at_database(path)
    except FileNotFoundError:
        return  # whoever opens it says what is missing
    except OSError as error:
        raise errors.UsageError(
            f"The outbox {path} cannot be opened: {error.filename or path}: {error.strerror}.",
            hint=f"ls -l {path.parent}",
        ) from error


def _file_engine(path: Path) -> Engine:
    _look_at(path)
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "isolation_level": None, "check_same_thread": False},
        pool_size=8,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("relay_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _server_engine(url: sa.URL, password: secret.Secret | None) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise errors.UsageError(
            f"outbox.url: expected sqlite:///FILE or postgresql://…, found {url.get_backend_name()}://…",
            hint="outbox: {url: sqlite:////var/lib/kiva-relay/outbox.db}",
        )
    url = url.set(drivername="postgresql+psycopg")
    if password is not None:
        url = url.set(password=password.reveal())
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={
            "application_name": "kiva-relay outbox",
            "connect_timeout": 5,
            "options": "-c synchronous_commit=on -c timezone=UTC",
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        from kiva_relay.outbox import nul  # noqa: PLC0415 - psycopg is needed only here

        connection.adapters.register_dumper(str, nul.WithoutNul)

    return engine


def create_file(path: Path) -> None:
    """Make an empty file that only its owner reads (mode 0600), in a folder that exists.

    Raises:
        UsageError: the folder is missing or may not be written; the message names the command to type.
    """
    try:
        descriptor = own_file.opened(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise errors.UsageError(
            f"The outbox {path} cannot be made: {error.strerror}.",
            hint=f"sudo install -d -o kiva-relay -m 0700 {path.parent}",
        ) from error
    os.close(descriptor)
