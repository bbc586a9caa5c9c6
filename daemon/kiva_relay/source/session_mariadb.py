"""A session on a MariaDB or MySQL MIS: read only, bounded, in UTC, each transaction one snapshot."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pymysql
import sqlalchemy as sa
from pymysql import converters
from pymysql.constants import FIELD_TYPE
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

BINARY = 63
"""The number of the character set that bytes have."""

_NOT_FIXED = 31
"""What the server calls the decimals of a FLOAT that was declared without any."""

_SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_NO_DAY = frozenset("0-: .")


@dataclass(frozen=True)
class Code:
    """What the server says about a column of a result: its type, its character set, its length and decimals."""

    type: int
    charset: int
    length: int
    decimals: int


def codes(cursor: Any) -> list[tuple[str, Code]]:
    """Names and codes of a result's columns. The cursor's own description keeps the character set to itself."""
    fields = cursor._result.fields  # noqa: SLF001 - the only place that has it
    return [(field.name, Code(field.type_code, field.charsetnr, field.length, field.scale)) for field in fields]


def is_boolean(code: Code) -> bool:
    """Whether people mean yes and no by it: tinyint(1) and bit(1)."""
    return code.length == 1 and code.type in (FIELD_TYPE.TINY, FIELD_TYPE.BIT)


def turned(code: Code) -> Callable[[object], object] | None:
    """What is left to do with a value of this type after the driver; mostly nothing."""
    if code.type == FIELD_TYPE.BIT:
        return _bit if code.length == 1 else _bits
    return _flag if is_boolean(code) else None


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


def engine(url: sa.URL, *, password: str | None, statement_timeout: timedelta) -> sa.Engine:
    """An engine with one connection, each of whose transactions is one read-only snapshot.

    `unix_socket` in the URL is the file through which a server on the same machine is reached.
    """
    url = url.set(drivername="mysql+pymysql")
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
        },
    )

    def prepare(connection: pymysql.Connection[Any], _record: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # A SELECT that waits for an ALTER TABLE keeps everybody behind it waiting, too.
            cursor.execute(f"SET SESSION time_zone = '+00:00', lock_wait_timeout = {max(1, math.ceil(seconds))}")
            cursor.execute("SELECT VERSION()")
            if "MariaDB" in str(cursor.fetchall()):
                cursor.execute(f"SET SESSION max_statement_time = {seconds:f}")
                cursor.execute(f"SET SESSION idle_transaction_timeout = {math.ceil(2 * seconds)}")
                # With enough values, a list would become a join that reads the whole table.
                cursor.execute("SET SESSION in_predicate_conversion_threshold = 0")
            else:
                cursor.execute(f"SET SESSION max_execution_time = {int(seconds * 1000)}")
        connection.rollback()

    event.listen(made, "connect", prepare)
    event.listen(made, "begin", lambda cx: cx.exec_driver_sql(_SNAPSHOT))
    return made


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


def _flag(given: object) -> object:
    return bool(given) if given in (0, 1) else given


def _bit(given: object) -> object:
    return given == b"\x01" if isinstance(given, bytes) else given


def _bits(given: object) -> object:
    return int.from_bytes(given) if isinstance(given, bytes) else given
