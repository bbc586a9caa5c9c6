"""MariaDB 10.6 and newer, and MySQL: changes by time stamp up to the horizon, small tables as a whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pymysql
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE

from kiva_relay.source import session_mariadb, statement, value
from kiva_relay.source.began import Began
from kiva_relay.source.position import OVERLAP, CaptureMode, Horizon, Position, Snapshot, local
from kiva_relay.source.rights_mariadb import FORBIDDEN, HERE, MariaDBRights, number
from kiva_relay.source.server_time import ServerTime
from kiva_relay.source.session_mariadb import Code
from kiva_relay.source.watch import Stamp, TableFacts, Watched

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far the clocks of the MIS's application servers, which stamp the rows, may lie behind the database's."""

_SMALL = 5_000
"""Rows up to which a table is read as a whole at each look, rather than by its stamps."""

# The clock first, then running statements, then transactions: a statement that waited for a lock has its NOW() of
# before, and its transaction only begins when it is let in. In this order one of the three has it.
_CLOCK = "SELECT UTC_TIMESTAMP(6)"
_SESSIONS = """
SELECT id, user, command, time_ms / 1000 AS age
FROM   information_schema.processlist WHERE id <> CONNECTION_ID()
"""
_SESSIONS_OF_MYSQL = _SESSIONS.replace("time_ms / 1000", "time")
# The start of a transaction is written in the server's own zone, whatever the session's; after clocks were put back
# it looks too young by what they were put back by.
_TRANSACTIONS = """
SELECT trx_mysql_thread_id AS id, trx_started AS started,
       TIMESTAMPDIFF(SECOND, trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) AS age
FROM   information_schema.innodb_trx
"""
_PUT_BACK = """
SELECT 86400 - TIMESTAMPDIFF(SECOND, CONVERT_TZ(UTC_TIMESTAMP() - INTERVAL 1 DAY, '+00:00', 'SYSTEM'),
                                     CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM'))
"""
_RESTING = {"Sleep", "Daemon", "Binlog Dump", "Binlog Dump GTID"}
_APPLIES = {"Slave_SQL", "Slave_IO", "Slave_worker", "Connect"}
_LOOKS = 5
_STALE = 2
"""Seconds: our own transaction, which has just begun, looks so old in a copy that is not new."""

# Only some file systems distinguish Loan from loan.
_NAMED = f"{HERE} AND (table_name = BINARY :name OR (@@lower_case_table_names > 0 AND table_name = :name))"
_STEADY = ("InnoDB", "RocksDB", "TokuDB")
_HELD = ("BASE TABLE", "SYSTEM VERSIONED")
"""What holds rows, by what the server calls it; views and sequences do not."""

_INTEGERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR}
_NUMBERS = {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE}
_STAMPS: Mapping[int, Stamp] = {FIELD_TYPE.TIMESTAMP: "moment", FIELD_TYPE.DATETIME: "naive", FIELD_TYPE.DATE: "day"}
_TEXTS = {
    FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.ENUM, FIELD_TYPE.SET,
}  # fmt: skip

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")

_TORN, _CANCELLED = {1412}, {1317, 1969, 3024}
_ABOUT_NAMES = {1051, 1054, 1109, 1146, 1305, 1356} | FORBIDDEN
# A number out of range, an invalid text, a document that is broken.
_ABOUT_VALUES = {1292, 1300, 1365, 1411, 1690, 3140, 3141, 3143, 3854}


