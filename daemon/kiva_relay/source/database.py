"""The MIS's database, opened: what it is, what it has, what our role may do. Without its changes and its content."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.source import dialect, position, roots, schema, slot, stamps, statement, value, watch
from kiva_relay.source.binding import Binding
from kiva_relay.source.grants import Grants
from kiva_relay.source.plans import Plans
from kiva_relay.source.position import Horizon
from kiva_relay.source.server_time import ServerTime
from kiva_relay.source.snapshots import Snapshots
from kiva_relay.source.stamps import Stamps
from kiva_relay.source.stream import Stream


class MisDatabase:
    """Used by one thread; holds no transaction open between calls."""

    def __init__(
        self,
        url: str | sa.URL,
        *,
        password: str | None,
        timezone: str,
        statement_timeout: timedelta,
        watch: str,
        clock: Clock,
    ) -> None:
        self._url = sa.make_url(url)
        self.dialect = dialect.of(self._url)
        self._server_time = ServerTime(clock)
        self._opened = functools.partial(
            self.dialect.engine, password=password, statement_timeout=statement_timeout, server_time=self._server_time
        )
        self._engine = self._opened(self._url)
        self._watch, self._clock = watch, clock
        self._binding = Binding(self.dialect, timezone=timezone, clock=clock)
        self._plans = Plans(self.dialect, asked=watch, clock=clock)
        self._snapshots = Snapshots(
            self._url, self._engine, self.dialect, timeout=statement_timeout, failed=self._believe_no_table
        )
        # Whoever answers at the address now may be another server.
        sa.event.listen(self._engine, "connect", lambda *_: self._believe_nothing())

    def _believe_no_table(self) -> None:
        """Something failed: how the tables are is looked at again."""
        self._plans.clear()

    def _believe_nothing(self) -> None:
        self._believe_no_table()

    @property
    def busy_seconds(self) -> float:
        """How long the MIS worked for us so far, for pacing by `mis.max_load`."""
        return self._server_time.seconds

    def together(self) -> contextlib.AbstractContextManager[None]:
        """What is asked in here shares a session, up to the first look at tables; each has its own snapshot."""
        return self._snapshots.together()

    def identity(self) -> str:
        """Which database this is, as `postgresql:<system identifier>/<database>#<which of that name>`."""
        return self._snapshots.once(self.dialect.identity)

    def server(self) -> str:
        """Product and version, as `PostgreSQL 18.1`."""
        return self._snapshots.once(self.dialect.server)

    def horizon(self) -> Horizon:
        """How far the MIS's open transactions reach back, and what keeps us from seeing them."""
        return self._snapshots.once(lambda cx: self.dialect.horizon(cx, now=self._clock.now()))

    def secured(self, streams: Sequence[Stream]) -> list[str]:
        """The tables of which row level security may hide rows from this role."""
        return self._snapshots.once(lambda cx: sorted(self.dialect.secured(cx, watch.tables(streams))))

    def slot(self, name: str, streams: Sequence[Stream], *, all_of_it: bool = True) -> slot.SlotFacts:
        """What a PostgreSQL has of the publication and slot of this name, and of the tables of the streams."""
        return self._snapshots.once(
            lambda cx: slot.facts(cx, self.dialect, name, watch.tables(streams), all_of_it=all_of_it)
        )

    def written(self) -> int:
        """How far a PostgreSQL has written its log: what a snapshot sees that was taken before lies below."""
        return self._snapshots.once(
            lambda cx: int(cx.scalar(sa.text("SELECT pg_current_wal_insert_lsn() - '0/0'")) or 0)
        )

    def find(self, stream: Stream, column: str, values: Sequence[str]) -> list[str]:
        """Keys, in scope or not, of the roots whose column has one of these values, compared as text."""
        with self._snapshots.taken(f"looking up {stream.name}") as cx:
            return roots.holding(cx, self.dialect, stream, column, values)

    def count(self, stream: Stream) -> int:
        """How many roots are in scope."""
        with self._snapshots.taken(f"counting {stream.name}") as cx:
            return roots.count(cx, self.dialect, stream, self._binding.values(stream))

    def stamps(self, stream: Stream) -> list[Stamps]:
        """What the stamps of its tables are worth; reads each of them whole."""
        horizon = self.horizon()
        with self._snapshots.taken(f"looking at the stamps of {stream.name}") as cx:
            plan, zone = self._plans.of(cx, [stream], blind=horizon.blind), self._binding.zone(cx, stream)
            return stamps.survey(cx, self.dialect, stream, plan, zone=zone, now=horizon.moment + horizon.age)

    def highest(self, stream: Stream) -> int | None:
        """The highest key of a stream's table, in scope or not; 0 without rows, None where keys are no numbers."""
        return self._snapshots.asked(f"looking at {stream.name}", lambda cx: roots.highest(cx, self.dialect, stream))

    def columns(self, source: str) -> dict[str, str]:
        """Columns of a table, or of a SELECT, and their kinds.

        A kind is text, integer, number, boolean, date, datetime, bytes or other.

        Raises:
            RelayError: there is no such table, or the SELECT fails.
        """
        given = {"sql": source} if any(one.isspace() for one in source.strip()) else {"table": source}
        with self._snapshots.taken(f"looking at {source.strip().splitlines()[0]}") as cx:
            present = schema.columns(cx, self.dialect, **given)
            return {name: self.dialect.kind(code) for name, code in present.items()}

    def choices(self, sql: str) -> list[tuple[str, str]]:
        """The values that a parameter may have, and what each is called: the first two columns of a SELECT."""
        with self._snapshots.taken("asking for choices") as cx:
            rows = cx.execute(statement.bind(statement.whole(sql), {}))
            return [(value.text(row[0]), value.text(row[1] if len(row) > 1 else row[0])) for row in rows]

    def can_write(self) -> list[str]:
        """The tables that this role could change: it needs SELECT only."""
        return self._snapshots.once(self.dialect.can_write)

    def unreadable(self, tables: Mapping[str, bool]) -> list[str]:
        """Those of the tables that this role may not read; true for those that it has to read whole."""
        return self._snapshots.once(
            lambda cx: [name for name, whole in tables.items() if not self.dialect.may_read(cx, name, whole=whole)]
        )

    def grants(self, tables: Sequence[str]) -> Grants:
        """The SQL that gives the role of `mis.url` what it needs to read these tables; it may have no right yet."""
        engine = self._opened(self.dialect.anyones(self._url))
        try:
            with self._snapshots.taken("asking who this role is", engine) as cx:
                return self.dialect.grants(cx, tables, database=str(self._url.database))
        finally:
            engine.dispose()

    def went_back(self, watermark: str) -> bool:
        """Whether this is another database than the watermark's, or an older state of it."""
        before = position.parse(watermark)
        return self._snapshots.once(
            lambda cx: before.server != self.dialect.identity(cx) or self.dialect.went_back(cx, before)
        )

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def is_unique(self, stream: Stream) -> bool:
        """Whether the database itself keeps two roots from having one key; of a view it does not."""
        return self._snapshots.once(lambda cx: self.dialect.unique(cx, stream.table, stream.key))
