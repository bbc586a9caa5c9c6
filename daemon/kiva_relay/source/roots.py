"""The roots of a stream: the keys of those in scope, in their order; how many, how high; and where a value leads to.

Every function takes an open snapshot, and the values of the stream's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.source import failure, gap, halves, schema, statement, value
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.gap import Gap
from kiva_relay.source.halves import Halves
from kiva_relay.source.stream import GIVEN, ROOT, Stream


@dataclass(frozen=True)
class Keys:
    """Keys of roots in their order, and where between them stand rows whose key cannot be told."""

    found: tuple[str, ...]
    gaps: tuple[Gap, ...]


def behind(
    cx: sa.Connection,
    dialect: Dialect,
    stream: Stream,
    values: Mapping[str, object],
    *,
    after: str | None,
    limit: int,
    halved: bool = False,
) -> Keys:
    """Keys in scope behind a key, in the order of the table's key; fewer than `limit` at the end.

    Args:
        cx: the snapshot.
        dialect: its database.
        stream: whose roots.
        values: of its parameters.
        after: the key before them; None for the first ones.
        limit: how many.
        halved: an answer that cannot be given whole is asked for in halves.

    Raises:
        UsageError: `after` is no key of this table.
        OddValue: a key cannot be read, and it was not `halved`; or none can.
    """
    bound, condition = _behind(cx, dialect, stream, after)
    columns = _columns(dialect, stream)
    listed, named = ", ".join(columns), " AND ".join(f"{column} IS NOT NULL" for column in columns)
    asked = f"SELECT {listed} FROM {_scope(dialect, stream)} AND {named} AND {condition} ORDER BY {listed}"  # noqa: S608 - names come quoted, values bound
    asked += " LIMIT :kr_limit OFFSET :kr_first"

    def ask(first: int, number: int) -> Sequence[Sequence[object]]:
        given = {**values, **bound, "kr_limit": number, "kr_first": first}
        return cx.execute(statement.bind(asked, given)).all()

    read = Halves(cx, dialect, ask).rows if halved else ask
    with failure.of_a_value(dialect, stream.name, ROOT):
        gaps = [] if after is not None else _without_key(cx, dialect, stream, values, named)
        found, between = _named(read, after=after, limit=limit)
    if not found and sum(one.number for one in between) >= halves.ALL_OF and after is None:
        raise errors.RelayError(f"{stream.name}: no key of {stream.table} can be read as text.")
    return Keys(tuple(found), (*gaps, *between))


def _named(
    read: Callable[[int, int], Sequence[Sequence[object] | None]], *, after: str | None, limit: int
) -> tuple[list[str], list[Gap]]:
    """So many keys, with the gaps between them."""
    found: list[str] = []
    gaps: list[Gap] = []
    first, odd = 0, 0
    while (wanted := limit - len(found)) > 0:
        rows = read(first, wanted)
        for row in rows:
            if row is None or not gap.is_readable(row):
                odd += 1
                continue
            key = value.key(tuple(row))
            if odd:
                gaps.append(Gap(odd, after=found[-1] if found else after, before=key))
                odd = 0
            if key not in found[-1:]:  # of a view; whether the rows are the same is seen when they are read
                found.append(key)
        first += len(rows)
        if len(rows) < wanted:
            break
    if odd:
        gaps.append(Gap(odd, after=found[-1] if found else after))
    return found, gaps


def _behind(cx: sa.Connection, dialect: Dialect, stream: Stream, after: str | None) -> tuple[Mapping[str, object], str]:
    """SQL that is true behind a key, and what is bound in it."""
    if after is None:
        return {}, "1 = 1"
    parts = value.parts(after, len(stream.key))
    if parts is None:
        raise errors.UsageError(
            f"{after!r} is no key of {stream.name}; it has {errors.counted(len(stream.key), 'column')}."
        )
    names = [f"kr_after{number}" for number in range(len(stream.key))]
    bound = dict(zip(names, _stored(cx, dialect, stream, parts), strict=True))
    return bound, dialect.after(_columns(dialect, stream), names)


def _without_key(
    cx: sa.Connection, dialect: Dialect, stream: Stream, values: Mapping[str, object], named: str
) -> list[Gap]:
    """Rows of a view, or of a table without a primary key, whose key is NULL."""
    asked = f"SELECT count(*) FROM {_scope(dialect, stream)} AND NOT ({named})"  # noqa: S608 - as above
    number = int(cx.scalar(statement.bind(asked, values)) or 0)
    return [Gap(number, is_null=True)] if number else []


def _columns(dialect: Dialect, stream: Stream) -> list[str]:
    return [statement.plain(dialect.quoted(column)) for column in stream.key]


def _stored(cx: sa.Connection, dialect: Dialect, stream: Stream, parts: tuple[str, ...]) -> tuple[object, ...]:
    """The values that a key's text stands for: those that are there."""
    forms = dialect.forms(parts)
    if len(forms) == 1:
        return forms[0]
    columns, there = _columns(dialect, stream), []
    for form in (forms, *([one] for one in forms)):
        condition, members = statement.within(columns, form)
        sql = f"SELECT count(*) FROM {statement.plain(dialect.quoted(stream.table))} WHERE {condition}"  # noqa: S608 - as above
        there.append(int(cx.scalar(statement.bind(sql, {}, {"kr_values": members})) or 0))
    if there[0] > 1:
        raise errors.RelayError(
            f"{stream.name}: the key {', '.join(stream.key)} of {stream.table} has no type that would give an order.",
            hint=f"Make it INTEGER or TEXT in {stream.table}.",
        )
    return next((form for form, number in zip(forms, there[1:], strict=True) if number), forms[0])


