"""What the live database says about the tables and SELECTs that a stream names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import statement, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import GIVEN
from kiva_relay.source.watch import Stamp, TableFacts, Watched


def rows_of(dialect: Dialect, *, table: str | None, sql: str | None, known: Iterable[str] | None = None) -> str:
    """A table or SELECT as it stands behind FROM, without its alias.

    Args:
        dialect: for quoting.
        table: this, or
        sql: this one.
        known: the stream's parameters; None leaves them unchecked.
    """
    if table is not None:
        return statement.plain(dialect.quoted(table))
    return f"({statement.fragment(sql or '', known=None if known is None else {*known, *GIVEN})})"


def columns(
    cx: sa.Connection, dialect: Dialect, *, table: str | None = None, sql: str | None = None
) -> dict[str, object]:
    """Names and the driver's type codes, out of the cursor; parameters are bound as NULL.

    Raises:
        RelayError: there is no such table.
    """
    if table is not None and not dialect.exists(cx, table):
        meant = errors.nearest(table, dialect.tables(cx))
        raise errors.RelayError(
            f"The MIS has no table {table}" + (f"; did you mean {meant[0]}?" if meant else "."),
            hint="The role of mis.url may lack USAGE on its schema; else correct the mapping.",
        )
    text = f"SELECT * FROM {rows_of(dialect, table=table, sql=sql)} r WHERE 1 = 0"  # noqa: S608 - quoted, or the administrator's own
    nulls = dict.fromkeys(statement.names(sql or ""), None)
    described = dialect.described(cx.execute(statement.bind(text, nulls)).cursor)
    once([name for name, _ in described], of="this SELECT" if table is None else table)
    return dict(described)


class TwoOfOneName(errors.RelayError):
    """Two columns of a SELECT have one name, so that it cannot be told which one is meant."""


def once(names: Sequence[str], *, of: str) -> None:
    """Raise TwoOfOneName for a SELECT of which two columns have one name: the borrower's would be the loan officer's.

    SQLite calls the second one of a SELECT inside another `name:1`.
    """
    seen: set[str] = set()
    for name in names:
        plain = name.rpartition(":")[0] if name.rpartition(":")[2].isdecimal() else name
        for each in {name, plain} & seen:
            raise TwoOfOneName(
                f"Two columns of {of} are called {each}; it cannot be told which one is meant.",
                hint=one_by_one(each),
            )
        seen.add(name)


def facts(cx: sa.Connection, dialect: Dialect, one: Watched, *, asked: str, blind: str) -> TableFacts:
    """How a watched table is asked.

    Raises:
        RelayError: a table, or a column that it is watched or routed by, is not there.
    """
    present = columns(cx, dialect, table=one.table, sql=one.sql)
    for column in (*one.columns, *(stamp for stamps in one.stamps for stamp in stamps)):
        if column not in present:
            raise no_column(
                one.origin, column, present, asks=", ".join(sorted({way.stream.name for way in one.routes}))
            )
    for column in one.columns:
        if dialect.exact(present[column], column) is not None:
            raise errors.RelayError(
                f"{one.origin}.{column} is a FLOAT, which no comparison finds again; it leads to no key.",
                hint="Give the mapping another key, or a view in which it is a DECIMAL or a text.",
            )
    kinds: dict[str, Stamp] = {}
    for stamp in dict.fromkeys(stamp for stamps in one.stamps for stamp in stamps):
        kind = dialect.stamp(present[stamp])
        if kind is None:
            raise errors.RelayError(
                f"{one.origin}.{stamp} is of type {dialect.kind(present[stamp])}; "
                "changed_at needs a timestamp or a date."
            )
        kinds[stamp] = kind
    whole = None if one.table is None else dialect.whole(cx, one.table)
    begun = set() if one.table is None else dialect.indexed(cx, one.table)
    # A stamp without a zone would need a clock that nobody vouches for: only an explicit `watch: horizon` uses it.
    moments = one.table is not None and set(kinds.values()) == {"moment"}
    mode, reason = watch.choose(one, asked=asked, whole=whole, indexed=moments and kinds.keys() <= begun, blind=blind)
    of_use = one.table is not None and (moments if mode == "xmin" else mode in ("horizon", "overlap"))
    unindexed = tuple(stamp for stamp in kinds if stamp not in begun) if of_use else ()
    return TableFacts(mode=mode, kinds=kinds, reason=reason, present=present, whole=whole, unindexed=unindexed)


def one_by_one(column: str) -> str:
    """What to write where two columns have one name."""
    return f"write the columns one by one in place of *, and one of the two as   a.{column} AS other_{column}"


def no_column(origin: str, column: str, present: Mapping[str, object], *, asks: str) -> errors.RelayError:
    """The sentence for a column that is not there."""
    meant = errors.nearest(column, present)
    return errors.RelayError(
        f"{asks}: {origin} has no column {column}" + (f"; did you mean {meant[0]}?" if meant else "."),
        hint="kiva-relay mapping check",
    )
