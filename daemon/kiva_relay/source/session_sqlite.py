"""A session on a SQLite MIS: read only whatever it is asked, and bounded, for a file has no server to do that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from kiva_relay.source import value
from kiva_relay.source.server_time import ServerTime

_LOOKS_EVERY = 100_000
"""Steps of SQLite's machine, some milliseconds, after which it asks whether a statement has taken too long."""

_READS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
    }
)
_PRAGMAS = frozenset({"database_list", "table_info", "table_xinfo", "index_list", "index_info"})


def _allowed(action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None) -> int:
    """SELECT, and what only shows something: no ATTACH (which makes files), no PRAGMA that sets, no extension."""
    if action in _READS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in ("load_extension", "fts3_tokenizer") else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


class SQLiteSession(sqlite3.Connection):
    """A connection that knows how long the file was worked on."""

    server_time: ServerTime
    _until = 0.0
    _seconds = 0.0

    def prepare(self, server_time: ServerTime, *, seconds: float) -> None:
        """Let nothing be written, and no statement take longer than this."""
        self.server_time, self._seconds = server_time, seconds
        self.isolation_level = None  # the driver would begin no transaction for a SELECT
        self.text_factory = value.decoded
        self.execute("PRAGMA query_only = ON")
        self.set_authorizer(_allowed)
        self.set_progress_handler(lambda: int(server_time.now() > self._until), _LOOKS_EVERY)

    def cursor(self, factory: Any = None) -> Any:
        """One that is timed."""
        return super().cursor(factory or _TimedCursor)

    def timed(self, ask: Callable[..., Any], *given: Any) -> Any:
        """What SQLite answers; it works while rows are fetched, too."""
        if not self._seconds:
            return ask(*given)
        began = self.server_time.now()
        self._until = began + self._seconds
        try:
            return ask(*given)
        finally:
            self.server_time.answered(self.server_time.now() - began)


class _TimedCursor(sqlite3.Cursor):
    connection: SQLiteSession

    def execute(self, *given: Any) -> Any:
        return self.connection.timed(super().execute, *given)

    def fetchone(self) -> Any:
        return self.connection.timed(super().fetchone)

    def fetchmany(self, *given: Any) -> Any:
        return self.connection.timed(super().fetchmany, *given)

    def fetchall(self) -> Any:
        return self.connection.timed(super().fetchall)
