"""Keys turned into content: a page of roots with everything that belongs to them, out of one snapshot."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import tzinfo

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.source import failure, schema, statement, value
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import LONGEST_PATH, ROOT, Relation, Stream, path

Row = dict[str, object]

_IN_SCOPE = "kr_in_scope"
_RANK = "kr_rank"


@dataclass(frozen=True)
class Content:
    """All that the MIS says about one root key at one moment.

    Attributes:
        key: as it was asked for.
        in_scope: whether the mapping's `where` holds; false when the root is gone.
        root: its row, None when it is gone.
        related: by relation: None (no row), a row, or a list: for `many`, and where a relation that should have
            one row has several.
    """

    key: str
    in_scope: bool
    root: Row | None
    related: dict[str, Row | list[Row] | None] = field(default_factory=dict)
    unread: str = ""
    """The root, or the relation, of which a value cannot be read and nobody knows in which column; mostly ""."""

    def rows_of(self, of: str) -> Sequence[Row]:
        """The rows of the root, or of a relation; none where there is none."""
        rows = self.root if of == ROOT else self.related.get(of)
        return rows if isinstance(rows, list) else [rows] if rows else []


def longest(
    contents: Iterable[Content], columns: Collection[tuple[str, str]], *, besides: int | None = None
) -> int | None:
    """Characters of the longest text in these columns, given by relation (or ROOT) and name; None: all are empty.

    Bytes are no path, however few they are: they count as longer than any. `besides` is what was said of earlier rows.
    """
    found = [row.get(column) for one in contents for of, column in columns for row in one.rows_of(of)]
    lengths = [len(one) if isinstance(one, str) else LONGEST_PATH + 1 for one in found if one is not None]
    return max(lengths if besides is None else [*lengths, besides], default=None)


@dataclass(frozen=True)
class RowPage:
    """What a page is read with: an open snapshot, the values to bind, how times without a zone are meant."""

    cx: sa.Connection
    dialect: Dialect
    stream: Stream
    values: Mapping[str, object]
    zone: tzinfo
    shape: dict[str, dict[str, str]] = field(default_factory=dict)
    """What was found of the columns, by relation: names and kinds."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By relation, the columns to read; all of them where it says nothing."""

    def rows(
        self, alias: str, rest: str, lists: Mapping[str, Sequence[object]], *, of: str, key: Sequence[str] = ()
    ) -> Iterator[tuple[tuple[object, ...], Row]]:
        """The same as `_rows`.

        Raises:
            OddValue: one of them cannot be read.
        """
        with failure.of_a_value(self.dialect, self.stream.name, of):
            yield from self._rows(alias, rest, lists, of=of, key=key)

    def _listed(self, alias: str, of: str) -> str:
        if of not in self.columns:
            return f"{alias}.*"
        return ", ".join(f"{alias}.{statement.plain(self.dialect.quoted(name))}" for name in self.columns[of])

    def _rows(
        self, alias: str, rest: str, lists: Mapping[str, Sequence[object]], *, of: str, key: Sequence[str] = ()
    ) -> Iterable[tuple[tuple[object, ...], Row]]:
        """Rows of `SELECT alias.*, rest`, their values normal; before each, its key as the driver gives it.

        Args:
            alias: of the rows.
            rest: one more column, and everything behind it.
            lists: members of the lists in `rest`.
            of: what these rows are called in `shape`.
            key: the columns of the key.
        """
        picked = self._listed(alias, of)
        result = self.cx.execute(statement.bind(f"SELECT {picked}, {rest}", self.values, lists))
        described = self.dialect.described(result.cursor)
        schema.once([name for name, _ in described[:-1]], of=of or self.stream.table)
        self.shape[of] = {name: self.dialect.kind(code) for name, code in described[:-1]}
        turns = [self.dialect.turned(code) for _, code in described]
        exact = [
            (name, sql)
            for name, code in described
            if (sql := self.dialect.exact(code, f"{alias}.{statement.plain(self.dialect.quoted(name))}"))
        ]
        if exact:
            result.close()
            wide = [f"{sql} AS {statement.plain(self.dialect.quoted(name))}" for name, sql in exact]
            listed = ", ".join([picked, *wide, rest])
            result = self.cx.execute(statement.bind(f"SELECT {listed}", self.values, lists))
            turns[-1:-1] = [self.dialect.as_exact] * len(exact)
        names = list(result.keys())
        places = [names.index(column) for column in key]
        for row in result:
            yield (
                tuple(row[place] for place in places),
                {
                    name: value.normal(turn(one) if turn else one, self.zone)
                    for name, turn, one in zip(names, turns, row, strict=True)
                },
            )


def read(page: RowPage, keys: Sequence[str]) -> list[Content]:
    """One content for each key, in their order, also for those that are gone."""
    roots = _roots(page, keys)
    # By key and parent, the rows that the next relation may be matched through.
    met: dict[str, dict[str, list[Row]]] = {key: {ROOT: [row]} for key, (row, _) in roots.items()}
    related: dict[str, dict[str, Row | list[Row] | None]] = {key: {} for key in roots}
    for relation in page.stream.relations:
        rows = _related(page, relation, met)
        for key, parents in met.items():
            mine = rows.get(key, [])
            parents[relation.name] = mine
            related[key][relation.name] = mine if relation.many or len(mine) > 1 else next(iter(mine), None)
    return [
        Content(key, in_scope=roots[key][1], root=roots[key][0], related=related[key])
        if key in roots
        else Content(key, in_scope=False, root=None)
        for key in keys
    ]


