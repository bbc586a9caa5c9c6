"""What differs between MIS databases: one file each, `dialect_<name>.py`, and one contract suite for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, Protocol

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source.grants import Grants
from kiva_relay.source.position import CaptureMode, Horizon, Position, Snapshot
from kiva_relay.source.server_time import ServerTime
from kiva_relay.source.watch import Stamp, TableFacts, Watched


class Dialect(Protocol):
    """One kind of MIS database. Connections are in a transaction unless a method says otherwise."""

    name: str

    def engine(
        self, url: sa.URL, *, password: str | None, statement_timeout: timedelta, server_time: ServerTime
    ) -> sa.Engine:
        """An engine whose every transaction is one read-only snapshot; `server_time` is told of each answer."""
        ...

    def identity(self, cx: sa.Connection) -> str:
        """Which database this is: the same after a restart, another after it was copied elsewhere."""
        ...

    def server(self, cx: sa.Connection) -> str:
        """Product and version, for people."""
        ...

    def zone(self, cx: sa.Connection) -> tzinfo:
        """The server's own time zone."""
        ...

    def horizon(self, cx: sa.Connection, *, now: datetime) -> Horizon:
        """Taken in a transaction of its own, before the snapshot that reads. `now`: this machine's clock."""
        ...

    def snapshot(self, cx: sa.Connection) -> Snapshot:
        """First in its transaction: the oldest transaction id that was still open, if there are such."""
        ...

    def written(self, cx: sa.Connection, tables: Sequence[str]) -> str:
        """How far the server has written, when all that can change in these tables moves that; "" when not."""
        ...

    def holder(self, cx: sa.Connection, xid: int) -> str:
        """The session or prepared transaction that has this transaction id, "" when none has it any more."""
        ...

    def went_back(self, cx: sa.Connection, position: Position) -> bool:
        """Whether the database is older than the position."""
        ...

    def exists(self, cx: sa.Connection, table: str) -> bool:
        """Whether there is such a table or view."""
        ...

    def whole(self, cx: sa.Connection, table: str) -> CaptureMode | None:
        """The capture mode that finds its changes without any stamp, if there is one."""
        ...

    def indexed(self, cx: sa.Connection, table: str) -> set[str]:
        """Columns that an index begins with."""
        ...

    def unique(self, cx: sa.Connection, table: str, columns: Sequence[str]) -> bool:
        """Whether the database itself keeps two rows from having the same values there."""
        ...

    def stamp(self, type_code: object) -> Stamp | None:
        """What a column of this type says about when, None when nothing."""
        ...

    def unsteady(self, cx: sa.Connection) -> set[str]:
        """Tables of which a transaction sees every change at once, as if it were none."""
        ...

    def torn(self, cx: sa.Connection) -> str:
        """Last in its transaction: a table that was emptied under the snapshot, so that it looked empty; mostly ""."""
        ...

    def described(self, cursor: Any) -> list[tuple[str, object]]:
        """Names and type codes of a result's columns."""
        ...

    def turned(self, code: object) -> Callable[[object], object] | None:
        """What is left to do with the values of a column of this type after the driver; None: nothing."""
        ...

    def exact(self, code: object, column: str) -> str | None:
        """SQL for all digits of a column of which the database otherwise writes some; None: it writes them all."""
        ...

    def as_exact(self, given: object) -> object:
        """What `exact` gave, as the number that is stored."""
        ...

    def brief(self, code: object, column: str) -> str:
        """SQL for what tells the versions of a column apart that nobody reads; "" where that would read a photo."""
        ...

    def version(self, one: Watched, facts: TableFacts) -> str | None:
        """SQL for a text that is another one for each version of each row `r`; None: the row is its version."""
        ...

    def since(
        self, one: Watched, facts: TableFacts, *, at: Position, now: Position, zones: Sequence[tzinfo], prefix: str
    ) -> tuple[str, Mapping[str, object]]:
        """SQL that is true for rows `r` changed at or after `at`, with values to bind, whose names begin with prefix.

        `now` is where the next cycle goes on; `zones` are those in which the streams read times without a zone.
        """
        ...

    def after(self, columns: Sequence[str], names: Sequence[str]) -> str:
        """SQL that is true for rows whose columns come after the bound names."""
        ...

    def forms(self, parts: tuple[str, ...]) -> list[tuple[object, ...]]:
        """The values that the texts of a key's columns may stand for, the likeliest first."""
        ...

    def absent(self, column: str) -> str:
        """SQL that is true where a stamp says nothing."""
        ...

    def index(self, table: str, column: str) -> str:
        """The statement that makes an index on a column."""
        ...

    def quoted(self, name: str) -> str:
        """A table's or column's name as SQL; `schema.table` too."""
        ...

    def bound(self, value: object) -> object:
        """A value as the driver takes it where the column decides about the type."""
        ...

    def parameter(self, value: object) -> object:
        """An administrator's parameter as the driver takes it, keeping its type."""
        ...

    def as_text(self, sql: str) -> str:
        """SQL for the text of an expression."""
        ...

    def kind(self, type_code: object) -> str:
        """text, integer, number, boolean, date, datetime, bytes or other, for a cursor's type code."""
        ...

    def tables(self, cx: sa.Connection) -> list[str]:
        """The tables that there are, for the nearest name."""
        ...

    def may_read(self, cx: sa.Connection, table: str, *, whole: bool) -> bool:
        """Whether this role may read a table, or some of it; true for one that is known not to be there."""
        ...

    def can_write(self, cx: sa.Connection) -> list[str]:
        """The tables that this role could change, a column of them alone too."""
        ...

    def anyones(self, url: sa.URL) -> sa.URL:
        """Where a role may connect to that has no right in the database of the URL yet."""
        ...

    def secured(self, cx: sa.Connection, tables: Sequence[str]) -> set[str]:
        """Those of the tables of which row level security may hide rows from this role."""
        ...

    def grants(self, cx: sa.Connection, tables: Sequence[str], *, database: str) -> Grants:
        """What the role needs for these tables of a database, and nothing else."""
        ...

    def replaced(self, error: sa.exc.DBAPIError) -> bool:
        """Whether a table was replaced under the snapshot: the same in a new one will work."""
        ...

    def cancelled(self, error: sa.exc.DBAPIError) -> bool:
        """Whether the statement took longer than it may."""
        ...

    def odd(self, error: sa.exc.DBAPIError) -> bool:
        """Whether it is about a value of some row: other rows can be read."""
        ...

    def plain(self, error: sa.exc.DBAPIError) -> bool:
        """Whether its words are about names only: others may quote what a row holds."""
        ...

    def forbidden(self, error: sa.exc.DBAPIError) -> bool:
        """Whether a grant is missing."""
        ...

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """Whether the server is away, so that the same may work later."""
        ...


def of(url: sa.URL) -> Dialect:
    """The dialect for a URL. Only its own driver is loaded.

    Raises:
        UsageError: there is none.
    """
    match url.get_backend_name():
        case "postgresql":
            from kiva_relay.source import dialect_postgresql  # noqa: PLC0415 - as above

            return dialect_postgresql.PostgreSQL()
        case "mariadb" | "mysql":
            from kiva_relay.source import dialect_mariadb  # noqa: PLC0415 - as above

            return dialect_mariadb.MariaDB()
        case "sqlite":
            from kiva_relay.source import dialect_sqlite  # noqa: PLC0415 - as above

            return dialect_sqlite.SQLite()
        case other:
            raise errors.UsageError(
                f"mis.url begins with {other}://, which this version cannot read.",
                hint="Write postgresql://…, mariadb://…, mysql://… or sqlite://… in mis.url.",
            )
