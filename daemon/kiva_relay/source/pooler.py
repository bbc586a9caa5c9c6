"""A connection pooler between the relay and PostgreSQL: whether it gives each transaction another session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from kiva_relay import errors

_WHO = "SELECT pg_backend_pid()"


def refuse(connection: psycopg.Connection[Any], another: Callable[[], psycopg.Connection[Any]]) -> None:
    """Refuse a pooler in transaction mode: what a session is given there holds for whoever gets it next.

    A server says the number of its process when it greets; a pooler cannot say it, for it does not know it yet. Which
    mode it is in shows when somebody else holds a session: ours is our own, or it is not.

    Args:
        connection: a new one.
        another: opens one more.

    Raises:
        UsageError: there is one, in transaction mode.
    """
    connection.autocommit = True
    before = _process(connection)
    if before == connection.info.backend_pid:
        return
    other = another()
    try:
        # Asking begins a transaction there, which holds its session.
        shared = _process(other) == before or _process(connection) != before
        where = f"{connection.info.host}:{connection.info.port}"
    finally:
        other.close()
    if shared:
        raise errors.UsageError(
            f"At {where} answers a connection pooler in transaction mode (PgBouncer and its like), where no session"
            " stays ours: its settings would reach others, and theirs us.",
            hint="Let mis.url name PostgreSQL itself, or give this database pool_mode = session in pgbouncer.ini.",
        )


def _process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(_WHO).fetchone()
    return int(row[0]) if row else 0
