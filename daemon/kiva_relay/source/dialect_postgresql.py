"""PostgreSQL 13 and newer: changes by transaction id (xmin), or by time stamp up to the horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.source import session_postgresql, statement, value
from kiva_relay.source.position import OVERLAP, CaptureMode, Horizon, Position, Snapshot, local
from kiva_relay.source.rights_postgresql import PostgreSQLRights
from kiva_relay.source.server_time import ServerTime
from kiva_relay.source.watch import Stamp, TableFacts, Watched

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far the clocks of the MIS's application servers, which stamp the rows, may lie behind the database's."""

_WRAP = 2_000_000_000
"""Transaction ids in a row are 32 bits: a watermark this many behind cannot be compared with them any more."""

_FIRST_NORMAL_XID = 3

# Every session counts, also one without a transaction id yet: it may write later with an older now(). A deny-list,
# for background workers write too; a vacuum would pin the horizon for hours and stamps no row. Of a prepared
# transaction only the end of its work is shown; before that it was a session.
_HORIZON = """
WITH sessions AS (
  SELECT * FROM pg_stat_activity
  WHERE  pid <> pg_backend_pid() AND datname = current_database()
  AND    coalesce(backend_type, 'client backend') NOT IN ('autovacuum worker', 'walsender', 'parallel worker')
), transactions AS (
  SELECT concat('session ', pid, ' of ', usename) AS who, xact_start AS known, xact_start AS since FROM sessions
  UNION ALL
  SELECT concat('prepared transaction ', gid, ' of ', owner), prepared, prepared - interval '1 hour'
  FROM   pg_prepared_xacts
  WHERE  database = current_database()
)
SELECT count(*) FILTER (WHERE backend_type IS NULL) AS hidden,
       count(*) FILTER (WHERE state = 'disabled') AS untracked,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS may_see,
       current_setting('track_activities') AS track,
       pg_is_in_recovery() AS standby,
       EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
               WHERE d.datname = current_database()) AS subscribes,
       current_user AS role,
       statement_timestamp() AS clock,
       (SELECT who FROM transactions WHERE known IS NOT NULL ORDER BY known LIMIT 1) AS oldest_of,
       least((SELECT min(known) FROM transactions), statement_timestamp()) AS known,
       least((SELECT min(since) FROM transactions), statement_timestamp()) AS oldest
FROM   sessions
"""

# Whoever holds a transaction id, in whatever database of the server, holds a lock on it: that needs no grant to see.
_HOLDER = """
SELECT coalesce((SELECT concat('session ', a.pid, ' of ', a.usename) FROM pg_stat_activity a WHERE a.pid = l.pid),
                (SELECT concat('prepared transaction ', p.gid, ' of ', p.owner) FROM pg_prepared_xacts p
                 WHERE p.transaction = l.transactionid))
FROM   pg_locks l WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
AND    l.transactionid = CAST(:xid AS xid)
"""

_TIMELINE = """
CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
     ELSE CAST(CAST('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS bit(32)) AS bigint) END
"""
"""The one on which the server writes now: its control file says it from the next checkpoint on."""

# What the snapshot sees lies below `written`, for that is read after it was taken.
_SNAPSHOT = f"""
SELECT CAST(pg_snapshot_xmin(s) AS text) AS xmin, CAST(pg_snapshot_xmax(s) AS text) AS xmax,
       CAST({_TIMELINE} AS text) AS timeline,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() - '0/0' END AS written
FROM   pg_current_snapshot() s
"""  # noqa: S608 - of two texts above

# Each commit of a primary writes to its log, also one that touched unlogged tables only. A foreign table changes
# elsewhere, and a view may show another day without anything written.
_WRITTEN = f"""
SELECT CASE WHEN NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_foreign_table)
            AND (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'm')
                 AND oid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) name)) = :number
       THEN concat(pg_current_wal_insert_lsn(), ' ', {_TIMELINE}) END
"""  # noqa: S608 - of two texts above
# Asked after it: a commit is in the log before it can be seen, for as long as its standby takes to confirm it.
_SOME_OPEN = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted)
"""

# The catalogue as our snapshot has it, against what is there now, of all that we have looked at: a table that was
# truncated has another file, one that was replaced is not the one of its name any more, or was not there then.
_TORN = """
SELECT coalesce(CAST(c.relname AS text), 'a table')
FROM   pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE  l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384
AND    (c.oid IS NULL OR c.relkind IN ('r', 'p', 'm', 'v', 'f')
        AND (c.relfilenode <> pg_relation_filenode(c.oid)
             OR CASE WHEN has_schema_privilege(n.oid, 'USAGE')
                     THEN to_regclass(format('%I.%I', n.nspname, c.relname)) IS DISTINCT FROM CAST(c.oid AS regclass)
                END))
