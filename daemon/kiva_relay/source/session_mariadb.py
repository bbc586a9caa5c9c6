"""A session on a MariaDB or MySQL MIS: read only, bounded, with settings of ours, each transaction one snapshot."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self, cast

import pymysql
import sqlalchemy as sa
from pymysql import converters
from pymysql.constants import FIELD_TYPE, FLAG
from sqlalchemy import event
from sqlalchemy.pool import PoolResetState

from kiva_relay.frozen import dataclass
from kiva_relay.source import tls
from kiva_relay.source.server_time import ServerTime

BINARY = 63
"""The number of the character set that bytes have."""

_NOT_FIXED = 31
"""What the server calls the decimals of a FLOAT that was declared without any."""

_WHOLE = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)

_LONG = (FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB)
_A_PHOTO = 1 << 20

_SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_NO_DAY = frozenset("0-: .")


@dataclass(frozen=True)
class Code:
    """What the server says about a column of a result: its type, its character set, its length and decimals.

    `filled`: its numbers are shown with zeros in front, as wide as `length` (ZEROFILL).
    """

    type: int
    charset: int
    length: int
    decimals: int
    filled: bool = False


class Filled(int):
    """A number of a ZEROFILL column: it counts as a number, and is written as the MIS shows it: 00000042."""

    width: int

    @classmethod
    def of(cls, number: int, width: int) -> Self:
        """The number, and how many digits are shown of it."""
        made = cls(number)
        made.width = width
        return made

    def __str__(self) -> str:
        return int.__repr__(self).zfill(self.width)


def codes(cursor: Any) -> list[tuple[str, Code]]:
    """Names and codes of a result's columns. The cursor's own description keeps the character set to itself."""
    fields = cursor._result.fields  # noqa: SLF001 - the only place that has it
    return [(field.name, _code(field)) for field in fields]


def _code(field: Any) -> Code:
    filled = bool(field.flags & FLAG.ZEROFILL) and field.type_code in _WHOLE
    return Code(field.type_code, field.charsetnr, field.length, field.scale, filled)


def is_boolean(code: Code) -> bool:
    """Whether people mean yes and no by it: tinyint(1) and bit(1)."""
    return not code.filled and code.length == 1 and code.type in (FIELD_TYPE.TINY, FIELD_TYPE.BIT)


def turned(code: Code) -> Callable[[object], object] | None:
    """What is left to do with a value of this type after the driver; mostly nothing."""
    if code.type == FIELD_TYPE.BIT:
        return _bit if code.length == 1 else _bits
    if code.filled:
        # The MIS shows 00000042, and so does everything that is printed from it: that is the loan's id.
        return functools.partial(_filled, width=code.length)
    return _flag if is_boolean(code) else None


def is_long(code: Code) -> bool:
    """Whether it may hold a photo: BLOB, MEDIUMTEXT, LONGTEXT and their like."""
    return code.type in _LONG and (code.charset == BINARY or code.length >= _A_PHOTO)


def shortened(code: Code) -> bool:
    """Whether the server writes fewer digits than the column holds: six, for a FLOAT without declared decimals."""
    return code.type == FIELD_TYPE.FLOAT and code.decimals == _NOT_FIXED


def single(given: object) -> object:
    """The shortest number that is the same FLOAT as a double that was made of it."""
    if given is None:
        return None
    number = float(cast("Decimal", given))
    exact = struct.pack("f", number)
    short = (f"{number:.{digits}g}" for digits in range(6, 10))
    return Decimal(next((text for text in short if struct.pack("f", float(text)) == exact), repr(number)))


PINNED: dict[str, str | int] = {
    # What values look like.
    "time_zone": "+00:00",
    "lc_time_names": "en_US",
    "div_precision_increment": 4,
    "group_concat_max_len": 1 << 20,
    "windowing_use_high_precision": 1,
    # What SQL means. Not ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT, PAD_CHAR_TO_FULL_LENGTH.
    "sql_mode": "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    "old_mode": "",
    "new_mode": "",
    "sql_auto_is_null": 0,
    "default_week_format": 0,
    "default_regex_flags": "",
    "max_sort_length": 1024,
    # How many rows come.
    "sql_select_limit": 2**64 - 1,
    "max_join_size": 2**64 - 1,
    "sql_big_selects": 1,  # behind max_join_size, which turns it off
    "max_recursive_iterations": 2**32 - 1,
    "cte_max_recursion_depth": 2**32 - 1,
    "wsrep_dirty_reads": 0,
    "use_secondary_engine": "OFF",  # a copy of the table that may be behind it
    "resultset_metadata": "FULL",
    "information_schema_stats_expiry": 0,  # else how many rows a table has may be as many as it had yesterday
    "system_versioning_asof": "DEFAULT",  # else a day of the past is read for today
    # What a session does by itself.
    "completion_type": 0,
    "innodb_snapshot_isolation": 0,
    "in_predicate_conversion_threshold": 0,  # with enough values, a list would become a join that reads the whole table
    "range_optimizer_max_mem_size": 8 << 20,  # with too little of it, too
    "net_write_timeout": 600,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
}
"""Whatever the server or a mapping says: with sql_select_limit = 3 in my.cnf, 3 of 7 loans came."""

_RESET_CONNECTION = 0x1F
_READ_ONLY = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class MariaDBSession(pymysql.connections.Connection):
    """A connection that knows how long the server worked. What it took to read an answer's rows here is not counted."""

    server_time: ServerTime | None = None
    pins = ""
    _waited = 0.0

    def _read_bytes(self, num_bytes: int) -> bytes:
        if self.server_time is None:
            return cast("bytes", super()._read_bytes(num_bytes))  # type: ignore[misc]
        began = self.server_time.now()
        try:
            return cast("bytes", super()._read_bytes(num_bytes))  # type: ignore[misc]
        finally:
            self._waited += self.server_time.now() - began

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        if self.server_time is not None and self._waited:
            self.server_time.answered(self._waited)
            self._waited = 0.0
        super()._execute_command(command, sql)  # type: ignore[misc]

    def renew(self) -> None:
        """Nothing of what was asked before outlives it: no setting, variable, user lock or temporary table."""
        self._execute_command(_RESET_CONNECTION, b"")
        self._read_ok_packet()  # type: ignore[attr-defined]
        with self.cursor() as cursor:
            cursor.execute(_READ_ONLY)
            cursor.execute(self.pins)


