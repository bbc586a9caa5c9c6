"""One look at every watched table: which rows changed, and to which roots they lead."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from datetime import tzinfo

import sqlalchemy as sa

from kiva_relay.frozen import dataclass
from kiva_relay.source import failure, gap, schema, statement, value, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.halves import Halves
from kiva_relay.source.position import Position
from kiva_relay.source.stream import ROOT, Relation, Stream, path
from kiva_relay.source.watch import Route, TableFacts, Watched

_AT_ONCE = 2_000
"""Rows held in memory while a change query is read."""

_WHOLE_AT_ONCE = 20
"""The same, where rows are told apart by all that they hold: there may be photos among it."""


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
    halved: Collection[tuple[str, str]] = ()
    """The sources whose answer cannot be given whole."""


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
            name, halved = route.stream.name, one.source in look.halved
            with failure.blamed({name}), _odd(look, one):
                keys = roots(look.cx, look.dialect, route, look.values[name], rows, halved=halved)
                found.keys.setdefault(name, {}).update(dict.fromkeys(keys))


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
            value.single(values)
            if gap.is_readable(values):
                met[values] = None
    return routes


def _odd(look: ChangeQuery, one: Watched) -> AbstractContextManager[None]:
    """What fails in here is a value; the source is asked in halves then, if it was not yet."""
    if one.source in look.halved:
        return contextlib.nullcontext()
    return failure.of_a_value(look.dialect, *one.source)


def _rows(look: ChangeQuery, one: Watched, facts: TableFacts) -> Iterable[tuple[str, bool, Sequence[object]]]:
    dialect = look.dialect
    streams = {route.stream.name: route.stream for route in one.routes}
    zones = list(dict.fromkeys(look.zones[name] for name in streams))
    since, since_values = dialect.since(one, facts, at=look.since, now=look.until, zones=zones, prefix="kr_since")
    stays, stays_values = dialect.since(one, facts, at=look.until, now=look.until, zones=zones, prefix="kr_until")
    version = dialect.version(one, facts)
    wanted = [f"r.{statement.plain(dialect.quoted(column))}" for column in one.columns]
    told = () if version else _told(dialect, one, facts)
    picked = [version or "''", f"CASE WHEN {stays} THEN 1 ELSE 0 END", *wanted, *told]
    # A SELECT belongs to one stream (watch.watched), whose parameters it uses.
    parameters = look.values[next(iter(streams))] if one.sql else {}
    origin = schema.rows_of(dialect, table=one.table, sql=one.sql, known=parameters)
    asked = f"SELECT {', '.join(picked)} FROM {origin} r WHERE {since}"  # noqa: S608 - names come quoted, values bound
    values = {**parameters, **since_values, **stays_values}
    end = 2 + len(wanted)
    with _odd(look, one):
        order, held = [*range(3, end + 1), 1], _AT_ONCE if version else _WHOLE_AT_ONCE
        for row in _answered(look, one, asked, values, order=order, held=held):
            yield (str(row[0]) if version else _digest(row[end:])), bool(row[1]), row[2:end]


def _answered(
    look: ChangeQuery, one: Watched, asked: str, values: Mapping[str, object], *, order: Iterable[int], held: int
) -> Iterable[Sequence[object]]:
    """The rows of a query, so many held at once; where one cannot be read, those that can, in the order of columns."""
    if one.source in look.halved:
        yield from _in_halves(look.cx, look.dialect, f"{asked} ORDER BY {', '.join(map(str, order))}", values)
        return
    # A cursor at the server: a night's work of the MIS may be some hundred thousand rows.
    query = statement.bind(asked, values).execution_options(stream_results=True)
    yield from look.cx.execute(query).yield_per(held)


def _in_halves(
    cx: sa.Connection,
    dialect: Dialect,
    asked: str,
    values: Mapping[str, object],
    lists: Mapping[str, Sequence[object]] | None = None,
) -> Iterable[Sequence[object]]:
    def ask(first: int, number: int) -> Sequence[Sequence[object]]:
        given = {**values, "kr_limit": number, "kr_first": first}
        return cx.execute(statement.bind(f"{asked} LIMIT :kr_limit OFFSET :kr_first", given, lists)).all()

    halves, first = Halves(cx, dialect, ask), 0
    while rows := halves.rows(first, _AT_ONCE):
        yield from (row for row in rows if row is not None)
        first += len(rows)


def _told(dialect: Dialect, one: Watched, facts: TableFacts) -> Iterable[str]:
    """What tells the versions of a row apart: its columns, but for photos that nobody reads."""
    for name, code in facts.present.items():
        column = f"r.{statement.plain(dialect.quoted(name))}"
        if told := column if one.counts(name) else dialect.brief(code, column):
            yield told


def _digest(row: Sequence[object]) -> str:
    return hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).hexdigest()


def roots(
    cx: sa.Connection,
    dialect: Dialect,
    route: Route,
    values: Mapping[str, object],
    rows: Iterable[tuple[object, ...]],
    *,
    halved: bool = False,
) -> Iterable[str]:
    """Root keys for the values of changed rows: themselves, or joined back from the relation to the root."""
    rows = [row for row in rows if gap.is_readable(row)]
    if route.relation is None:
        yield from (value.key(row) for row in rows)
        return
    targets = [_column(dialect, text) for text in route.relation.match.values()]
    origin = joined(dialect, route.stream, watch.steps(route))
    keys = ", ".join(_column(dialect, column) for column in route.stream.key)
    bound = (tuple(dialect.bound(member) for member in row) for row in rows)
    for chunk in statement.chunks(bound, width=len(targets)):
        condition, members = statement.within(targets, chunk)
        asked = f"SELECT DISTINCT {keys} FROM {origin} WHERE {condition}"  # noqa: S608 - names come quoted, values bound
        lists = {"kr_values": members}
        found: Iterable[Sequence[object]] = (
            _in_halves(cx, dialect, f"{asked} ORDER BY {keys}", values, lists)
            if halved
            else cx.execute(statement.bind(asked, values, lists))
        )
        yield from (value.key(tuple(row)) for row in found if gap.is_readable(row))


def joined(dialect: Dialect, stream: Stream, relations: Iterable[Relation]) -> str:
    """The root and the relations that lead on from it, behind FROM."""
    pieces = [f"{statement.plain(dialect.quoted(stream.table))} {_alias(dialect, ROOT)}"]
    for relation in relations:
        alias = _alias(dialect, relation.name)
        on = " AND ".join(
            f"{alias}.{statement.plain(dialect.quoted(column))} = {_column(dialect, text)}"
            for column, text in relation.match.items()
        )
        origin = schema.rows_of(dialect, table=relation.table, sql=relation.sql, known=stream.parameters)
        pieces.append(f"JOIN {origin} {alias} ON {on}")
    return " ".join(pieces)


def _alias(dialect: Dialect, name: str) -> str:
    # A prefix, so that no relation's name is a word of SQL or of the administrator's own SELECT.
    return statement.plain(dialect.quoted(f"kr_{name}"))


def _column(dialect: Dialect, text: str) -> str:
    found = path(text)
    return f"{_alias(dialect, found.parent)}.{statement.plain(dialect.quoted(found.column))}"
