"""The MIS database, opened for reading: what changed, and what is there now.

A change cannot be lost: `changes()` takes the horizon first, then asks all tables in one newer snapshot, and gives
the place from which the next cycle goes on. The caller stores that place together with the content that `read()`
gives for the keys, and only then calls `processed()`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta, tzinfo
from typing import TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.source import (
    change,
    dialect,
    failure,
    position,
    reader,
    roots,
    route,
    schema,
    slot,
    stamps,
    statement,
    value,
    watch,
)
from kiva_relay.source.grants import Grants
from kiva_relay.source.pgoutput import Transaction
from kiva_relay.source.plans import Plan, Plans
from kiva_relay.source.position import Cycle, Horizon, Position, Snapshot
from kiva_relay.source.reader import Content
from kiva_relay.source.stamps import Stamps
from kiva_relay.source.stream import CUTOFF, Stream

REST = 30.0
"""Seconds after which a stream that failed is tried again."""

_SNAPSHOTS = 5
_READINGS = 5

_Answer = TypeVar("_Answer")


class Mis:
    """One MIS database. Used by one thread; holds no transaction open between calls.

    `busy_seconds` is how long the MIS was kept at work so far, for pacing by `mis.max_load`.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None,
        timezone: str,
        statement_timeout: timedelta,
        watch: str,
        clock: Clock,
    ) -> None:
        self._url = sa.make_url(url)
        self.dialect = dialect.of(self._url)
        self._opened = functools.partial(self.dialect.engine, password=password, statement_timeout=statement_timeout)
        self._engine = self._opened(self._url)
        self._timeout, self._watch = statement_timeout, watch
        self._zone = ZoneInfo(timezone)
        self._clock = clock
        self._done: Cycle | None = None
        self._plans = Plans(self.dialect, asked=watch, clock=clock)
        # Whoever answers at the address now may be another server.
        sa.event.listen(self._engine, "connect", lambda *_: self._plans.clear())
        self._pinned_since: tuple[int | None, float] = (None, 0.0)
        self._stopped: dict[str, tuple[float, Stream, errors.RelayError]] = {}
        self._shapes: dict[str, dict[str, dict[str, str]]] = {}
        self.busy_seconds = 0.0

    def identity(self) -> str:
        """Which database this is, as `postgresql:<system identifier>/<database>#<which of that name>`."""
        return self._once(self.dialect.identity)

    def server(self) -> str:
        """Product and version, as `PostgreSQL 18.1`."""
        return self._once(self.dialect.server)

    def horizon(self) -> Horizon:
        """How far the MIS's open transactions reach back, and what keeps us from seeing them."""
        return self._once(lambda cx: self.dialect.horizon(cx, now=self._clock.now()))

    def changes(
        self,
        streams: Sequence[Stream],
        watermarks: Mapping[str, str | None],
        *,
        followed: watch.Followed | None = None,
    ) -> Cycle:
        """Root keys whose rows, or whose related rows, changed since the watermarks.

        A stream without a watermark gets no keys, only the place from which to go on. Tables that are `followed`
        are not asked: their changes come by replication.

        A stream of which a table or column is not what it was is in `failed`, alone; it is tried again after a while.

        Raises:
            Unreachable: the MIS is away.
            WentBack: a watermark belongs to another database, or this one is older.
        """
        horizon = self.horizon().overlapping() if self._watch == "overlap" else self.horizon()
        failed = self._resting(streams)
        while True:
            left = [stream for stream in streams if stream.name not in failed]
            try:
                ask = functools.partial(self._look, left, watermarks, horizon, followed or {})
                return replace(self._asked("looking for changes", ask), failed=failed)
            except failure.Stopped as stopped:
                again = self._clock.monotonic() + REST
                self._stopped |= {one.name: (again, one, stopped.error) for one in left if one.name in stopped.streams}
                failed |= dict.fromkeys(stopped.streams, stopped.error)

    def _look(
        self,
        streams: Sequence[Stream],
        watermarks: Mapping[str, str | None],
        horizon: Horizon,
        followed: watch.Followed,
        cx: sa.Connection,
    ) -> Cycle:
        snapshot = self.dialect.snapshot(cx)
        plan = self._plans.of(cx, streams, blind=horizon.blind)
        stands = {stream.name: self._position(cx, watermarks.get(stream.name)) for stream in streams}
        until = position.following(
            self._plans.server(cx), snapshot, horizon, stands.values(), stamped=watch.stamped(plan)
        )
        found = change.Found()
        for (since, seen), group in self._groups(streams, watermarks).items():
            look = change.ChangeQuery(
                cx=cx,
                dialect=self.dialect,
                since=position.parse(since),
                until=until,
                values={stream.name: self._values(stream, self._today()) for stream in group},
                zones={stream.name: self._zone_of(stream, cx) for stream in group},
                seen=self._done.remembered if seen and self._done else {},
            )
            change.find(look, watch.only(plan, {stream.name for stream in group}, followed), found)
        held_for, holder = self._held_up(cx, horizon, snapshot)
        return Cycle(
            keys={stream.name: list(found.keys.get(stream.name, ())) for stream in streams},
            next={stream.name: until.text() for stream in streams},
            mode={stream.name: watch.mode(plan, stream, followed) for stream in streams},
            horizon_age=held_for,
            reasons={stream.name: self._reason(cx, plan, stream, followed) for stream in streams},
            pinned_by=holder,
            timeline=snapshot.timeline,
            remembered=found.versions,
            streams=tuple(stream for stream in streams if stands[stream.name] and stream.name not in followed),
        )

    def processed(self, cycle: Cycle, *, but: Collection[str] = ()) -> None:
        """Remember which row versions need no second look: call it when everything of the cycle is committed.

        Not for the streams `but`, whose pages were not written.
        """
        self._done = replace(cycle, streams=tuple(one for one in cycle.streams if one.name not in but))

    def slot(self, name: str, streams: Sequence[Stream], *, all_of_it: bool = True) -> slot.SlotFacts:
        """What a PostgreSQL has of the publication and slot of this name, and of the tables of the streams."""
        tables = dict.fromkeys(one.table for one in watch.watched(streams) if one.table is not None)
        return self._once(lambda cx: slot.facts(cx, self.dialect, name, [*tables], all_of_it=all_of_it))

    def written(self) -> int:
        """How far a PostgreSQL has written its log: what a snapshot sees that was taken before lies below."""
        return self._once(lambda cx: int(cx.scalar(sa.text("SELECT pg_current_wal_insert_lsn() - '0/0'")) or 0))

    def follow(
        self,
        streams: Sequence[Stream],
        transactions: Sequence[Transaction],
        *,
        oids: Mapping[str, int],
        cutoff: date,
        most: int,
    ) -> route.Routed:
        """The root keys that transactions of the stream concern, and the content of the first `most` of each stream.

        All out of one snapshot, which sees these transactions. A stream that cannot be asked is in `failed`.
        """
        failed: dict[str, errors.RelayError] = {}

        def ask(cx: sa.Connection) -> route.Routed:
            left = {stream.name: stream for stream in streams if stream.name not in failed}
            values = {name: self._values(stream, cutoff) for name, stream in left.items()}
            routed = route.route(cx, self.dialect, [*left.values()], transactions, values=values, oids=oids)
            for name, keys in routed.keys.items():
                with failure.blamed({name}):
                    routed.contents[name] = self._contents(cx, left[name], [*keys][:most], cutoff)
            return routed

        while True:
            try:
                return replace(self._asked("following the stream", ask), failed=failed)
            except failure.Stopped as stopped:
                failed |= dict.fromkeys(stopped.streams, stopped.error)

    def read(self, stream: Stream, keys: Sequence[str], *, cutoff: date) -> list[Content]:
        """The content of each key as it is now, all out of one snapshot, in the order of the keys.

        Tables that a snapshot does not hold are read until two readings in a row say the same.
        """
        return self._asked(f"reading {stream.name}", lambda cx: self._contents(cx, stream, keys, cutoff))

    def _contents(self, cx: sa.Connection, stream: Stream, keys: Sequence[str], cutoff: date) -> list[Content]:
        page = reader.RowPage(cx, self.dialect, stream, self._values(stream, cutoff), self._zone_of(stream, cx))
        contents = reader.read(page, keys)
        for _ in range(_READINGS if self._plans.unsteady(cx, stream) else 0):
            before, contents = contents, reader.read(page, keys)
            if before == contents:
                break
        self._shapes.setdefault(stream.name, {}).update(page.shape)
        return contents

    def shape(self, stream: Stream) -> dict[str, dict[str, str]]:
        """Names and kinds of the columns that `read` last met, by relation: what the mapping has to fit."""
        return {name: dict(columns) for name, columns in self._shapes.get(stream.name, {}).items()}

    def scan(self, stream: Stream, *, after: str | None, limit: int) -> list[str]:
        """Keys in scope behind a key, in the order of the table's key; fewer than `limit` at the end."""
        values = self._values(stream, self._today())

        def ask(cx: sa.Connection) -> list[str]:
            return roots.behind(cx, self.dialect, stream, values, after=after, limit=limit)

        return self._asked(f"scanning {stream.name}", ask)

    def find(self, stream: Stream, column: str, values: Sequence[str]) -> list[str]:
        """Keys, in scope or not, of the roots whose column has one of these values, compared as text."""
        with self._snapshot(f"looking up {stream.name}") as cx:
            return roots.holding(cx, self.dialect, stream, column, values)

    def count(self, stream: Stream) -> int:
        """How many roots are in scope."""
        with self._snapshot(f"counting {stream.name}") as cx:
            return roots.count(cx, self.dialect, stream, self._values(stream, self._today()))

    def stamps(self, stream: Stream) -> list[Stamps]:
        """What the stamps of its tables are worth; reads each of them whole."""
        horizon = self.horizon()
        with self._snapshot(f"looking at the stamps of {stream.name}") as cx:
            plan, zone = self._plans.of(cx, [stream], blind=horizon.blind), self._zone_of(stream, cx)
            return stamps.survey(cx, self.dialect, stream, plan, zone=zone, now=horizon.moment + horizon.age)

    def highest(self, stream: Stream) -> int | None:
        """The highest key of a stream's table, in scope or not; 0 without rows, None where keys are no numbers."""
        return self._asked(f"looking at {stream.name}", lambda cx: roots.highest(cx, self.dialect, stream))

    def columns(self, source: str) -> dict[str, str]:
        """Columns of a table, or of a SELECT, and their kinds.

        A kind is text, integer, number, boolean, date, datetime, bytes or other.

        Raises:
            RelayError: there is no such table, or the SELECT fails.
        """
        given = {"sql": source} if any(one.isspace() for one in source.strip()) else {"table": source}
        with self._snapshot(f"looking at {source.strip().splitlines()[0]}") as cx:
            present = schema.columns(cx, self.dialect, **given)
            return {name: self.dialect.kind(code) for name, code in present.items()}

    def choices(self, sql: str) -> list[tuple[str, str]]:
        """The values that a parameter may have, and what each is called: the first two columns of a SELECT."""
        with self._snapshot("asking for choices") as cx:
            rows = cx.execute(statement.bind(statement.fragment(sql, known=()), {}))
            return [(value.text(row[0]), value.text(row[1] if len(row) > 1 else row[0])) for row in rows]

    def can_write(self) -> list[str]:
        """The tables that this role could change: it needs SELECT only."""
        return self._once(self.dialect.can_write)

    def unreadable(self, tables: Mapping[str, bool]) -> list[str]:
        """Those of the tables that this role may not read; true for those that it has to read whole."""
        return self._once(
            lambda cx: [name for name, whole in tables.items() if not self.dialect.may_read(cx, name, whole=whole)]
        )

    def grants(self, tables: Sequence[str]) -> Grants:
        """The SQL that gives the role of `mis.url` what it needs to read these tables; it may have no right yet."""
        engine = self._opened(self.dialect.anyones(self._url))
        try:
            with self._snapshot("asking who this role is", engine) as cx:
                return self.dialect.grants(cx, tables, database=str(self._url.database))
        finally:
            engine.dispose()

    def went_back(self, watermark: str) -> bool:
        """Whether this is another database than the watermark's, or an older state of it."""
        before = position.parse(watermark)
        return self._once(lambda cx: before.server != self.dialect.identity(cx) or self.dialect.went_back(cx, before))

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _once(self, ask: Callable[[sa.Connection], _Answer]) -> _Answer:
        with self._snapshot("asking the server") as cx:
            return ask(cx)

    def _asked(self, doing: str, ask: Callable[[sa.Connection], _Answer]) -> _Answer:
        """The answer out of one snapshot; out of a new one when a table was emptied or altered under it."""
        for left in reversed(range(_SNAPSHOTS)):
            with contextlib.nullcontext() if not left else contextlib.suppress(failure.Replaced):
                with self._snapshot(doing) as cx:
                    answer = ask(cx)
                    torn = self.dialect.torn(cx)
                if not torn:
                    return answer
                raise failure.Replaced(f"{torn} was emptied or replaced in the MIS again and again while {doing}.")
        raise AssertionError("the last snapshot answers or raises")

    @contextlib.contextmanager
    def _snapshot(self, doing: str, engine: sa.Engine | None = None) -> Iterator[sa.Connection]:
        started = self._clock.monotonic()
        try:
            with (engine or self._engine).connect() as cx, cx.begin():
                yield cx
        except failure.Blamed as blamed:
            self._plans.clear()
            cause = blamed.cause
            explained = self._explained(cause, doing) if isinstance(cause, sa.exc.DBAPIError) else cause
            if isinstance(explained, errors.Unreachable | failure.Replaced):
                raise explained from cause
            raise failure.Stopped(blamed.streams, explained) from cause
        except sa.exc.DBAPIError as error:
            self._plans.clear()
            raise self._explained(error, doing) from error
        finally:
            self.busy_seconds += self._clock.monotonic() - started

    def _explained(self, error: sa.exc.DBAPIError, doing: str) -> errors.RelayError:
        return failure.explained(error, self.dialect, self._url, doing=doing, timeout=self._timeout)

    def _resting(self, streams: Sequence[Stream]) -> dict[str, errors.RelayError]:
        """Streams that failed a moment ago and are not tried yet again, with the error."""
        now = self._clock.monotonic()
        rests = ((one, self._stopped.get(one.name)) for one in streams)
        return {one.name: rest[2] for one, rest in rests if rest and rest[0] > now and rest[1] == one}

    def _reason(self, cx: sa.Connection, plan: Plan, stream: Stream, followed: watch.Followed) -> str:
        unsteady = self._plans.unsteady(cx, stream)
        engines = f"{', '.join(unsteady)}: an engine without snapshots, so that it is read twice" if unsteady else ""
        return "; ".join(one for one in (watch.reason(plan, stream, followed), engines) if one)

    def _position(self, cx: sa.Connection, watermark: str | None) -> Position | None:
        if watermark is None:
            return None
        found = position.parse(watermark)
        if found.server != self._plans.server(cx):
            raise errors.WentBack(
                f"The watermark was taken on {found.server}, and mis.url leads to {self._plans.server(cx)}.",
                hint="kiva-relay watermark show",
            )
        return found

    def _groups(
        self, streams: Sequence[Stream], watermarks: Mapping[str, str | None]
    ) -> dict[tuple[str, bool], list[Stream]]:
        """Streams that stand at the same place, apart by whether what was seen behind it is remembered."""
        groups: dict[tuple[str, bool], list[Stream]] = {}
        for stream in streams:
            if (watermark := watermarks.get(stream.name)) is not None:
                done = self._done
                seen = done is not None and done.next.get(stream.name) == watermark and stream in done.streams
                groups.setdefault((watermark, seen), []).append(stream)
        return groups

    def _values(self, stream: Stream, cutoff: date) -> dict[str, object]:
        given = {**stream.parameters, CUTOFF: cutoff}
        return {name: self.dialect.parameter(one) for name, one in given.items()}

    def _today(self) -> date:
        return self._clock.now().astimezone(self._zone).date()

    def _zone_of(self, stream: Stream, cx: sa.Connection) -> tzinfo:
        match stream.changed_at_zone:
            case "utc":
                return UTC
            case "server":
                return self.dialect.zone(cx)
            case "":
                return self._zone
            case name:
                return ZoneInfo(name)

    def _held_up(self, cx: sa.Connection, horizon: Horizon, snapshot: Snapshot) -> tuple[timedelta, str]:
        """For how long the oldest transaction keeps the watermark where it is, and whose it is."""
        now = self._clock.monotonic()
        if self._pinned_since[0] != snapshot.xid or not snapshot.pinned:
            self._pinned_since = (snapshot.xid, now)
        pinned = timedelta(seconds=now - self._pinned_since[1])
        if snapshot.xid is not None and pinned > horizon.open_for:
            return pinned, self.dialect.holder(cx, snapshot.xid)
        return horizon.open_for, horizon.pinned_by
