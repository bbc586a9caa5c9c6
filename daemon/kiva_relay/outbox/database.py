"""The outbox database: one SQLite file by default, PostgreSQL by setting. The same code runs on both.

SQLite's own manual ("Write-Ahead Logging", "PRAGMA synchronous") gives WAL with synchronous=FULL as durable
across a power cut. The driver's transaction handling is off: it would open a transaction late and let DDL slip
out of it; every writing transaction here begins with BEGIN IMMEDIATE.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shlex
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from kiva_relay import errors
from kiva_relay.config import hosts, own_schema, secret
from kiva_relay.outbox import meta, own_file, server
from kiva_relay.outbox.queue import WritersQueue
from kiva_relay.terminal import to_type

BUSY_TIMEOUT_SECONDS = 30
_SCRUBBED_BY, _BETWEEN = 40, 0.25
"""How often the log is tried to be emptied, and how many seconds lie between."""
FREE_BYTES = 64 * 1024 * 1024
"""Nothing is claimed with less room than this: an answer must always find room to be recorded."""

_WRITERS = 0x6B697662  # any number that nobody else uses in this database
_WROTE = "relay_wrote"

# What begins a transaction on a server. Who is stopped in its middle loses it, and holds nobody up.
_FIRST = sa.select(
    sa.func.set_config("idle_in_transaction_session_timeout", sa.bindparam("stopped_after", type_=sa.Text), sa.true())
)

_ONE_PICTURE_OF_A_FILE: Mapping[str, Any] = {"relay_reads": True}
_ONE_PICTURE_OF_A_SERVER: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

_OURS = (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError, sa.exc.NotSupportedError)
"""What the drivers raise for a broken rule of the tables, or a statement that is wrong. Everything else is a disk, a
lock, a server or a session. (SQLite calls what it read of a failing disk "malformed", by the plain DatabaseError.)
"""


class Outbox:
    """An open outbox database.

    `guard` is called with the connection at the start of every writing transaction; the daemon's guard checks
    that it still holds the lease, so that nothing is written after another relay took over. `stopped_after`: how
    long a transaction may stand still on a server. `server` says which one answers, as `7512/3`: PostgreSQL's system
    identifier and the timeline on which it writes; "" of a file, and where the server does not say it. `schema` is its
    own there; "" where the URL names none.
    """

    def __init__(self, url: str, *, password: secret.Secret | None = None) -> None:
        self.url = hosts.made(url, target="read-write")
        self.schema = own_schema.of(url)
        self.is_file = self.url.get_backend_name() == "sqlite"
        self.guard: Callable[[Connection], None] | None = None
        self.stopped_after = timedelta(minutes=1)
        self._writers = WritersQueue()
        self._first_alone = _FIRST.add_columns(_alone(self.schema))
        self._quiet: tuple[object, object] | None = None
        self._hush = threading.Lock()
        self._written, self._number = 0, itertools.count(1)
        self.server, self._stays_at = "", ""
        if self.is_file:
            self.engine = _file_engine(self.path)
        else:
            self.engine = server.engine(self.url, password, schema=self.schema, met=self._met)
        self._one_picture = _ONE_PICTURE_OF_A_FILE if self.is_file else _ONE_PICTURE_OF_A_SERVER
        event.listen(self.engine, "before_cursor_execute", _notice)

    @property
    def path(self) -> Path:
        """The file of a SQLite outbox."""
        return Path(self.url.database or "")

    def stay(self, *, at_this_server: bool = True) -> None:
        """From now on take no other server for this outbox, or any again: another may know less than we do."""
        self._stays_at = self.server if at_this_server else ""

    def _met(self, found: str) -> None:
        """A connection was made, to this server.

        Raises:
            OutboxPutBack: it is another one than that of which we know what it holds.
        """
        if self._stays_at and found != self._stays_at:
            raise errors.OutboxPutBack(
                f"The outbox's PostgreSQL is another one now: {found or 'it does not say which'}, and it was"
                f" {self._stays_at}. A standby took over, or a backup. What it lacks of what was sent, the next start"
                " takes from the witness.",
                hint="kiva-relay status",
            )
        self.server = found

    @contextlib.contextmanager
    def begin(self, *, alone: bool = True, quiet: bool = False) -> Iterator[Connection]:
        """A writing transaction: all of it is durable when the block ends, or none of it happened.

        One writer at a time, on a server as in a file: what one read, no other changes under it, and no two wait
        for each other. Only the lease is written beside a writer (`alone=False`), for it must not wait. What is
        written `quiet` nobody has to act upon.
        """
        hushed = quiet and self.is_file
        hush: contextlib.AbstractContextManager[object] = self._hush if hushed else contextlib.nullcontext()
        with self._reached(), self._in_turn(), hush:
            with self.engine.begin() as tx:
                if not self.is_file:
                    first = {"stopped_after": str(int(self.stopped_after.total_seconds() * 1_000))}
                    tx.execute(self._first_alone if alone else _FIRST, first)
                before = self._known_as(self._stamp()) if hushed else None
                if self.guard is not None:
                    self.guard(tx)
                tx.info[_WROTE] = False
                yield tx
                is_news = tx.info[_WROTE] and not quiet
                if is_news and alone and self.guard is None and not self.is_file:
                    meta.WORD_LEFT.put(tx, secrets.token_hex(8))
            if hushed:
                self._quiet = (self._stamp(), before)
            if is_news:
                self._written = next(self._number)

    @contextlib.contextmanager
    def glance(self) -> Iterator[Connection]:
        """For a single statement: it is a picture, and a transaction, of its own.

        On a server nothing is asked before it and nothing after it. Nobody's turn is waited for, and `guard` is not
        asked: what it writes, it has to guard by itself.
        """
        if self.is_file:
            with self.read() as tx:
                yield tx
            return
        with self._reached(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as cx:
            yield cx

    def news(self) -> object:
        """Equal to what it was before when nothing was written since, of whatever process, but what is quiet.

        On a server, whoever is not the relay leaves word; of a file its log tells. That may miss a write at the same
        moment as another, and SQL that a person typed leaves no word, so whoever goes by it looks now and then all the
        same.
        """
        if self.is_file:
            with self._hush:  # what is quiet is told by the kernel before it is known to be quiet
                return self._known_as(self._stamp())
        try:
            with self.glance() as cx:
                return (self._written, meta.WORD_LEFT.get(cx))
        except (errors.OutboxAway, sa.exc.DBAPIError):
            return object()

    def _known_as(self, stamp: object) -> object:
        quiet = self._quiet
        return quiet[1] if quiet is not None and quiet[0] == stamp else stamp

    def _stamp(self) -> object:
        """How far the log of a file is written; always another where that cannot be seen."""
        try:
            log = self.path.with_name(f"{self.path.name}-wal").stat()
        except OSError:
            return object()
        return (log.st_ino, log.st_size, log.st_mtime_ns)

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """A server lets writers in as they come (see `_alone`); a file lets in whoever asks when it is free."""
        if not self.is_file:
            yield
            return
        if not self._writers.enter(within=BUSY_TIMEOUT_SECONDS):
            raise errors.OutboxAway(f"The outbox {self.path} is being written for very long. Nothing is lost.")
        try:
            yield
        finally:
            self._writers.leave()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A reading transaction: one consistent picture, which disturbs no writer."""
        with self._reached(), self.engine.connect().execution_options(**self._one_picture) as tx, tx.begin():
            yield tx

    def scrub(self, *, whole: bool = False) -> bool:
        """Let nothing deleted stay behind in a file: not in its log, and if `whole`, in none of its free pages.

        False where somebody reads or writes just then, so that a part of the log stays until the next time; of a
        server, whose files are not ours.
        """
        if not self.is_file:
            return False
        try:
            with self._in_turn(), contextlib.closing(sqlite3.connect(self.path, BUSY_TIMEOUT_SECONDS)) as own:
                own.isolation_level = None
                if whole:
                    own.execute("VACUUM")
                # It waits for those who write, and gives up at once before those who read.
                tries = _SCRUBBED_BY if whole else 1
                return _emptied(own, tries)
        except sqlite3.OperationalError:
            return False

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
        except _OURS:
            raise
        except sa.exc.DBAPIError as error:
            raise _explained(error, self) from error