def _roots(page: RowPage, keys: Sequence[str]) -> dict[str, tuple[Row, bool]]:
    stream, dialect = page.stream, page.dialect
    table = statement.plain(dialect.quoted(stream.table))
    name = table.rpartition(".")[2]  # not aliased: `where` may name it
    columns = [f"{name}.{statement.plain(dialect.quoted(column))}" for column in stream.key]
    where = statement.fragment(stream.where, known=page.values) if stream.where else "1 = 1"
    found: dict[str, tuple[Row, bool]] = {}
    asked = [parts for key in dict.fromkeys(keys) if (parts := value.parts(key, len(columns))) is not None]
    for chunk in statement.chunks((form for parts in asked for form in dialect.forms(parts)), width=len(columns)):
        condition, members = statement.within(columns, chunk)
        rest = f"CASE WHEN ({where}) THEN 1 ELSE 0 END AS {_IN_SCOPE} FROM {table} WHERE {condition}"
        # The key as it came, which is how it was looked up: the normal value of a tinyint(1) is another text.
        for key, row in page.rows(name, rest, {"kr_values": members}, of=ROOT, key=stream.key):
            in_scope = bool(row.pop(_IN_SCOPE))
            named = value.key(key)
            if found.setdefault(named, (row, in_scope)) != (row, in_scope):
                raise _not_unique(stream, named)
    return found


def _not_unique(stream: Stream, key: str) -> errors.RelayError:
    named = ", ".join(stream.key)
    return errors.RelayError(
        f"{stream.name}: several rows of {stream.table} have the key {named} = {key}; which of them is meant?",
        hint=(
            f"A key names one row. Is {stream.table} a view over a join? Then name the columns that make a row unique"
            " as key:, or read the table itself and make the rest a relation (many: true)."
        ),
    )


def _related(page: RowPage, relation: Relation, met: Mapping[str, Mapping[str, list[Row]]]) -> dict[str, list[Row]]:
    """The relation's rows by root key, in their order."""
    owners: dict[tuple[object, ...], list[str]] = defaultdict(list)
    values: dict[tuple[object, ...], tuple[object, ...]] = {}
    for key, parents in met.items():
        for given in dict.fromkeys(_given(page.stream, relation, parents)):
            same = tuple(value.same(one) for one in given)
            owners[same].append(key)
            values[same] = given
    dialect = page.dialect
    columns = [f"r.{statement.plain(dialect.quoted(column))}" for column in relation.match]
    origin = schema.rows_of(dialect, table=relation.table, sql=relation.sql, known=page.values)
    rank = f"rank() OVER (ORDER BY {statement.fragment(relation.order_by)})" if relation.order_by else "1"
    ranked: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    matching = _Matching(page.stream, relation, owners)
    bound = (tuple(dialect.bound(one) for one in given) for given in values.values())
    for chunk in statement.chunks(bound, width=len(columns)):
        condition, members = statement.within(columns, chunk)
        rest = f"{rank} AS {_RANK} FROM {origin} r WHERE {condition}"
        for _, row in page.rows("r", rest, {"kr_values": members}, of=relation.name):
            place = int(str(row.pop(_RANK)))
            for key in matching.owners(row):
                ranked[key].append((place, row))
    return {key: _ordered(rows) for key, rows in ranked.items()}


def _ordered(ranked: list[tuple[int, Row]]) -> list[Row]:
    """By rank; rows that the order leaves equal in one order of ours, so that the hash of a page stays the same."""
    if len({place for place, _ in ranked}) == len(ranked):
        ranked.sort(key=lambda one: one[0])
    else:
        ranked.sort(key=lambda one: (one[0], repr(one[1])))
    return [row for _, row in ranked]


def _given(stream: Stream, relation: Relation, parents: Mapping[str, list[Row]]) -> Iterable[tuple[object, ...]]:
    """The values by which the relation belongs to one root; several when it goes through a relation of many rows."""
    paths = [path(text) for text in relation.match.values()]
    names = list(dict.fromkeys(one.parent for one in paths))
    for rows in itertools.product(*(parents[name] for name in names)):
        by_name = dict(zip(names, rows, strict=True))
        for one in paths:
            if one.column not in by_name[one.parent]:
                origin = stream.table if one.parent == ROOT else one.parent
                raise schema.no_column(origin, one.column, by_name[one.parent], asks=f"{stream.name}.{relation.name}")
        given = tuple(by_name[one.parent][one.column] for one in paths)
        if None not in given:
            yield given


class _Matching:
    """Which roots a related row belongs to: by equal values, else by values that the database took for equal."""

    def __init__(self, stream: Stream, relation: Relation, owners: Mapping[tuple[object, ...], list[str]]) -> None:
        self._stream, self._relation, self._owners = stream, relation, owners
        self._folded: dict[Callable[[object], str], dict[tuple[str, ...], dict[str, None]]] = {}

    def owners(self, row: Row) -> Iterable[str]:
        missing = [column for column in self._relation.match if column not in row]
        if missing:
            asks = f"{self._stream.name}.{self._relation.name}"
            raise schema.no_column(self._relation.origin, missing[0], row, asks=asks)
        held = [row[column] for column in self._relation.match]
        same = self._owners.get(tuple(value.same(one) for one in held))
        if same is not None:
            return same
        for fold in (value.alike, value.unaccented):
            alike = self._by(fold).get(tuple(fold(one) for one in held))
            if alike is not None:
                return alike
        raise errors.RelayError(
            f"{self._stream.name}.{self._relation.name}: the database matched rows by "
            f"{', '.join(self._relation.match)} whose values differ from those of the root.",
            hint="Make it a sql: relation that casts both to one type.",
        )

    def _by(self, fold: Callable[[object], str]) -> dict[tuple[str, ...], dict[str, None]]:
        if fold not in self._folded:
            found: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
            for given, keys in self._owners.items():
                found[tuple(fold(one) for one in given)].update(dict.fromkeys(keys))
            self._folded[fold] = dict(found)
        return self._folded[fold]
