"""A session on a PostgreSQL MIS: read only, named, bounded, with our settings, and nothing left between two uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import sqlalchemy as sa
from psycopg import pq, sql
from psycopg._queries import PostgresQuery
from psycopg.abc import AdaptContext, Buffer, PQGen
from psycopg.abc import Loader as AnyLoader
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader
from sqlalchemy import event
from sqlalchemy.pool import PoolResetState

from kiva_relay.source import pooler, value
from kiva_relay.source.server_time import ServerTime

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


PINNED = {
    # What values look like.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_numeric": "C",
    "lc_time": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    # What SQL means, and how many rows come.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "row_security": "on",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
    # What a session may do, and for how long; further below, by mis.statement_timeout.
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_deferrable": "off",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "jit": "off",  # a poll takes less time than its compilation would
}
"""Whatever a database, a role or a mapping's set_config() says: by ALTER DATABASE … SET alone, 3 of 7 loans came."""

_CERTAIN = ("int2", "int4", "int8", "oid", "bool", "float4", "float8", "numeric", "bytea")
"""Types whose every value Python can hold; the others may have one that it cannot."""

_CURSOR = "kiva_relay"


class _LenientText(Loader):
    """Text of a SQL_ASCII database may be no UTF-8."""

    def load(self, data: Buffer) -> str:
        return value.decoded(bytes(data))


def _lenient(strict: type[AnyLoader]) -> type[Loader]:
    """PostgreSQL knows infinity and years that Python does not: these stay text, and spoil one row, not a page."""

    class Lenient(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._strict = strict(oid, context)

        def load(self, data: Buffer) -> object:
            try:
                found = self._strict.load(data)
                return value.decoded(found) if isinstance(found, bytes) else found
            except Exception:  # noqa: BLE001 - each type's reader fails in a way of its own
                return value.decoded(bytes(data))

    return Lenient


class _OneStatement(psycopg.Cursor[Any]):
    """By the extended protocol: the server takes one statement, so that SQL which was broken out of cannot COMMIT."""

    def _execute_send(self, query: PostgresQuery, *, force_extended: bool = False, binary: bool | None = None) -> None:  # noqa: ARG002 - always
        super()._execute_send(query, force_extended=True, binary=binary)


class PostgreSQLSession(psycopg.Connection[Any]):
    """A connection that knows how long the server worked, and gives every cursor at the server one name.

    With a name of its own each would be another statement in the DBA's pg_stat_statements.
    """

    server_time: ServerTime | None = None
    pins: sql.Composed

    def cursor(self, name: str = "", **more: Any) -> Any:
        """One of psycopg's."""
        return super().cursor(_CURSOR, **more) if name else super().cursor(**more)

    def wait(self, gen: PQGen[Any], *more: Any) -> Any:
        """Everything that is asked of the server goes through here."""
        began = 0.0 if self.server_time is None else self.server_time.now()
        try:
            return super().wait(gen, *more)
        finally:
            if self.server_time is not None:
                self.server_time.answered(self.server_time.now() - began)


def engine(url: sa.URL, *, password: str | None, statement_timeout: timedelta, server_time: ServerTime) -> sa.Engine:
    """An engine with one connection, each of whose transactions is one read-only snapshot.

    The connection stays, for a poll a second would otherwise start and end a server process each time; no
    transaction stays open on it. Before each use it is tried, so that a server that was restarted is no error. After
    each use nothing of it is left: no setting, lock, temporary table or prepared statement.
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
    pinned = PINNED | {
        "statement_timeout": str(milliseconds),
        "lock_timeout": str(milliseconds),
        "idle_in_transaction_session_timeout": str(2 * milliseconds),
    }

    def connect(_dialect: object, _record: object, given: Sequence[Any], named: Mapping[str, Any]) -> PostgreSQLSession:
        connection = PostgreSQLSession.connect(*given, **named)
        try:
            pooler.refuse(connection, lambda: PostgreSQLSession.connect(*given, **named))
            connection.server_time, connection.cursor_factory = server_time, _OneStatement
            _read_leniently(connection)
            connection.pins = _pins(connection, pinned)
            _renew(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def renew(connection: PostgreSQLSession, _record: object, state: PoolResetState) -> None:
        if not state.terminate_only:
            connection.rollback()
            _renew(connection)

    event.listen(made, "do_connect", connect)
    event.listen(made, "reset", renew)
    return made


def _pins(connection: PostgreSQLSession, pinned: Mapping[str, str]) -> sql.Composed:
    """The statement that sets what this version of the server knows of it, and the role that the session began with.

    After connecting, not as start-up options, which connection poolers refuse.
    """
    known = {name for (name,) in connection.execute("SELECT name FROM pg_settings")}
    role = connection.execute("SELECT current_setting('role')").fetchone()
    wanted = {name: given for name, given in pinned.items() if name in known}
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        # Such a server holds any bytes, and would refuse a whole page for one that is no UTF-8. They come as they are.
        wanted["client_encoding"] = "SQL_ASCII"
    if role is not None and role[0] != "none":
        wanted["role"] = role[0]
    calls = [sql.SQL("set_config({}, {}, false)").format(name, given) for name, given in wanted.items()]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls))


def _renew(connection: PostgreSQLSession) -> None:
    """Nothing of what was asked before outlives it."""
    connection.autocommit = True
    connection.execute("DISCARD ALL")
    connection.execute(connection.pins)
    connection.autocommit = False


def _read_leniently(connection: PostgreSQLSession) -> None:
    adapters = connection.adapters
    certain = {adapters.types[name].oid for name in _CERTAIN}
    # They may hold what no JSON of ours can, and months, of which Python would make days.
    as_written = {adapters.types[name].oid for name in ("json", "jsonb", "interval")}
    for oid in {oid for info in adapters.types for oid in (info.oid, info.array_oid)} | {0}:
        strict = adapters.get_loader(oid, pq.Format.TEXT)
        if oid in as_written or strict is None or issubclass(strict, TextLoader):
            adapters.register_loader(oid, _LenientText)
        elif oid not in certain:
            adapters.register_loader(oid, _lenient(strict))


def zone(name: str) -> tzinfo:
    """The zone that PostgreSQL calls so: a name of the zone database, or an offset such as `<+03>-03`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        digits = name.rpartition(">")[2]
        return timezone(-timedelta(hours=float(digits)))
