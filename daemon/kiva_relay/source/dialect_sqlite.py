"""SQLite: whole tables are compared, for its files are small and its stamps are whatever text somebody wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import ConnectionPoolEntry

from kiva_relay.source import session_sqlite, value
from kiva_relay.source.grants import Grants
from kiva_relay.source.position import CaptureMode, Horizon, Position, Snapshot
from kiva_relay.source.server_time import ServerTime
from kiva_relay.source.watch import Stamp, TableFacts, Watched

_LONGEST = 18
"""Digits of a number that every integer column holds; longer ones are ids that were written as text."""


class SQLite:
    """The dialect of SQLite. A file has no server, no sessions that can be seen, and no types worth asking."""

    name = "sqlite"

    def __init__(self) -> None:
        self._quote = sqlite.dialect().identifier_preparer.quote

    def engine(
        self,
        url: sa.URL,
        *,
        password: str | None,  # noqa: ARG002 - a file has no password
        statement_timeout: timedelta,
        server_time: ServerTime,
    ) -> sa.Engine:
        """An engine that opens the file read-only; a transaction is one snapshot."""
        path = Path(url.database or "").absolute()
        made = sa.create_engine(
            f"sqlite:///file:{path}?mode=ro&uri=true",
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": statement_timeout.total_seconds(), "factory": session_sqlite.SQLiteSession},
        )

        def prepare(connection: session_sqlite.SQLiteSession, record: ConnectionPoolEntry) -> None:
            connection.prepare(server_time, seconds=statement_timeout.total_seconds())
            record.info["file"] = _file(path)

        def still_there(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
            if record.info["file"] != _file(path):  # an export was renamed over it: this is the old one, without a name
                raise sa.exc.DisconnectionError

        event.listen(made, "connect", prepare)
        event.listen(made, "checkout", still_there)
        event.listen(made, "begin", lambda cx: cx.exec_driver_sql("BEGIN"))
        return made

    def identity(self, cx: sa.Connection) -> str:
        """The file's path: nothing in a SQLite file names it."""
        return f"sqlite:{cx.exec_driver_sql('PRAGMA database_list').one()[2]}"

    def server(self, cx: sa.Connection) -> str:
        """`SQLite 3.40.1`."""
        return f"SQLite {cx.exec_driver_sql('SELECT sqlite_version()').scalar_one()}"

    def zone(self, cx: sa.Connection) -> tzinfo:  # noqa: ARG002 - every dialect is asked alike
        """`datetime('now')` is UTC."""
        return UTC

    def horizon(self, cx: sa.Connection, *, now: datetime) -> Horizon:  # noqa: ARG002 - every dialect is asked alike
        """Now: a file has one writer at a time, and no row is found by its stamp."""
        return Horizon(now, timedelta(0), "a file has no sessions; its tables are compared as a whole")

    def snapshot(self, cx: sa.Connection) -> Snapshot:  # noqa: ARG002 - every dialect is asked alike
        """SQLite has no transaction ids."""
        return Snapshot(None)

    def written(self, cx: sa.Connection, tables: Sequence[str]) -> str:  # noqa: ARG002 - every dialect is asked alike
        """It is always asked: a file is read fast."""
        return ""

    def holder(self, cx: sa.Connection, xid: int) -> str:  # noqa: ARG002 - every dialect is asked alike
        """Rows do not show their transaction ids."""
        return ""

    def went_back(self, cx: sa.Connection, position: Position) -> bool:  # noqa: ARG002 - every dialect is asked alike
        """Cannot be seen in a file; whole tables are compared in any case."""
        return False

    def exists(self, cx: sa.Connection, table: str) -> bool:
        """Whether there is such a table or view."""
        return table.casefold() in {name.casefold() for name in self.tables(cx)}

    def whole(self, cx: sa.Connection, table: str) -> CaptureMode | None:  # noqa: ARG002 - every dialect is asked alike
        """Every row is read and compared."""
        return "compare"

    def indexed(self, cx: sa.Connection, table: str) -> set[str]:  # noqa: ARG002 - every dialect is asked alike
        """No index is used."""
        return set()

    def unique(self, cx: sa.Connection, table: str, columns: Sequence[str]) -> bool:
        """By its primary key, or a unique index over these columns, or over some of them."""
        named, wanted = self.quoted(table), {column.casefold() for column in columns}
        primary = {row[1].casefold() for row in cx.exec_driver_sql(f"PRAGMA table_xinfo({named})") if row[5]}
        whole = [row[1] for row in cx.exec_driver_sql(f"PRAGMA index_list({named})") if row[2] and not row[4]]
        keys = [primary] if primary else []
        for index in whole:
            rows = cx.exec_driver_sql(f"PRAGMA index_info({self._quote(index)})")
            keys.append({str(row[2]).casefold() for row in rows})
        return any(key <= wanted for key in keys)

    def stamp(self, type_code: object) -> Stamp | None:  # noqa: ARG002 - every dialect is asked alike
        """Never asked for: stamps are not used."""
        return "naive"

    def unsteady(self, cx: sa.Connection) -> set[str]:  # noqa: ARG002 - every dialect is asked alike
        """None: a transaction sees one state of the file."""
        return set()

    def torn(self, cx: sa.Connection) -> str:  # noqa: ARG002 - every dialect is asked alike
        """None, for the same reason."""
        return ""

    def described(self, cursor: Any) -> list[tuple[str, object]]:
        """Names; a column of SQLite has no type that would mean anything."""
        return [(column[0], None) for column in cursor.description]

    def turned(self, code: object) -> Callable[[object], object] | None:  # noqa: ARG002 - every dialect is asked alike
        """Nothing is left to do after the driver."""
        return None

    def exact(self, code: object, column: str) -> str | None:  # noqa: ARG002 - every dialect is asked alike
        """All digits are given."""
        return None

    def as_exact(self, given: object) -> object:
        """Never asked for."""
        return given

    def brief(self, code: object, column: str) -> str:  # noqa: ARG002 - every dialect is asked alike
        """Of bytes their number, which stands before them."""
        return f"CASE WHEN typeof({column}) = 'blob' THEN length({column}) ELSE {column} END"

    def version(self, one: Watched, facts: TableFacts) -> str | None:  # noqa: ARG002 - every dialect is asked alike
        """The row is its own version."""
        return None

    def since(
        self,
        one: Watched,  # noqa: ARG002 - every dialect is asked alike
        facts: TableFacts,  # noqa: ARG002
        *,
        at: Position,  # noqa: ARG002
        now: Position,  # noqa: ARG002
        zones: Sequence[tzinfo],  # noqa: ARG002
        prefix: str,  # noqa: ARG002
    ) -> tuple[str, Mapping[str, object]]:
        """Every row, every time."""
        return "1", {}

    def after(self, columns: Sequence[str], names: Sequence[str]) -> str:
        """A row-value comparison."""
        return f"({', '.join(columns)}) > ({', '.join(':' + name for name in names)})"

    def forms(self, parts: tuple[str, ...]) -> list[tuple[object, ...]]:
        """As text, and as numbers: a column without a type holds what was put into it, and is equal to nothing else."""
        numbers = tuple(part if (number := _number(part)) is None else number for part in parts)
        return [parts] if numbers == parts else [numbers, parts]

    def absent(self, column: str) -> str:
        """NULL."""
        return f"{column} IS NULL"

    def index(self, table: str, column: str) -> str:  # noqa: ARG002 - every dialect is asked alike
        """None would be used."""
        return ""

    def quoted(self, name: str) -> str:
        """Quoted where it has to be."""
        return ".".join(str(self._quote(part)) for part in name.split("."))

    def bound(self, given: object) -> object:
        """As it is stored: the column's affinity turns text into a number."""
        return self.parameter(given)

    def parameter(self, given: object) -> object:
        """As the driver takes it."""
        if isinstance(given, Decimal):
            return int(given) if given == given.to_integral_value() else float(given)
        return value.text(given) if isinstance(given, date) else given

    def as_text(self, sql: str) -> str:
        """A cast."""
        return f"CAST({sql} AS TEXT)"

    def kind(self, type_code: object) -> str:  # noqa: ARG002 - every dialect is asked alike
        """Any column may hold anything."""
        return "other"

    def tables(self, cx: sa.Connection) -> list[str]:
        """Tables and views."""
        return list(cx.scalars(sa.text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")))

    def may_read(self, cx: sa.Connection, table: str, *, whole: bool) -> bool:  # noqa: ARG002 - every dialect is asked alike
        """A file is read as a whole."""
        return True

    def can_write(self, cx: sa.Connection) -> list[str]:  # noqa: ARG002 - every dialect is asked alike
        """None: the file is opened read-only."""
        return []

    def anyones(self, url: sa.URL) -> sa.URL:
        """The file itself."""
        return url

    def secured(self, cx: sa.Connection, tables: Sequence[str]) -> set[str]:  # noqa: ARG002 - every dialect is asked alike
        """None: it has no such thing."""
        return set()

    def grants(self, cx: sa.Connection, tables: Sequence[str], *, database: str) -> Grants:  # noqa: ARG002 - every dialect is asked alike
        """None: a file has permissions instead."""
        return Grants()

    def replaced(self, error: sa.exc.DBAPIError) -> bool:  # noqa: ARG002 - every dialect is asked alike
        """Cannot happen: a transaction sees one state of the file."""
        return False

    def cancelled(self, error: sa.exc.DBAPIError) -> bool:
        """The statement took too long."""
        return str(error.orig) == "interrupted"

    def odd(self, error: sa.exc.DBAPIError) -> bool:
        """A text that is none, a sum that is too large, a document that is broken."""
        return str(error.orig).startswith(("Could not decode", "integer overflow", "malformed JSON"))

    def plain(self, error: sa.exc.DBAPIError) -> bool:
        """Names that are not there."""
        return str(error.orig).startswith("no such ")

    def forbidden(self, error: sa.exc.DBAPIError) -> bool:  # noqa: ARG002 - every dialect is asked alike
        """A file is opened as a whole or not at all."""
        return False

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """A file that cannot be opened, or that somebody keeps locked."""
        return isinstance(error.orig, sqlite3.OperationalError) and any(
            words in str(error.orig) for words in ("unable to open", "locked")
        )


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _number(text: str) -> int | None:
    """The number that is written so, and not otherwise."""
    digits = text.removeprefix("-")
    if len(digits) > _LONGEST or not digits.isdecimal():
        return None
    return int(text) if str(int(text)) == text else None
