"""The roots of a stream: the keys of those in scope, in their order; how many, how high; and where a value leads to.

Every function takes an open snapshot, and the values of the stream's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import schema, statement, value
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import CUTOFF, Stream

_NO_TEXT = "\N{REPLACEMENT CHARACTER}"


def behind(
    cx: sa.Connection,
    dialect: Dialect,
    stream: Stream,
    values: Mapping[str, object],
    *,
    after: str | None,
    limit: int,
) -> list[str]:
    """Keys in scope behind a key, in the order of the table's key; fewer than `limit` at the end.

    Raises:
        UsageError: `after` is no key of this table.
    """
    columns = [dialect.quoted(column) for column in stream.key]
    bound: dict[str, object] = {**values, "kr_limit": limit}
    condition = "1 = 1"
    if after is not None:
        parts = value.parts(after, len(columns))
        if parts is None:
            raise errors.UsageError(
                f"{after!r} is no key of {stream.name}; it has {errors.counted(len(columns), 'column')}."
            )
        names = [f"kr_after{number}" for number in range(len(columns))]
        bound |= dict(zip(names, _stored(cx, dialect, stream, parts), strict=True))
        condition = dialect.after(columns, names)
    listed = ", ".join(columns)
    sql = f"SELECT {listed} FROM {_scope(dialect, stream)} AND {condition} ORDER BY {listed} LIMIT :kr_limit"  # noqa: S608 - names come quoted, values bound
    keys = [value.key(tuple(row)) for row in cx.execute(statement.bind(sql, bound))]
    if any(_NO_TEXT in key for key in keys):
        raise errors.RelayError(
            f"{stream.name}: a key of {stream.table} is no UTF-8 text, so that its row is not found."
        )
    return keys


def _stored(cx: sa.Connection, dialect: Dialect, stream: Stream, parts: tuple[str, ...]) -> tuple[object, ...]:
    """The values that a key's text stands for: those that are there."""
    forms = dialect.forms(parts)
    if len(forms) == 1:
        return forms[0]
    columns, there = [dialect.quoted(column) for column in stream.key], []
    for form in (forms, *([one] for one in forms)):
        condition, members = statement.within(columns, form)
        sql = f"SELECT count(*) FROM {dialect.quoted(stream.table)} WHERE {condition}"  # noqa: S608 - as above
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
    compared = dialect.quoted(column)
    if kind == "integer":  # what is no number is not there, and must not spoil the query
        values = [one for one in values if one.isascii() and one.isdigit() and str(int(one)) == one]
    elif kind != "text":
        compared = dialect.as_text(compared)
    keys = ", ".join(dialect.quoted(name) for name in stream.key)
    found: dict[str, None] = {}
    for chunk in statement.chunks((one,) for one in dict.fromkeys(values)):
        condition, members = statement.within([compared], chunk)
        sql = f"SELECT {keys} FROM {dialect.quoted(stream.table)} WHERE {condition} ORDER BY {keys}"  # noqa: S608 - as above
        rows = cx.execute(statement.bind(sql, {}, {"kr_values": members}))
        found |= dict.fromkeys(value.key(tuple(row)) for row in rows)
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
    sql = f"SELECT max({dialect.quoted(column)}) FROM {dialect.quoted(stream.table)}"  # noqa: S608 - as above
    return int(cx.scalar(statement.bind(sql, {})) or 0)


def _scope(dialect: Dialect, stream: Stream) -> str:
    where = statement.fragment(stream.where, known={*stream.parameters, CUTOFF}) if stream.where else "1 = 1"
    return f"{dialect.quoted(stream.table)} WHERE ({where})"
