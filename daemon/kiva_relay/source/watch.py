"""Which tables have to be watched for a set of streams, and how a changed row of each leads to root keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Literal

from kiva_relay.frozen import dataclass
from kiva_relay.source import stream as streams_
from kiva_relay.source.position import CaptureMode
from kiva_relay.source.stream import Relation, Stream

Stamp = Literal["moment", "naive", "day"]
"""What a changed_at column holds: a moment, a time that needs a zone, a date."""


@dataclass(frozen=True)
class Route:
    """From a changed row to the roots of one stream; `relation` is None when the row is the root itself."""

    stream: Stream
    relation: Relation | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the changed row that lead to the root."""
        return self.stream.key if self.relation is None else tuple(self.relation.match)


@dataclass(frozen=True)
class Watched:
    """A table, or a SELECT, that is asked once a cycle for all streams that need it.

    `source` identifies it; `origin` is what to call it; `stamps` are the lists of `changed_at` columns
    under which the streams know it: mostly one, or none.
    """

    source: tuple[str, str]
    origin: str
    table: str | None
    sql: str | None
    routes: tuple[Route, ...]
    stamps: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that some route needs, each once."""
        return tuple(dict.fromkeys(column for route in self.routes for column in route.columns))

    def counts(self, column: str) -> bool:
        """Whether a row is another version of itself where nothing but this column of it changed."""
        return any(route.relation in route.stream.touched_by or route.stream.mentions(column) for route in self.routes)


@dataclass(frozen=True)
class TableFacts:
    """How a watched table is asked, of what kind its stamps are, and what kept it from being asked better."""

    mode: CaptureMode
    kinds: Mapping[str, Stamp]
    reason: str = ""
    present: Mapping[str, object] = field(default_factory=dict)
    """Its columns, and their type codes."""
    whole: CaptureMode | None = None
    """The capture mode that needs no stamp, where the database has one for this table."""
    unindexed: tuple[str, ...] = ()
    """Its stamps that no index finds, where one would help."""


def watched(streams: Sequence[Stream]) -> list[Watched]:
    """Every table and SELECT to ask, each once. Those of `sql:` relations only when they carry a stamp."""
    routes: dict[tuple[str, str], list[Route]] = {}
    stamps: dict[tuple[str, str], dict[tuple[str, ...], None]] = {}

    def add(key: tuple[str, str], route: Route, changed_at: tuple[str, ...]) -> None:
        routes.setdefault(key, []).append(route)
        known = stamps.setdefault(key, {})
        if changed_at:
            known[changed_at] = None

    for stream in streams:
        add(("table", stream.table), Route(stream, None), stream.changed_at)
        for relation in stream.watched():
            if relation.table is not None:
                add(("table", relation.table), Route(stream, relation), relation.changed_at)
            elif relation.sql is not None and relation.changed_at:
                # Each stream has parameters of its own, so the same text may mean different rows.
                add((f"sql of {stream.name}", relation.sql), Route(stream, relation), relation.changed_at)
    return [
        Watched(
            source=(kind, name),
            origin=name if kind == "table" else f"{kind}, {found[0].relation.origin}" if found[0].relation else kind,
            table=name if kind == "table" else None,
            sql=None if kind == "table" else name,
            routes=tuple(found),
            stamps=tuple(stamps[kind, name]),
        )
        for (kind, name), found in routes.items()
    ]


def tables(streams: Sequence[Stream]) -> list[str]:
    """The tables that are watched, each once."""
    return [*dict.fromkeys(one.table for one in watched(streams) if one.table is not None)]


def choose(
    one: Watched, *, asked: str, whole: CaptureMode | None, indexed: bool, blind: str
) -> tuple[CaptureMode, str]:
    """The best capture mode for a table (horizon with index and grant, else xmin, else overlap), and what it lacks.

    Args:
        one: the table.
        asked: `mis.watch`.
        whole: the capture mode that needs no stamp, where the database has one for this table.
        indexed: whether all its stamps are moments that an index finds.
        blind: why the horizon cannot be relied on, "" when it can.
    """
    if not one.stamps:
        lacks = f"{one.origin} has neither a transaction id nor a changed_at: its changes wait for the sweep"
        return (whole, "") if whole else ("sweep", lacks)
    if asked == "overlap":
        return "overlap", ""
    if whole and asked != "horizon" and not (indexed and asked != "xmin"):
        return whole, ""
    if blind:
        return whole or "overlap", blind
    return "horizon", ""


Followed = Mapping[str, frozenset[str]]
"""By stream, tables that need not be asked: their changes come by replication."""


def only(
    plan: Iterable[tuple[Watched, TableFacts]], streams: Collection[str], followed: Followed | None = None
) -> list[tuple[Watched, TableFacts]]:
    """The part of a plan that concerns these streams, without what is followed."""
    mine = []
    for one, facts in plan:
        routes = tuple(
            route
            for route in one.routes
            if route.stream.name in streams and one.table not in (followed or {}).get(route.stream.name, ())
        )
        if routes:
            mine.append((replace(one, routes=routes), facts))
    return mine


def mode(plan: Iterable[tuple[Watched, TableFacts]], stream: Stream, followed: Followed | None = None) -> CaptureMode:
    """What to call the way in which a stream is watched: the one that promises least, of its tables' ways."""
    if followed and stream.name in followed:
        return "replication"
    mine = only(plan, {stream.name})
    used = {facts.mode for _, facts in mine}
    if "horizon" in used and all(facts.mode == "horizon" for one, facts in mine if one.stamps):
        return "horizon"
    order: tuple[CaptureMode, ...] = ("overlap", "compare", "xmin", "horizon")
    return next((one for one in order if one in used), "sweep")


def reason(plan: Iterable[tuple[Watched, TableFacts]], stream: Stream, followed: Followed | None = None) -> str:
    """Why it is not watched better, "" when it is not worse than it was asked for."""
    asked = only(plan, {stream.name}, followed)
    reasons = [facts.reason for _, facts in asked if facts.mode == "sweep"]
    blind: dict[str, list[str]] = {}
    for one, facts in asked:
        if facts.reason and facts.mode != "sweep":
            blind.setdefault(facts.reason, []).append(one.origin)
    reasons += [f"no horizon for {', '.join(origins)}: {why}" for why, origins in blind.items()]
    if followed and stream.name in followed:
        reasons += [f"not in the stream, so watched by {facts.mode}: {one.origin}" for one, facts in asked]
    return "; ".join(dict.fromkeys(reasons))


def stamped(plan: Iterable[tuple[Watched, TableFacts]]) -> bool:
    """Whether a clock decides about any table."""
    return any(facts.mode in {"horizon", "overlap"} for _, facts in plan)


def steps(route: Route) -> list[Relation]:
    """What has to be joined to the root so that the route's relation can be matched."""
    return [] if route.relation is None else streams_.ancestors(route.stream, route.relation)
