"""A session on a PostgreSQL MIS: read only, named, bounded, in UTC, and never planned for an earlier call's values."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.abc import AdaptContext, Buffer
from psycopg.abc import Loader as AnyLoader
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader
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


def _lenient(strict: type[AnyLoader]) -> type[Loader]:
    """PostgreSQL knows infinity and years that Python does not: these stay text, and spoil one row, not a page."""

    class Lenient(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._strict = strict(oid, context)

        def load(self, data: Buffer) -> object:
            try:
                return self._strict.load(data)
            except psycopg.DataError:
                return bytes(data).decode()

    return Lenient


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
        for type_name in ("date", "timestamp", "timestamptz", "time", "timetz"):
            strict = connection.adapters.get_loader(connection.adapters.types[type_name].oid, pq.Format.TEXT)
            if strict is not None:
                connection.adapters.register_loader(type_name, _lenient(strict))
        for type_name in ("json", "jsonb"):  # as it is written: it may hold what no JSON of ours can
            connection.adapters.register_loader(type_name, TextLoader)

    event.listen(made, "connect", prepare)
    return made


def zone(name: str) -> tzinfo:
    """The zone that PostgreSQL calls so: a name of the zone database, or an offset such as `<+03>-03`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        digits = name.rpartition(">")[2]
        return timezone(-timedelta(hours=float(digits)))
