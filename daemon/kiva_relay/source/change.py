"""One look at every watched table: which rows changed, and to which roots they lead."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

import sqlalchemy as sa

from kiva_relay.source import failure, schema, statement, value, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.position import Position
from kiva_relay.source.stream import ROOT, Relation, Stream, path
from kiva_relay.source.watch import Route, TableFacts, Watched

_AT_ONCE = 2_000
"""Rows held in memory while a change query is read."""


@dataclass
class Found:
    """Root keys by stream, in the order in which they were met, and row versions above the next watermark."""

    keys: dict[str, dict[str, None]] = field(default_factory=dict)
    versions: dict[tuple[str, str], set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ChangeQuery:
    """Everything that a look at the tables needs besides the tables.

    `since` is where the streams stand, `until` where they will stand; `values` are the parameters to bind, by
    stream; `zones` how each stream reads times without a zone; `seen` the row versions not to follow again.
    """

    cx: sa.Connection
    dialect: Dialect
    since: Position
    until: Position
    values: Mapping[str, Mapping[str, object]]
    zones: Mapping[str, tzinfo]
    seen: Mapping[tuple[str, str], Collection[str]]


def find(look: ChangeQuery, plan: Iterable[tuple[Watched, TableFacts]], found: Found) -> None:
    """Add to `found` what changed between the positions.

    Raises:
        Blamed: a table cannot be asked; names the streams that need it.
    """
    for one, facts in plan:
        if facts.mode == "sweep":
            continue
        with failure.blamed({route.stream.name for route in one.routes}):
            changed = _changed(look, one, facts, found.versions.setdefault(one.source, set()))
        for route, rows in zip(one.routes, changed, strict=True):
            with failure.blamed({route.stream.name}):
                found.keys.setdefault(route.stream.name, {}).update(
                    dict.fromkeys(roots(look.cx, look.dialect, route, look.values[route.stream.name], rows))
                )


def _changed(
    look: ChangeQuery, one: Watched, facts: TableFacts, versions: set[str]
) -> list[dict[tuple[object, ...], None]]:
    """The routes' values out of each changed row, each once; the versions that stay above the next position."""
    routes: list[dict[tuple[object, ...], None]] = [{} for _ in one.routes]
    columns = one.columns
    places = [[columns.index(column) for column in route.columns] for route in one.routes]
    seen = look.seen.get(one.source, ())
    alike: Counter[str] = Counter()
    for text, stays, row in _rows(look, one, facts):
        alike[text] += 1  # rows of a table without a key may be the same in everything
        version = text if alike[text] == 1 else f"{text} {alike[text]}"
        if stays:
            versions.add(version)
        if version in seen:
            continue
        for met, place in zip(routes, places, strict=True):
            values = tuple(row[column] for column in place)
            if None not in values:
                met[values] = None
    return routes


def _rows(look: ChangeQuery, one: Watched, facts: TableFacts) -> Iterable[tuple[str, bool, Sequence[object]]]:
    dialect = look.dialect
    streams = {route.stream.name: route.stream for route in one.routes}
    zones = list(dict.fromkeys(look.zones[name] for name in streams))
    since, since_values = dialect.since(one, facts, at=look.since, now=look.until, zones=zones, prefix="kr_since")
    stays, stays_values = dialect.since(one, facts, at=look.until, now=look.until, zones=zones, prefix="kr_until")
    version = dialect.version(one, facts)
    wanted = [f"r.{dialect.quoted(column)}" for column in one.columns]
    picked = [version or "''", f"CASE WHEN {stays} THEN 1 ELSE 0 END", *wanted, *(() if version else ("r.*",))]
    # A SELECT belongs to one stream (watch.watched), whose parameters it uses.
    parameters = look.values[next(iter(streams))] if one.sql else {}
    origin = schema.rows_of(dialect, table=one.table, sql=one.sql, known=parameters)
    asked = statement.bind(
        f"SELECT {', '.join(picked)} FROM {origin} r WHERE {since}",  # noqa: S608 - names come quoted, values bound
        {**parameters, **since_values, **stays_values},
    )
    end = 2 + len(wanted)
    # A cursor at the server: a night's work of the MIS may be some hundred thousand rows.
    for row in look.cx.execution_options(stream_results=True).execute(asked).yield_per(_AT_ONCE):
        yield (row[0] if version else _digest(row[end:])), bool(row[1]), row[2:end]


def _digest(row: Sequence[object]) -> str:
    return hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).hexdigest()


def roots(
    cx: sa.Connection,
    dialect: Dialect,
    route: Route,
    values: Mapping[str, object],
    rows: Iterable[tuple[object, ...]],
) -> Iterable[str]:
    """Root keys for the values of changed rows: themselves, or joined back from the relation to the root."""
    if route.relation is None:
        yield from (value.key(row) for row in rows)
        return
    targets = [_column(dialect, text) for text in route.relation.match.values()]
    origin = joined(dialect, route.stream, watch.steps(route))
    keys = ", ".join(_column(dialect, column) for column in route.stream.key)
    bound = (tuple(dialect.bound(member) for member in row) for row in rows)
    for chunk in statement.chunks(bound, width=len(targets)):
        condition, members = statement.within(targets, chunk)
        asked = statement.bind(
            f"SELECT DISTINCT {keys} FROM {origin} WHERE {condition}",  # noqa: S608 - names come quoted, values bound
            values,
            {"kr_values": members},
        )
        yield from (value.key(tuple(row)) for row in cx.execute(asked))


def joined(dialect: Dialect, stream: Stream, relations: Iterable[Relation]) -> str:
    """The root and the relations that lead on from it, behind FROM."""
    pieces = [f"{dialect.quoted(stream.table)} {_alias(dialect, ROOT)}"]
    for relation in relations:
        alias = _alias(dialect, relation.name)
        on = " AND ".join(
            f"{alias}.{dialect.quoted(column)} = {_column(dialect, text)}" for column, text in relation.match.items()
        )
        origin = schema.rows_of(dialect, table=relation.table, sql=relation.sql, known=stream.parameters)
        pieces.append(f"JOIN {origin} {alias} ON {on}")
    return " ".join(pieces)


def _alias(dialect: Dialect, name: str) -> str:
    # A prefix, so that no relation's name is a word of SQL or of the administrator's own SELECT.
    return dialect.quoted(f"kr_{name}")


def _column(dialect: Dialect, text: str) -> str:
    found = path(text)
    return f"{_alias(dialect, found.parent)}.{dialect.quoted(found.column)}"