LIMIT  1
"""

_INDEXED = """
SELECT a.attname
FROM   pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE  i.indrelid = to_regclass(:name) AND i.indisvalid AND i.indpred IS NULL
"""

_UNIQUE = """
SELECT EXISTS (
  SELECT FROM pg_index i
  WHERE  i.indrelid = to_regclass(:name) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND    NOT EXISTS (SELECT FROM unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS k(number, place)
                     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                     WHERE k.place <= i.indnkeyatts AND NOT a.attname = ANY (CAST(:columns AS text[]))))
"""

_KINDS = {
    "int2": "integer", "int4": "integer", "int8": "integer", "oid": "integer",
    "numeric": "number", "money": "number", "float4": "number", "float8": "number",
    "bool": "boolean", "date": "date", "timestamp": "datetime", "timestamptz": "datetime", "bytea": "bytes",
    "text": "text", "varchar": "text", "bpchar": "text", "name": "text", "uuid": "text", "unknown": "text",
    "json": "text", "jsonb": "text", "citext": "text",
}  # fmt: skip

_STAMPS: Mapping[str, Stamp] = {"timestamptz": "moment", "timestamp": "naive", "date": "day"}
_CASTS: Mapping[Stamp, str] = {"moment": "timestamptz", "naive": "timestamp", "day": "date"}


class PostgreSQL(PostgreSQLRights):
    """The dialect of PostgreSQL."""

    name = "postgresql"

    def engine(
        self, url: sa.URL, *, password: str | None, statement_timeout: timedelta, server_time: ServerTime
    ) -> sa.Engine:
        """An engine whose every transaction is one read-only snapshot."""
        return session_postgresql.engine(
            url, password=password, statement_timeout=statement_timeout, server_time=server_time
        )

    def identity(self, cx: sa.Connection) -> str:
        """Cluster and database; behind the `#` which database of that name, for one that was restored is another."""
        row = cx.execute(
            sa.text(
                "SELECT CAST(c.system_identifier AS text), d.datname, d.oid FROM pg_control_system() c, pg_database d"
                " WHERE d.datname = current_database()"
            )
        ).one()
        return f"postgresql:{row[0]}/{row[1]}#{row[2]}"

    def server(self, cx: sa.Connection) -> str:
        """`PostgreSQL 18.1`."""
        return f"PostgreSQL {cx.scalar(sa.text('SHOW server_version')).split()[0]}"

    def zone(self, cx: sa.Connection) -> tzinfo:
        """The server's own zone, which our session's UTC hides."""
        name = cx.scalar(sa.text("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'"))
        return session_postgresql.zone(str(name))

    def horizon(self, cx: sa.Connection, *, now: datetime) -> Horizon:  # noqa: ARG002 - the server's own clock counts
        """The start of the oldest transaction, less the clock tolerance; says when it cannot see them all."""
        seen = cx.execute(sa.text(_HORIZON)).one()
        blind = remedy = ""
        if seen.standby:
            blind = "this server is a standby, which does not see the sessions of its primary"
            remedy = "Let mis.url name the primary."
        elif seen.subscribes:
            blind = "rows come from another server by a subscription, and were stamped there"
            remedy = "Let mis.url name the server that they are written on."
        elif seen.track != "on" or seen.untracked:
            blind = "track_activities is off, so that open transactions cannot be seen"
            remedy = "ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();"
        elif not seen.may_see or seen.hidden:
            blind = f"the role {seen.role} may not see the sessions of others"
            remedy = f"GRANT pg_read_all_stats TO {self.quoted(seen.role)};"
        if blind:
            return Horizon(seen.clock - OVERLAP, OVERLAP, blind, remedy)
        moment = seen.oldest - CLOCK_TOLERANCE
        return Horizon(moment, seen.clock - moment, pinned_by=seen.oldest_of or "", open_for=seen.clock - seen.known)

    def snapshot(self, cx: sa.Connection) -> Snapshot:
        """Its xmin: every transaction below it had ended."""
        row = cx.execute(sa.text(_SNAPSHOT)).one()
        return Snapshot(
            int(row.xmin), pinned=row.xmin != row.xmax, timeline=row.timeline or "", written=int(row.written or 0)
        )

    def written(self, cx: sa.Connection, tables: Sequence[str]) -> str:
        """The insert position of a primary's log, with its timeline; "" while a transaction with an id is open.

        Also "" of a standby, where one of the tables is a view, and where there are foreign tables.
        """
        named = [self.quoted(table) for table in tables]
        written = str(cx.scalar(sa.text(_WRITTEN), {"tables": named, "number": len(named)}) or "")
        return "" if written and cx.scalar(sa.text(_SOME_OPEN)) else written

    def holder(self, cx: sa.Connection, xid: int) -> str:
        """Who holds a transaction id, whether this role may see what that session does or not."""
        return str(cx.scalar(statement.bind(_HOLDER, {"xid": str(_xid32(xid))})) or "")

    def went_back(self, cx: sa.Connection, position: Position) -> bool:
        """Whether transaction ids or the clock are behind the position: a backup was restored."""
        row = cx.execute(
            statement.bind(
                "SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text),"
                " CAST(:at AS timestamptz) > clock_timestamp()",
                {"at": position.moment.isoformat()},
            )
        ).one()
        return bool(row[1]) or (position.xid is not None and int(row[0]) < position.xid)

    def exists(self, cx: sa.Connection, table: str) -> bool:
        """Whether the name leads to a table or view on the search path, or in the schema it names."""
        return cx.scalar(statement.bind("SELECT to_regclass(:name)", {"name": self.quoted(table)})) is not None

    def whole(self, cx: sa.Connection, table: str) -> CaptureMode | None:
        """By transaction id, which rows of tables carry and those of views do not."""
        asked = statement.bind(
            "SELECT relkind IN ('r', 'p', 'm') FROM pg_class WHERE oid = to_regclass(:name)",
            {"name": self.quoted(table)},
        )
        return "xmin" if cx.scalar(asked) else None

    def indexed(self, cx: sa.Connection, table: str) -> set[str]:
        """Columns that an index begins with."""
        return set(cx.scalars(statement.bind(_INDEXED, {"name": self.quoted(table)})))

    def unique(self, cx: sa.Connection, table: str, columns: Sequence[str]) -> bool:
        """By a unique index over these columns, or over some of them."""
        asked = statement.bind(_UNIQUE, {"name": self.quoted(table), "columns": [*columns]})
        return bool(cx.scalar(asked))

    def stamp(self, type_code: object) -> Stamp | None:
        """Whether the type says a moment, a time without a zone, or a day."""
        return _STAMPS.get(_type_name(type_code))

    def unsteady(self, cx: sa.Connection) -> set[str]:  # noqa: ARG002 - every dialect is asked alike
        """None: every table has versions."""
        return set()

    def torn(self, cx: sa.Connection) -> str:
        """A table that was truncated since the snapshot, which sees it empty: it has another file now."""
        return str(cx.scalar(sa.text(_TORN)) or "")

    def described(self, cursor: Any) -> list[tuple[str, object]]:
        """Names and types."""
        return [(column[0], column[1]) for column in cursor.description]

    def turned(self, code: object) -> Callable[[object], object] | None:  # noqa: ARG002 - every dialect is asked alike
        """Nothing is left to do after psycopg."""
        return None

    def exact(self, code: object, column: str) -> str | None:
        """All digits are written; but of `money` with the sign of a currency, as the server's language has it."""
        return f"CAST({column} AS numeric)" if _type_name(code) == "money" else None

    def as_exact(self, given: object) -> object:
        """As it is: a number."""
        return given

    def brief(self, code: object, column: str) -> str:
        """All but bytes."""
        return "" if self.kind(code) == "bytes" else column

    def version(self, one: Watched, facts: TableFacts) -> str | None:
        """Place and transaction id: no two versions of a row share both. Rows of views have neither."""
        if one.table is None or facts.whole is None:
            return None
        return "CAST(r.tableoid AS text) || CAST(r.ctid AS text) || CAST(r.xmin AS text)"

    def since(
        self, one: Watched, facts: TableFacts, *, at: Position, now: Position, zones: Sequence[tzinfo], prefix: str
    ) -> tuple[str, Mapping[str, object]]:
        """By age of the transaction id, which is right over its wrap, and for rows written in a savepoint."""
        if facts.mode == "xmin":
            if at.xid is None or now.xid is None or now.xid - at.xid > _WRAP:
                return "TRUE", {}
            return f"age(r.xmin) <= (SELECT age(CAST(:{prefix}xid AS xid)))", {f"{prefix}xid": str(_xid32(at.xid))}
        values: dict[str, object] = {}
        lists = []
        for number, stamps in enumerate(one.stamps):
            alternatives = []
            for place, stamp in enumerate(stamps):
                bound = f"{prefix}{number}_{place}"
                kind = facts.kinds[stamp]
                values[bound] = _bound(kind, at.moment, now.moment, zones)
                nulls = [f"r.{statement.plain(self.quoted(earlier))} IS NULL AND " for earlier in stamps[:place]]
                column = statement.plain(self.quoted(stamp))
                alternatives.append(f"({''.join(nulls)}r.{column} >= CAST(:{bound} AS {_CASTS[kind]}))")
            lists.append(" OR ".join(alternatives))
        return f"({' OR '.join(lists)})", values

    def after(self, columns: Sequence[str], names: Sequence[str]) -> str:
        """A row-value comparison, which is a range of the key's index."""
        return f"({', '.join(columns)}) > ({', '.join(':' + name for name in names)})"

    def forms(self, parts: tuple[str, ...]) -> list[tuple[object, ...]]:
        """As text, which is read in the type of its column."""
        return [parts]

    def absent(self, column: str) -> str:
        """NULL."""
        return f"{column} IS NULL"

    def index(self, table: str, column: str) -> str:
        """Built while others go on writing."""
        return f"CREATE INDEX CONCURRENTLY ON {self.quoted(table)} ({self.quoted(column)});"

    def bound(self, given: object) -> object:
        """As text of no type: PostgreSQL reads it in the type of what it is compared with."""
        return given if given is None or isinstance(given, bytes) else value.text(given)

    def parameter(self, given: object) -> object:
        """As psycopg takes it."""
        return given

    def as_text(self, sql: str) -> str:
        """A cast."""
        return f"CAST({sql} AS text)"

    def kind(self, type_code: object) -> str:
        """Through psycopg's registry of types."""
        return _KINDS.get(_type_name(type_code), "other")

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """No connection, a server that starts or stops, no room for one more, a standby that cancelled us."""
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            return isinstance(error.orig, psycopg.OperationalError)
        return state[:2] in {"08", "28", "53"} or state in {"57P01", "57P02", "57P03", "40001"}

    def replaced(self, error: sa.exc.DBAPIError) -> bool:  # noqa: ARG002 - every dialect is asked alike
        """No error says so: see `torn`."""
        return False

    def cancelled(self, error: sa.exc.DBAPIError) -> bool:
        """The statement took too long."""
        return getattr(error.orig, "sqlstate", None) == "57014"

    def odd(self, error: sa.exc.DBAPIError) -> bool:
        """Bytes that are no text in the database's encoding, a division by zero, a number that is too large."""
        state = getattr(error.orig, "sqlstate", None)
        return isinstance(error.orig, psycopg.DataError) if state is None else state[:2] == "22"

    def plain(self, error: sa.exc.DBAPIError) -> bool:
        """Names that are not there, rights that are missing, SQL that is wrong."""
        return str(getattr(error.orig, "sqlstate", None))[:2] == "42"

    def forbidden(self, error: sa.exc.DBAPIError) -> bool:
        """The role may not read it."""
        return getattr(error.orig, "sqlstate", None) == "42501"


def _type_name(type_code: object) -> str:
    info = psycopg.adapters.types.get(type_code) if isinstance(type_code, int) else None
    return info.name if info else ""


def _xid32(xid: int) -> int:
    return max(xid % 2**32, _FIRST_NORMAL_XID)


def _bound(kind: Stamp, at: datetime, now: datetime, zones: Sequence[tzinfo]) -> str:
    if kind == "moment":
        return at.astimezone(UTC).isoformat()
    naive = min(local(at, now, zone) for zone in zones)
    stamp: datetime | date = naive.date() if kind == "day" else naive
    return stamp.isoformat()
