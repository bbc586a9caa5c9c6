"""The demo's book as an older Fineract keeps it, and with everything in it that a column lets be empty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from kiva_relay.mapping.plan import Document
from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Kind, Status

# Up to 1.6 these have no stamps at all, or the naive ones of the server that Fineract runs on.
_WITHOUT = ("m_loan", "m_client")
_CREATED = ("m_loan_transaction",)
_BOTH = ("m_loan_repayment_schedule", "m_note")


def until_1_6(connection: psycopg.Connection[Any]) -> None:
    """Take away what 1.8 brought: columns in UTC; put the legacy ones in their place."""
    for table in (*_CREATED, *_BOTH):
        connection.execute(f"UPDATE {table} SET created_date = created_on_utc AT TIME ZONE 'UTC'".encode())
    for table in _BOTH:
        connection.execute(f"UPDATE {table} SET lastmodified_date = last_modified_on_utc AT TIME ZONE 'UTC'".encode())
    for table in (*_CREATED, *_BOTH, *_WITHOUT):
        connection.execute(f"ALTER TABLE {table} DROP created_on_utc, DROP last_modified_on_utc".encode())
    connection.execute("ALTER TABLE m_loan_transaction DROP IF EXISTS lastmodified_date")


def upgraded(connection: psycopg.Connection[Any]) -> None:
    """What an upgrade leaves: columns in UTC that are empty in every row older than it."""
    for table in ("m_loan", "m_client", "m_loan_transaction", "m_loan_repayment_schedule", "m_note"):
        connection.execute(
            f"ALTER TABLE {table} ALTER created_on_utc DROP NOT NULL, ALTER last_modified_on_utc DROP NOT NULL".encode()
        )
        connection.execute(f"UPDATE {table} SET created_on_utc = NULL, last_modified_on_utc = NULL".encode())


def of_every_kind(connection: psycopg.Connection[Any]) -> None:
    """At least one loan of every type in every status, most of a type as they were; Kiva's fund finances them all."""
    for kind in Kind:
        found = connection.execute("SELECT id FROM m_loan WHERE loan_type_enum = %s ORDER BY id", [kind]).fetchall()
        ids = [row[0] for row in found]
        statuses = list(Status)
        for status, loan in zip(statuses, ids, strict=False):
            connection.execute("UPDATE m_loan SET loan_status_id = %s WHERE id = %s", [status, loan])
        connection.execute("UPDATE m_loan SET fund_id = %s WHERE id = ANY(%s)", [KIVA_FUND, ids])


def emptied(connection: psycopg.Connection[Any], mappings: Iterable[Document]) -> list[str]:
    """Empty every column that a mapping reads and that may be empty, each in other rows; which ones."""
    read = {
        (relation.table, column.name)
        for mapping in mappings
        for owner, relation in _tables(mapping).items()
        for column in mapping.columns
        if column.owner == owner and relation.table
    }
    # What is read inside a SELECT of the mapping's own.
    read |= {("m_client", name) for name in ("firstname", "lastname", "fullname", "gender_cv_id")}
    read |= {("m_loan", name) for name in ("loanpurpose_cv_id", "disbursedon_date", "expected_disbursedon_date")}
    nullable = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND is_nullable = 'YES'"
    ).fetchall()
    done = []
    for number, (table, column) in enumerate(sorted(read & set(nullable))):
        if column in ("loan_type_enum", "loan_status_id", "fund_id"):
            continue
        key = "id" if table != "m_group_client" else "client_id"
        # One instalment in many: an application of ten members has a hundred of them.
        one_in = 997 if table == "m_loan_repayment_schedule" else 29
        where = f"mod({key}, {one_in}) = {number % one_in}"
        connection.execute(f"UPDATE {table} SET {column} = NULL WHERE {where}".encode())
        done.append(f"{table}.{column}")
    return done


class _Table:
    def __init__(self, table: str | None) -> None:
        self.table = table


def _tables(mapping: Document) -> dict[str, _Table]:
    stream = mapping.stream
    return {"": _Table(stream.table)} | {each.name: _Table(each.table) for each in stream.relations}
