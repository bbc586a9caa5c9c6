"""The MIS database, opened for reading: what changed, and what is there now.

A change cannot be lost: `changes()` takes the horizon first, then asks all tables in one newer snapshot, and gives
the place from which the next cycle goes on. The caller stores that place together with the content that `read()`
gives for the keys, and only then calls `processed()`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from types import MappingProxyType

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import Clock
from kiva_relay.source import (
    change,
    failure,
    gap,
    hidden,
    odd_row,
    position,
    quiet,
    roots,
    route,
    watch,
)
from kiva_relay.source.contents import Contents
from kiva_relay.source.database import MisDatabase
from kiva_relay.source.gap import Gap
from kiva_relay.source.pgoutput import Transaction
from kiva_relay.source.picked import Columns, Picked
from kiva_relay.source.pin import Pin
from kiva_relay.source.plans import Plan
from kiva_relay.source.position import Cycle, Horizon, Position, Secured
from kiva_relay.source.reader import Content
from kiva_relay.source.rest import Rests
from kiva_relay.source.stream import Stream


class Mis(MisDatabase):
    """One MIS database. Used by one thread; holds no transaction open between calls."""

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
        super().__init__(
            url,
            password=password,
            timezone=timezone,
            statement_timeout=statement_timeout,
            watch=watch,
            clock=clock,
        )
        self._done: Cycle | None = None
        self._written = ""
        self._quiet: quiet.Quiet | None = None
        self._picked = Picked(self.dialect, clock=clock)
        self._pin = Pin(self.dialect, clock=clock)
        self._contents = Contents(self.dialect, plans=self._plans, picked=self._picked, binding=self._binding)
        self._rests = Rests(clock)
        self._gaps: dict[str, Sequence[Gap]] = {}

    def _believe_no_table(self) -> None:
        super()._believe_no_table()
        self._picked.clear()

    def _believe_nothing(self) -> None:
        super()._believe_nothing()
        self._quiet = None

    def changes(
        self,
        streams: Sequence[Stream],
        watermarks: Mapping[str, str | None],
        *,
        followed: watch.Followed | None = None,
        secured: Secured = MappingProxyType({}),
    ) -> Cycle:
        """Root keys whose rows, or whose related rows, changed since the watermarks.

        A stream without a watermark gets no keys, only the place from which to go on. Tables that are `followed`
        are not asked: their changes come by replication. `secured` is what an earlier cycle said of row level security.

        A stream of which a table or column is not what it was is in `failed`, alone; it is tried again after a while.
        Where nothing was written since before the last look, nothing is asked (`Cycle.left_out`).

        Raises:
            Unreachable: the MIS is away.
            WentBack: a watermark belongs to another database, or this one is older.
        """
        written, horizon = self._where_it_stands(streams, may_be_left_out=not followed)
        if written and self._quiet is not None and self._quiet.is_as_it_was(written, streams, watermarks):
            # A transaction that only reads may be open for long.
            look = replace(self._quiet.look, horizon_age=horizon.open_for, pinned_by=horizon.pinned_by)
            return replace(look, left_out=True)
        self._quiet = None
        horizon = horizon.overlapping() if self._watch == "overlap" else horizon
        failed, halved = self._rests.of(streams), set[tuple[str, str]]()
        while True:
            left = [stream for stream in streams if stream.name not in failed]
            try:
                ask = functools.partial(
                    self._look, left, watermarks, horizon, followed or {}, secured=secured, halved=halved
                )
                found = self._snapshots.asked("looking for changes", ask)
            except failure.Stopped as stopped:
                self._rests.begin((one for one in left if one.name in stopped.streams), stopped.error)
                failed |= dict.fromkeys(stopped.streams, stopped.error)
            except failure.OddValue as odd:
                halved.add((odd.stream, odd.of))
            else:
                self._written = "" if failed else written
                return replace(found, failed=failed)

    def _where_it_stands(self, streams: Sequence[Stream], *, may_be_left_out: bool) -> tuple[str, Horizon]:
        """How far the MIS has written, when nothing can change for these streams without that, else ""; its horizon."""
        watched = watch.watched(streams)
        tables = [one.table for one in watched if one.table is not None]
        tells = may_be_left_out and len(tables) == len(watched)

        def ask(cx: sa.Connection) -> tuple[str, Horizon]:
            written = self.dialect.written(cx, tables) if tells else ""
            return written, self.dialect.horizon(cx, now=self._clock.now())

        return self._snapshots.once(ask)

    def _look(
        self,
        streams: Sequence[Stream],
        watermarks: Mapping[str, str | None],
        horizon: Horizon,
        followed: watch.Followed,
        cx: sa.Connection,
        *,
        secured: Secured,
        halved: Collection[tuple[str, str]],
    ) -> Cycle:
        snapshot = self.dialect.snapshot(cx)
        plan = self._plans.of(cx, streams, blind=horizon.blind)
        secured_now = self._secured(cx, streams)
        hidden.stop_where_rows_were_hidden(secured, secured_now)
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
                values={stream.name: self._binding.values(stream) for stream in group},
                zones={stream.name: self._binding.zone(cx, stream) for stream in group},
                seen=self._done.remembered if seen and self._done else {},
                halved=halved,
            )
            change.find(look, watch.only(plan, {stream.name for stream in group}, followed), found)
        held_for, holder = self._pin.look(cx, horizon, snapshot)
        return Cycle(
            keys={stream.name: list(found.keys.get(stream.name, ())) for stream in streams},
            next={stream.name: until.text() for stream in streams},
            mode={stream.name: watch.mode(plan, stream, followed) for stream in streams},
            horizon_age=held_for,
            reasons={stream.name: self._reason(cx, plan, stream, followed) for stream in streams},
            pinned_by=holder,
            timeline=snapshot.timeline,
            remembered=found.versions,
            secured=secured_now,
            written=snapshot.written,
            streams=tuple(stream for stream in streams if stands[stream.name] and stream.name not in followed),
        )

    def _secured(self, cx: sa.Connection, streams: Sequence[Stream]) -> Secured:
        tables = {stream.name: watch.tables([stream]) for stream in streams}
        found = self.dialect.secured(cx, [*dict.fromkeys(name for names in tables.values() for name in names)])
        return {name: {table: table in found for table in mine} for name, mine in tables.items()}

    def processed(self, cycle: Cycle, *, but: Collection[str] = ()) -> None:
        """Remember which row versions need no second look: call it when everything of the cycle is committed.

        Not for the streams `but`, whose pages were not written.
        """
        if cycle.left_out:
            return
        if self._written and not but:
            self._quiet = quiet.Quiet(self._written, replace(cycle, keys={name: [] for name in cycle.keys}))
        self._done = replace(cycle, streams=tuple(one for one in cycle.streams if one.name not in but))

    def follow(
        self,
        streams: Sequence[Stream],
        transactions: Sequence[Transaction],
        *,
        oids: Mapping[str, int],
        cutoff: date,
        most: Mapping[str, int],
    ) -> route.Routed:
        """The root keys that transactions of the stream concern, and the content of the first `most` of each stream.

        All out of one snapshot, which sees these transactions. A stream that cannot be asked is in `failed`.
        """
        failed: dict[str, errors.RelayError] = {}
        odd: set[str] = set()
        believed = {stream.name for stream in streams if self._picked.believes(stream)}

        def ask(cx: sa.Connection) -> route.Routed:
            left = {stream.name: stream for stream in streams if stream.name not in failed}
            values = {name: self._binding.values(stream, cutoff) for name, stream in left.items()}
            routed = route.route(cx, self.dialect, [*left.values()], transactions, values=values, oids=oids)
            for name, keys in routed.keys.items():
                if name in odd:
                    continue
                with failure.blamed({name}):
                    routed.contents[name] = self._contents.read(cx, left[name], [*keys][: most[name]], cutoff)
            return routed

        while True:
            try:
                routed = self._snapshots.asked("following the stream", ask)
            except failure.Stopped as stopped:
                failed |= dict.fromkeys(stopped.streams - believed, stopped.error)
                believed -= stopped.streams  # it may be a column that is not there any more: that is known by now
            except failure.OddValue as found:
                odd.add(found.stream)
            else:
                break
        for stream in [one for one in streams if one.name in odd & routed.keys.keys()]:
            self._read_apart(routed, stream, failed, cutoff=cutoff, most=most[stream.name])
        return replace(routed, failed=failed)

    def _read_apart(
        self, routed: route.Routed, stream: Stream, failed: dict[str, errors.RelayError], *, cutoff: date, most: int
    ) -> None:
        """In newer snapshots, which see these transactions, too."""
        try:
            routed.contents[stream.name] = self.read(stream, [*routed.keys[stream.name]][:most], cutoff=cutoff)
        except errors.Unreachable:
            raise
        except errors.RelayError as error:
            failed[stream.name] = error
            del routed.keys[stream.name]

    def read(self, stream: Stream, keys: Sequence[str], *, cutoff: date) -> list[Content]:
        """The content of each key as it is now, all out of one snapshot, in the order of the keys.

        Where a value cannot be read, the page is read in smaller parts, each out of a snapshot of its own, so that it
        costs its row only.
        """
        doing = f"reading {stream.name}"

        def ask(what: Stream, some: Sequence[str], columns: Columns) -> list[Content]:
            return self._snapshots.asked(doing, lambda cx: self._contents.read(cx, what, some, cutoff, columns))

        def columns_of(relation: str) -> Sequence[str]:
            picked = self._snapshots.asked(doing, lambda cx: self._picked.of(cx, stream))
            return picked[relation] if relation in picked else [*self.columns(stream.sources[relation])]

        believed = self._picked.believes(stream)
        try:
            return ask(stream, keys, {})
        except failure.OddValue as odd:
            contents = odd_row.apart(stream, keys, ask, columns_of)
            if odd_row.is_no_row(contents):
                raise self._snapshots.said_of(odd.cause, doing) from odd.cause
            return contents
        except errors.Unreachable:
            raise
        except errors.RelayError:
            if not believed:
                raise
        return self.read(stream, keys, cutoff=cutoff)  # which column is not there any more is known by now

    def shape(self, stream: Stream) -> Mapping[str, Mapping[str, str]]:
        """Names and kinds of the columns that `read` last met, by relation: what the mapping has to fit."""
        return self._contents.shape(stream)

    def scan(self, stream: Stream, *, after: str | None, limit: int) -> list[str]:
        """Keys in scope behind a key, in the order of the table's key; fewer than `limit` at the end.

        What has no key that can be read is not among them: see `gaps`.
        """
        values, doing = self._binding.values(stream), f"scanning {stream.name}"

        def ask(*, halved: bool) -> roots.Keys:
            return self._snapshots.asked(
                doing,
                lambda cx: roots.behind(cx, self.dialect, stream, values, after=after, limit=limit, halved=halved),
            )

        try:
            keys = ask(halved=False)
        except failure.OddValue:
            try:
                keys = ask(halved=True)
            except failure.OddValue as odd:
                raise self._snapshots.said_of(odd.cause, doing) from odd.cause
        before = self._gaps.get(stream.name, ()) if after is not None else ()
        self._gaps[stream.name] = gap.together((*before, *keys.gaps))
        return [*keys.found]

    def gaps(self, stream: Stream) -> Sequence[Gap]:
        """The rows in scope, up to where they were last scanned, that have no key that can be read."""
        return self._gaps.get(stream.name, ())

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