def _alone(schema: str) -> sa.ColumnElement[Any]:
    """Waits until nobody else writes this outbox. Those in other schemas of the database are none of its business."""
    if not schema:
        return sa.func.pg_advisory_xact_lock(_WRITERS)
    number = zlib.crc32(schema.encode())
    return sa.func.pg_advisory_xact_lock(_WRITERS, number - (number >> 31 << 32))


def _notice(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    """Anything but a SELECT may write."""
    if not statement.startswith("SELECT"):
        connection.info[_WROTE] = True


def _emptied(own: sqlite3.Connection, tries: int) -> bool:
    for number in range(tries):
        if number:
            time.sleep(_BETWEEN)
        if own.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
            return True
    return False


_DAMAGED = ("file is not a database", "database disk image is malformed")
"""SQLite's words for a file that no waiting mends."""


def _explained(error: sa.exc.DBAPIError, outbox: Outbox) -> errors.RelayError:
    cause = (str(error.orig).splitlines() or [type(error.orig).__name__])[0]
    if not outbox.is_file:
        return errors.OutboxAway(f"The outbox database does not answer: {cause}. Nothing is lost.")
    if outbox.guard is None and outbox.path.is_dir():
        return errors.UsageError(
            f"The outbox {outbox.path} is a folder; a file is expected.", hint=f"ls -ld {shlex.quote(str(outbox.path))}"
        )
    if outbox.guard is None and cause in _DAMAGED:
        return errors.UsageError(
            f"The outbox {outbox.path} is damaged ({cause}). Nothing was changed, and nothing is sent.",
            hint="Put its last backup in its place; then the witness says what is missing: kiva-relay outbox recover",
        )
    # A daemon that is running could write a moment ago: a disk became read-only, and that passes.
    if own_file.is_read_only(outbox.path):
        cause = f"its disk is read-only ({cause})"
    elif outbox.guard is None and ("readonly" in cause or "unable to open" in cause):
        if _is_mine(outbox.path.parent) and (remedy := own_file.foreign(outbox.path)):
            return errors.UsageError(f"The outbox {outbox.path} belongs to another user ({cause}).", hint=remedy)
        return errors.UsageError(
            f"The outbox {outbox.path} belongs to the service and cannot be used by your user ({cause}).",
            hint=to_type.again(),
        )
    return errors.OutboxAway(
        f"The outbox {outbox.path} cannot be written now: {cause}. Nothing is lost.", hint=f"df -h {outbox.path.parent}"
    )


def _is_mine(folder: Path) -> bool:
    """Whether the folder is that of this process: then it is the service, and sudo is no remedy."""
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _look_at(path: Path) -> None:
    try:
        own_file.look_at_database(path)
    except FileNotFoundError:
        return  # whoever opens it says what is missing
    except OSError as error:
        words = f"The outbox {path} cannot be opened: {error.filename or path}: {error.strerror}."
        if own_file.passes(error):
            raise errors.OutboxAway(f"{words} Nothing is lost.", hint=f"df -h {path.parent}") from error
        raise errors.UsageError(words, hint=f"ls -l {path.parent}") from error


def _file_engine(path: Path) -> Engine:
    _look_at(path)
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={
            "timeout": BUSY_TIMEOUT_SECONDS,
            "isolation_level": None,
            "check_same_thread": False,
            "cached_statements": 64,
        },
        # Each keeps a megabyte of pages, tables and statements: those that only a busy moment needs are closed again.
        pool_size=3,
        max_overflow=13,
        pool_use_lifo=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten: it names persons
        cursor.execute("PRAGMA cache_size=-512")  # KiB
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("relay_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def create_file(path: Path) -> None:
    """Make an empty file that only its owner reads (mode 0600), in a folder that exists.

    Raises:
        UsageError: the folder is missing or may not be written; the message names the command to type.
        OutboxAway: its disk fails.
    """
    try:
        descriptor = own_file.opened(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if own_file.passes(error):
            words = f"The outbox {path} cannot be opened: {error.strerror}. Nothing is lost."
            raise errors.OutboxAway(words, hint=f"df -h {path.parent}") from error
        if remedy := own_file.foreign(path):
            raise errors.UsageError(f"The outbox {path} belongs to another user.", hint=remedy) from error
        raise errors.UsageError(
            f"The outbox {path} cannot be made: {error.strerror}.",
            hint=f"sudo install -d -o kiva-relay -m 0700 {path.parent}",
        ) from error
    os.close(descriptor)
