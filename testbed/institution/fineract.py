"""A database shaped like Apache Fineract's: its tables, and the numbers that mean something in them."""

from __future__ import annotations

from enum import IntEnum
from importlib import resources
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from psycopg import Connection

Row = dict[str, Any]

_PARTS = ("organisation", "people", "loan", "activity")


class Status(IntEnum):
    """`m_loan.loan_status_id`."""

    SUBMITTED = 100
    APPROVED = 200
    ACTIVE = 300
    WITHDRAWN = 400
    REJECTED = 500
    CLOSED = 600
    WRITTEN_OFF = 601
    OVERPAID = 700


class Kind(IntEnum):
    """`m_loan.loan_type_enum`: who borrows."""

    INDIVIDUAL = 1
    GROUP = 2
    JLG = 3
    GLIM = 4


class Money(IntEnum):
    """`m_loan_transaction.transaction_type_enum`, as far as the demo writes it."""

    DISBURSEMENT = 1
    REPAYMENT = 2
    WRITE_OFF = 6
    RECOVERY = 8
    ACCRUAL = 10
    REFUND = 18
    MERCHANT_REFUND = 21
    GOODWILL = 23
    CHARGEBACK = 25
    CHARGE_OFF = 27


REPAYS = (2, 21, 22, 23, 24, 26, 28, 31, 33)
"""Types whose principal portion is principal repaid."""

TAKES_BACK = (18, 25)
"""Types whose principal portion is principal taken back; the sign is not in the data."""

REPAID = """
    (l.principal_repaid_derived + least(l.principal_writtenoff_derived, coalesce((
        SELECT sum(r.amount) FROM m_loan_transaction r
        WHERE r.loan_id = l.id AND r.transaction_type_enum = 8 AND NOT r.is_reversed), 0)))
"""
"""SQL over `m_loan l`: what the MIS says itself was repaid, and what came in after a write-off."""

CLIENT_NOTE, LOAN_NOTE, TRANSACTION_NOTE = 100, 200, 300


def create(connection: Connection) -> None:
    """Create the tables, their keys and their indexes in an empty database, in one transaction."""
    with connection.transaction():
        for part in _PARTS:
            text = resources.files(__package__).joinpath("schema", f"{part}.sql").read_text(encoding="utf-8")
            connection.execute(text.encode())


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> int:
    """Insert one row; returns its new id."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    found = connection.execute(statement, row).fetchone()
    if found is None:
        raise LookupError(table)
    return int(found[0])


def update(connection: Connection, table: str, key: int, row: Mapping[str, Any]) -> None:
    """Update one row by its id."""
    statement = sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in row),
        sql.Literal(key),
    )
    connection.execute(statement, row)


def copy(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Load many rows, all with the columns of the first, at once."""
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for row in rows:
            stream.write_row([row[name] for name in columns])


def count_on(connection: Connection, tables: Iterable[str]) -> None:
    """Let the ids of tables that were loaded with ids of our own go on after the highest."""
    for table in tables:
        connection.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT coalesce(max(id), 1) FROM {}))").format(
                sql.Literal(table), sql.Identifier(table)
            )
        )
