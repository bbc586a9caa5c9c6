"""A session on a PostgreSQL MIS: read only, named, bounded, in UTC, and never planned for an earlier call's values."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import sqlalchemy as sa
from psycopg.types import datetime as loaders
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

_CONNECT = {
    "application_name": "kiva-relay",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    # A firewall that forgets the connection is noticed within a minute instead of in two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    # A prepared statement may get a plan that ignores its values; our value lists differ from page to page.
    "prepare_threshold": None,
}


class _Date(loaders.DateLoader):
    """PostgreSQL knows infinity and years that Python does not: these stay text, and spoil one row, not a page."""

    def load(self, data: bytes) -> object:  # type: ignore[override]  # text instead of a date, on purpose
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class _Naive(loaders.TimestampLoader):
    def load(self, data: bytes) -> object:  # type: ignore[override]  # as above
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class _Aware(loaders.TimestamptzLoader):
    def load(self, data: bytes) -> object:  # type: ignore[override]  # as above
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


def engine(url: sa.URL, *, password: str | None, statement_timeout: timedelta) -> sa.Engine:
    """An engine with one connection, each of whose transactions is one read-only snapshot.

    The connection stays, for a poll a second would otherwise start and end a server process each time; no
    transaction stays open on it. Before each use it is tried, so that a server that was restarted is no error.
    """
    url = url.set(drivername="postgresql+psycopg")
    if password is not None:
        url = url.set(password=password)
    made = sa.create_engine(
        url,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args=_CONNECT,
    )
    milliseconds = int(statement_timeout.total_seconds() * 1000)

    def prepare(connection: psycopg.Connection[object], _record: ConnectionPoolEntry) -> None:
        connection.autocommit = True
        # After connecting, not as start-up options, which connection poolers refuse.
        for name, value in (
            ("default_transaction_read_only", "on"),
            ("statement_timeout", str(milliseconds)),
            ("idle_in_transaction_session_timeout", str(2 * milliseconds)),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO"),
            ("jit", "off"),  # a poll takes less time than its compilation would
        ):
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.autocommit = False
        for type_name, loader in (("date", _Date), ("timestamp", _Naive), ("timestamptz", _Aware)):
            connection.adapters.register_loader(type_name, loader)

    event.listen(made, "connect", prepare)
    return made


def zone(name: str) -> tzinfo:
    """The zone that PostgreSQL calls so: a name of the zone database, or an offset such as `<+03>-03`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        digits = name.rpartition(">")[2]
        return timezone(-timedelta(hours=float(digits)))