def engine(url: sa.URL, *, password: str | None, statement_timeout: timedelta, server_time: ServerTime) -> sa.Engine:
    """An engine with one connection, each of whose transactions is one read-only snapshot.

    `unix_socket` in the URL is the file through which a server on the same machine is reached.
    """
    url, encrypted = tls.context(url.set(drivername="mysql+pymysql"))
    if password is not None:
        url = url.set(password=password)
    seconds = statement_timeout.total_seconds()
    made = sa.create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": 10,
            # The server ends a statement by itself; this ends the wait for a server that is gone.
            "read_timeout": math.ceil(seconds) + 15,
            "program_name": "kiva-relay",
            "conv": _conversions(),
            **({} if encrypted is None else {"ssl": encrypted}),
        },
    )

    def connect(_dialect: object, _record: object, given: Sequence[Any], named: Mapping[str, Any]) -> MariaDBSession:
        connection = MariaDBSession(*given, **named)
        connection.server_time = server_time
        connection.pins = _pins(connection, PINNED | _bounds(seconds))
        connection.renew()
        return connection

    def renew(connection: MariaDBSession, _record: object, state: PoolResetState) -> None:
        if not state.terminate_only:
            connection.renew()

    event.listen(made, "do_connect", connect)
    event.listen(made, "reset", renew)
    event.listen(made, "begin", lambda cx: cx.exec_driver_sql(_SNAPSHOT))
    return made


def _bounds(seconds: float) -> dict[str, str | int]:
    """What mis.statement_timeout says, by what MariaDB and MySQL call it."""
    return {
        # A SELECT that waits for an ALTER TABLE keeps everybody behind it waiting, too.
        "lock_wait_timeout": max(1, math.ceil(seconds)),
        "max_statement_time": f"{seconds:f}",
        "max_execution_time": int(seconds * 1000),
        "idle_transaction_timeout": math.ceil(2 * seconds),
    }


def _pins(connection: MariaDBSession, pinned: Mapping[str, str | int]) -> str:
    """The statement that sets what this server knows of it; nothing of it comes from outside but a number."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES")
        known = {str(row[0]).lower() for row in cursor.fetchall()}
    bare = {"max_statement_time", "system_versioning_asof"}  # DEFAULT is a word of SQL there, and no text
    settings = (
        f"{name} = {given if isinstance(given, int) or name in bare else repr(given)}"
        for name, given in pinned.items()
        if name in known
    )
    # NAMES gives the collation that the server wants for these letters; character_set_connection alone, another one.
    return f"SET NAMES utf8mb4, {', '.join(f'SESSION {one}' for one in settings)}"


def _conversions() -> dict[Any, Any]:
    """The driver's, but that money never is a float, a moment is one, and a zero date is none."""
    return {
        **converters.conversions,
        FIELD_TYPE.FLOAT: Decimal,
        FIELD_TYPE.DOUBLE: Decimal,
        FIELD_TYPE.TIME: str,
        FIELD_TYPE.DATE: _day,
        FIELD_TYPE.DATETIME: _time,
        FIELD_TYPE.TIMESTAMP: _moment,
    }


def _day(written: str) -> date | str | None:
    if _NO_DAY.issuperset(written):
        return None
    try:
        return date.fromisoformat(written)
    except ValueError:  # 2026-02-00 spoils one row, not a page
        return written


def _time(written: str) -> datetime | str | None:
    if _NO_DAY.issuperset(written):
        return None
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return written


def _moment(written: str) -> datetime | str | None:
    found = _time(written)
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) else found


def _filled(given: object, *, width: int) -> object:
    return Filled.of(given, width) if isinstance(given, int) else given


def _flag(given: object) -> object:
    return bool(given) if given in (0, 1) else given


def _bit(given: object) -> object:
    return given == b"\x01" if isinstance(given, bytes) else given


def _bits(given: object) -> object:
    return int.from_bytes(given) if isinstance(given, bytes) else given
