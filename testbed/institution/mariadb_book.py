"""The demo's book in MariaDB: the tables, keys and rows of a PostgreSQL database, with the types Fineract has there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from testbed.database import mariadb_found

_TYPES = {
    "bigint": "bigint",
    "integer": "int",
    "smallint": "smallint",
    "boolean": "bit(1)",
    "date": "date",
    "text": "text",
    "timestamp with time zone": "datetime(6)",
    "timestamp without time zone": "datetime",
}

_COLUMNS = """
SELECT table_name, column_name, data_type, character_maximum_length, numeric_precision, numeric_scale, is_nullable
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
_KEYS = """
SELECT i.indrelid::regclass::text, array_agg(a.attname::text ORDER BY array_position(i.indkey::int[], a.attnum::int)), i.indisprimary
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT i.indisunique OR i.indisprimary
AND c.relnamespace = 'public'::regnamespace GROUP BY i.indexrelid, i.indrelid, i.indisprimary
"""


@contextlib.contextmanager
def copied(url: str, server: mariadb_found.Server) -> Iterator[str]:
    """A MariaDB database with everything of a PostgreSQL one; its name."""
    with server.database() as name:
        copy(url, server, name)
        yield name


def copy(url: str, server: mariadb_found.Server, name: str) -> None:
    """Fill an empty MariaDB database with everything of a PostgreSQL one."""
    with (
        psycopg.connect(url) as source,
        contextlib.closing(server.connect(name)) as target,
        target.cursor() as cursor,
    ):
        tables: dict[str, list[str]] = {}
        columns: dict[str, list[str]] = {}
        for table, column, kind, length, precision, scale, nullable in source.execute(_COLUMNS):
            there = f"varchar({length})" if length else _TYPES.get(kind) or f"decimal({precision},{scale})"
            tables.setdefault(table, []).append(f"`{column}` {there}{'' if nullable == 'YES' else ' NOT NULL'}")
            columns.setdefault(table, []).append(column)
        for table, names, primary in source.execute(_KEYS):
            listed = ", ".join(f"`{each}`" for each in names)
            tables[table].append(f"PRIMARY KEY ({listed})" if primary else f"KEY ({listed})")
        for table, parts in tables.items():
            cursor.execute(f"CREATE TABLE `{table}` ({', '.join(parts)}) ENGINE=InnoDB")
            rows = source.execute(f'SELECT * FROM "{table}"').fetchall()
            places = ", ".join(["%s"] * len(columns[table]))
            values = [tuple(_there(value) for value in row) for row in rows]
            if values:
                target.begin()
                cursor.executemany(f"INSERT INTO `{table}` VALUES ({places})", values)
                target.commit()


def _there(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