def holding(cx: sa.Connection, dialect: Dialect, stream: Stream, column: str, values: Sequence[str]) -> list[str]:
    """Keys, in scope or not, of the roots whose column holds one of these values, compared as text.

    Raises:
        RelayError: the table has no such column.
    """
    present = schema.columns(cx, dialect, table=stream.table)
    if column not in present:
        raise schema.no_column(stream.table, column, present, asks=stream.name)
    kind = dialect.kind(present[column])
    compared = statement.plain(dialect.quoted(column))
    if kind == "integer":  # what is no number is not there, and must not spoil the query
        values = [one for one in values if one.isascii() and one.isdigit() and str(int(one)) == one]
    elif kind != "text":
        compared = dialect.as_text(compared)
    keys = ", ".join(_columns(dialect, stream))
    found: dict[str, None] = {}
    for chunk in statement.chunks((one,) for one in dict.fromkeys(values)):
        condition, members = statement.within([compared], chunk)
        sql = f"SELECT {keys} FROM {statement.plain(dialect.quoted(stream.table))} WHERE {condition} ORDER BY {keys}"  # noqa: S608 - as above
        rows = cx.execute(statement.bind(sql, {}, {"kr_values": members}))
        found |= dict.fromkeys(value.key(tuple(row)) for row in rows if gap.is_readable(row))
    return list(found)


def count(cx: sa.Connection, dialect: Dialect, stream: Stream, values: Mapping[str, object]) -> int:
    """How many are in scope."""
    sql = f"SELECT count(*) FROM {_scope(dialect, stream)}"  # noqa: S608 - as above
    return int(cx.scalar(statement.bind(sql, values)) or 0)


def highest(cx: sa.Connection, dialect: Dialect, stream: Stream) -> int | None:
    """The highest, in scope or not; 0 without rows, None where keys are no numbers."""
    if len(stream.key) > 1:
        return None
    column = stream.key[0]
    if dialect.kind(schema.columns(cx, dialect, table=stream.table)[column]) != "integer":
        return None
    sql = f"SELECT max({statement.plain(dialect.quoted(column))}) FROM {statement.plain(dialect.quoted(stream.table))}"  # noqa: S608 - as above
    return int(cx.scalar(statement.bind(sql, {})) or 0)


def _scope(dialect: Dialect, stream: Stream) -> str:
    where = statement.fragment(stream.where, known={*stream.parameters, *GIVEN}) if stream.where else "1 = 1"
    return f"{statement.plain(dialect.quoted(stream.table))} WHERE ({where})"