class MariaDB(MariaDBRights):
    """The dialect of MariaDB, and of MySQL."""

    name = "mariadb"

    def __init__(self) -> None:
        super().__init__()
        self._began = Began()

    def engine(
        self, url: sa.URL, *, password: str | None, statement_timeout: timedelta, server_time: ServerTime
    ) -> sa.Engine:
        """An engine whose every transaction is one read-only snapshot."""
        return session_mariadb.engine(
            url, password=password, statement_timeout=statement_timeout, server_time=server_time
        )

    def identity(self, cx: sa.Connection) -> str:
        """Server and database. A server too old to have an id goes by the name of its machine."""
        asked = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uid', 'server_uuid', 'hostname', 'port')"
        known = {str(row[0]): str(row[1]) for row in cx.execute(sa.text(asked))}
        server = known.get("server_uid") or known.get("server_uuid") or f"{known['hostname']}:{known['port']}"
        return f"mariadb:{server}/{cx.scalar(sa.text('SELECT DATABASE()'))}"

    def server(self, cx: sa.Connection) -> str:
        """`MariaDB 10.11.6`."""
        version = str(cx.scalar(sa.text("SELECT VERSION()")))
        return f"{'MariaDB' if 'MariaDB' in version else 'MySQL'} {version.partition('-')[0]}"

    def zone(self, cx: sa.Connection) -> tzinfo:
        """The zone in which sessions begin, which our session's UTC hides."""
        row = cx.execute(
            sa.text(
                "SELECT @@global.time_zone AS name, @@system_time_zone AS machine, TIMESTAMPDIFF(MINUTE,"
                " UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@global.time_zone)) AS minutes"
            )
        ).one()
        name = str(row.machine if row.name == "SYSTEM" else row.name)
        # Of a machine only the abbreviation is known, and CET is written where the clocks never change, too.
        if row.name != "SYSTEM" or name == "UTC" or "/" in name:
            with contextlib.suppress(ZoneInfoNotFoundError, ValueError):
                return ZoneInfo(name)
        return timezone(timedelta(minutes=int(row.minutes or 0)))

    def horizon(self, cx: sa.Connection, *, now: datetime) -> Horizon:  # noqa: ARG002 - the server's own clock counts
        """The start of the oldest transaction or statement, less the clock tolerance; says when it cannot see them."""
        clock: datetime = cx.execute(sa.text(_CLOCK)).scalar_one().replace(tzinfo=UTC)
        blind, remedy = self._blind(cx)
        if blind:
            return Horizon(clock - OVERLAP, OVERLAP, blind, remedy)
        of_mariadb = self.server(cx).startswith("MariaDB")
        sessions = cx.execute(sa.text(_SESSIONS if of_mariadb else _SESSIONS_OF_MYSQL)).all()
        if any(one.command in _APPLIES and one.user == "system user" for one in sessions):
            return Horizon(
                clock - OVERLAP,
                OVERLAP,
                "this is a replica, whose rows were stamped elsewhere",
                "Let mis.url lead to the primary.",
            )
        running = {
            int(one.id): clock - timedelta(seconds=max(float(one.age), 0.0))
            for one in sessions
            if one.command not in _RESTING
        }
        transactions = self._transactions(cx)
        if transactions is None:
            others = "something else reads information_schema.innodb_trx all the time, which keeps it from being new"
            return Horizon(clock - OVERLAP, OVERLAP, others)
        back = max(0, int(cx.scalar(sa.text(_PUT_BACK)) or 0))
        began = self._began.look(clock, running, {one: age + back for one, age in transactions.items()})
        # Starts are given in seconds.
        age = clock - min(began.values(), default=clock) + timedelta(seconds=1) + CLOCK_TOLERANCE
        known = {one: clock - since for one, since in running.items()}
        for (thread, _), seconds in transactions.items():
            known[thread] = max(timedelta(seconds=seconds), known.get(thread, timedelta(0)))
        oldest, open_for = max(known.items(), key=lambda one: one[1], default=(0, timedelta(0)))
        user = next((str(one.user) for one in sessions if one.id == oldest), "")
        left = "a transaction that XA RECOVER shows" if known and not oldest else ""
        return Horizon(clock - age, age, pinned_by=f"session {oldest} of {user}" if user else left, open_for=open_for)

    def _blind(self, cx: sa.Connection) -> tuple[str, str]:
        row = cx.execute(sa.text("SHOW GLOBAL VARIABLES WHERE Variable_name = 'wsrep_on'")).one_or_none()
        if row is not None and row[1] == "ON":
            return "this is a node of a Galera cluster, and the transactions of the other nodes cannot be seen", ""
        user, _, host = str(cx.scalar(sa.text("SELECT CURRENT_USER()"))).rpartition("@")
        try:
            cx.execute(sa.text("SELECT 1 FROM information_schema.innodb_trx LIMIT 1")).all()
        except sa.exc.DBAPIError as error:
            if number(error) not in FORBIDDEN:
                raise
            return f"the role {user} may not see the sessions of others", f"GRANT PROCESS ON *.* TO '{user}'@'{host}';"
        return "", ""

    def _transactions(self, cx: sa.Connection) -> dict[tuple[int, str], int] | None:
        """Ages by session and start: the server shows a copy, which is new enough when it has our own in it."""
        ours = int(cx.scalar(sa.text("SELECT CONNECTION_ID()")) or 0)
        own: list[int] = []
        found: dict[tuple[int, str], int] = {}
        for _ in range(_LOOKS):
            found = {(int(row.id), str(row.started)): int(row.age) for row in cx.execute(sa.text(_TRANSACTIONS))}
            own = [found.pop(one) for one in [*found] if one[0] == ours]
            if own and max(own) < _STALE:
                return found
            cx.execute(sa.text("SELECT SLEEP(0.11)")).all()  # so long must nobody look at it before it is renewed
        return found if own else None

    def snapshot(self, cx: sa.Connection) -> Snapshot:  # noqa: ARG002 - every dialect is asked alike
        """Rows do not show their transaction ids."""
        return Snapshot(None)

    def written(self, cx: sa.Connection, tables: Sequence[str]) -> str:  # noqa: ARG002 - every dialect is asked alike
        """UPDATE_TIME and the statistics are late by nature: it is always asked."""
        return ""

    def holder(self, cx: sa.Connection, xid: int) -> str:  # noqa: ARG002 - every dialect is asked alike
        """Rows do not show their transaction ids."""
        return ""

    def went_back(self, cx: sa.Connection, position: Position) -> bool:
        """Whether the clock is behind the position: nothing else shows that a backup was restored."""
        return bool(cx.execute(sa.text(_CLOCK)).scalar_one().replace(tzinfo=UTC) < position.moment)

    def exists(self, cx: sa.Connection, table: str) -> bool:
        """Whether there is such a table or view that this role may read."""
        asked = f"SELECT 1 FROM information_schema.tables WHERE {_NAMED}"  # noqa: S608 - a constant
        return cx.scalar(statement.bind(asked, _name(table))) is not None

    def whole(self, cx: sa.Connection, table: str) -> CaptureMode | None:
        """Small tables are read as a whole: so a stamp that is missing, or was not set, does not matter."""
        asked = f"SELECT table_rows FROM information_schema.tables WHERE {_NAMED} AND table_type IN :kr_held"  # noqa: S608 - a constant
        rows = cx.scalar(statement.bind(asked, _name(table), {"kr_held": _HELD}))
        return "compare" if rows is not None and rows <= _SMALL else None

    def unsteady(self, cx: sa.Connection) -> set[str]:
        """Tables of MyISAM and its like: a snapshot does not hold them."""
        asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        asked += " AND table_type IN :kr_held AND engine NOT IN :kr_values"
        return set(cx.scalars(statement.bind(asked, {}, {"kr_held": _HELD, "kr_values": _STEADY})))

    def torn(self, cx: sa.Connection) -> str:  # noqa: ARG002 - every dialect is asked alike
        """The server says so by itself, with error 1412."""
        return ""

    def indexed(self, cx: sa.Connection, table: str) -> set[str]:
        """Columns that an index begins with."""
        asked = f"SELECT column_name FROM information_schema.statistics WHERE {_NAMED} AND seq_in_index = 1"  # noqa: S608 - a constant
        return set(cx.scalars(statement.bind(asked, _name(table))))

    def unique(self, cx: sa.Connection, table: str, columns: Sequence[str]) -> bool:
        """By a unique index over these columns, or over some of them; none over the beginnings of texts."""
        asked = f"SELECT 1 FROM information_schema.statistics WHERE {_NAMED} AND non_unique = 0"  # noqa: S608 - a constant
        whole = "column_name IN :kr_values AND sub_part IS NULL"
        asked += f" GROUP BY index_name HAVING SUM(CASE WHEN {whole} THEN 0 ELSE 1 END) = 0 LIMIT 1"
        return cx.scalar(statement.bind(asked, _name(table), {"kr_values": [*columns]})) is not None

    def described(self, cursor: Any) -> list[tuple[str, object]]:
        """With the character set, which distinguishes text from bytes."""
        return [*session_mariadb.codes(cursor)]

    def turned(self, code: object) -> Callable[[object], object] | None:
        """tinyint(1) and bit(1) mean yes and no."""
        return session_mariadb.turned(code) if isinstance(code, Code) else None

    def exact(self, code: object, column: str) -> str | None:
        """A FLOAT as a double: the server writes six of its digits."""
        return f"{column} + 0e0" if isinstance(code, Code) and session_mariadb.shortened(code) else None

    def as_exact(self, given: object) -> object:
        """The number that was put into the FLOAT."""
        return session_mariadb.single(given)

    def stamp(self, type_code: object) -> Stamp | None:
        """TIMESTAMP is a moment, DATETIME has no zone."""
        return _STAMPS.get(type_code.type) if isinstance(type_code, Code) else None

    def brief(self, code: object, column: str) -> str:
        """All but bytes and what may be as long as a photo."""
        return "" if isinstance(code, Code) and session_mariadb.is_long(code) else column

    def version(self, one: Watched, facts: TableFacts) -> str | None:
        """A hash of the row's own text; one that is too long for a text is always new."""
        present = [(name, self._of_row(name), code) for name, code in facts.present.items()]
        columns = [(column, code) for name, column, code in present if one.counts(name) or self.brief(code, column)]
        nulls = ", ".join(f"{column} IS NULL" for column, _ in columns)  # which CONCAT_WS leaves out
        # As bytes: columns of two character sets do not go into one text.
        texts = ", ".join(f"CAST({self.exact(code, column) or column} AS BINARY)" for column, code in columns)
        # SHA2, because MySQL 9 comes without MD5: there it is a component that somebody has to install.
        return f"COALESCE(LEFT(SHA2(CONCAT_WS(0x1F, CONCAT({nulls}), {texts}), 256), 32), CONCAT('new ', UUID()))"

    def since(
        self, one: Watched, facts: TableFacts, *, at: Position, now: Position, zones: Sequence[tzinfo], prefix: str
    ) -> tuple[str, Mapping[str, object]]:
        """By whole seconds, for a column may hold no fractions. A zero date counts as none."""
        if facts.mode == "compare":
            return "1", {}
        values: dict[str, object] = {}
        lists = []
        for nth, stamps in enumerate(one.stamps):
            alternatives = []
            for place, stamp in enumerate(stamps):
                bound = f"{prefix}{nth}_{place}"
                values[bound] = _bound(facts.kinds[stamp], at.moment, now.moment, zones)
                nulls = [f"{self.absent(self._of_row(earlier))} AND " for earlier in stamps[:place]]
                alternatives.append(f"({''.join(nulls)}{self._of_row(stamp)} >= :{bound})")
            lists.append(" OR ".join(alternatives))
        return f"({' OR '.join(lists)})", values

    def _of_row(self, column: str) -> str:
        return f"r.{statement.plain(self.quoted(column))}"

    def after(self, columns: Sequence[str], names: Sequence[str]) -> str:
        """Written out: a comparison of rows would read the whole index."""
        first = f"{columns[0]} > :{names[0]}"
        if len(columns) == 1:
            return first
        return f"({columns[0]} >= :{names[0]} AND ({first} OR {self.after(columns[1:], names[1:])}))"

    def forms(self, parts: tuple[str, ...]) -> list[tuple[object, ...]]:
        """As text, which is read in the type of its column; a moment without its zone, which MariaDB does not read."""
        bare = tuple(part.removesuffix("+00:00") if _MOMENT.fullmatch(part) else part for part in parts)
        return list(dict.fromkeys((bare, parts)))

    def absent(self, column: str) -> str:
        """NULL, or a zero date."""
        return f"({column} IS NULL OR {column} < '0001-01-01')"

    def index(self, table: str, column: str) -> str:
        """Built while others go on writing."""
        name = self.quoted(f"kiva_relay_{column}")
        return f"CREATE INDEX {name} ON {self.quoted(table)} ({self.quoted(column)}) LOCK=NONE;"

    def bound(self, given: object) -> object:
        """As text, which is read in the type of the column that it is compared with."""
        if isinstance(given, bool):
            return int(given)
        if isinstance(given, datetime):
            return given.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
        return given if given is None or isinstance(given, bytes) else value.text(given)

    def parameter(self, given: object) -> object:
        """As PyMySQL takes it."""
        return given

    def as_text(self, sql: str) -> str:
        """A cast."""
        return f"CAST({sql} AS CHAR)"

    def kind(self, type_code: object) -> str:
        """By the type, the length (tinyint(1) is a boolean) and the character set (that of bytes is none)."""
        if not isinstance(type_code, Code):
            return "other"
        if session_mariadb.is_boolean(type_code):
            return "boolean"
        if type_code.filled:
            return "other"
        if type_code.type == FIELD_TYPE.JSON:  # a type of MySQL's, of which it says that its letters are bytes
            return "text"
        if type_code.type in _TEXTS:
            return "bytes" if type_code.charset == session_mariadb.BINARY else "text"
        if type_code.type in _STAMPS:
            return "date" if type_code.type == FIELD_TYPE.DATE else "datetime"
        if type_code.type in _INTEGERS or type_code.type == FIELD_TYPE.BIT:
            return "integer"
        return "number" if type_code.type in _NUMBERS else "other"

    def replaced(self, error: sa.exc.DBAPIError) -> bool:
        """A table was truncated or altered since the snapshot."""
        return number(error) in _TORN

    def cancelled(self, error: sa.exc.DBAPIError) -> bool:
        """The statement took too long."""
        return number(error) in _CANCELLED

    def odd(self, error: sa.exc.DBAPIError) -> bool:
        """A number that is too large, a text that is none, a document that is broken."""
        return isinstance(error.orig, pymysql.err.DataError) or number(error) in _ABOUT_VALUES

    def plain(self, error: sa.exc.DBAPIError) -> bool:
        """Names that are not there, and rights that are missing; of wrong SQL it quotes what stands behind."""
        return number(error) in _ABOUT_NAMES


def _name(table: str) -> dict[str, object]:
    schema, _, name = table.rpartition(".")
    return {"schema": schema or None, "name": name}


def _bound(kind: Stamp, at: datetime, now: datetime, zones: Sequence[tzinfo]) -> str:
    if kind == "moment":
        return f"{at.astimezone(UTC).replace(tzinfo=None, microsecond=0)}"
    naive = min(local(at, now, zone) for zone in zones)
    return f"{naive.date() if kind == 'day' else naive.replace(microsecond=0)}"
