"""What PostgreSQL's `pgoutput` plugin writes into a replication stream, read into transactions of changed rows.

Of each row only the columns are kept that lead to a root: nothing of a borrower is held. The layout is that of
PostgreSQL's manual, "Logical Replication Message Formats", protocol version 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import field

from kiva_relay.frozen import dataclass
from kiva_relay.source import value

_AS_WRITTEN = (114, 3802, 1186)
"""json, jsonb and interval: sessions of the MIS give them as they are written, too (`source/session_postgresql.py`)."""

MOST_ROWS = 100_000
"""Different rows of one table in one transaction that are kept; with more, all of the table counts as changed."""

Columns = Mapping[int, tuple[str, ...]]
"""The columns to keep of each table, by its oid."""

_NULL, _UNCHANGED, _TEXT = ord("n"), ord("u"), ord("t")
_KEY, _OLD, _NEW = ord("K"), ord("O"), ord("N")


@dataclass
class Transaction:
    """One committed transaction of the MIS.

    `xid` has the 32 bits that the stream gives; `before` is how far the stream had come when it began, `end` where it
    ends. `rows` are the kept columns of changed rows, by table, as they were and as they are, None where they are null
    or not given; `whole` are tables that were emptied, or of which too many rows changed; `deleted` those that lost
    rows.
    """

    xid: int
    before: int
    wanted: Columns
    end: int = 0
    rows: dict[int, dict[tuple[object, ...], None]] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)

    @property
    def touches(self) -> bool:
        """Whether it changed anything that is watched."""
        return bool(self.rows or self.whole or self.deleted)

    @property
    def size(self) -> int:
        """How much is held of it: its rows, and itself."""
        return 1 + sum(map(len, self.rows.values()))

    def values(self, table: int, columns: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
        """These columns of its rows of a table; without rows that lack one of them."""
        kept = self.wanted.get(table, ())
        if table not in self.rows or not set(columns) <= set(kept):
            return
        places = [kept.index(column) for column in columns]
        for row in self.rows[table]:
            values = tuple(row[place] for place in places)
            if None not in values:
                yield values

    def keep(self, table: int, row: tuple[object, ...]) -> None:
        """Remember a row."""
        if table in self.whole or all(one is None for one in row):
            return
        rows = self.rows.setdefault(table, {})
        rows[row] = None
        if len(rows) > MOST_ROWS:
            self.empty(table)

    def empty(self, table: int) -> None:
        """Every row of the table may be another one now."""
        self.whole.add(table)
        self.rows.pop(table, None)


@dataclass(frozen=True)
class _Table:
    """A table as the stream announced it: its columns in order, with their types, and which identify a row."""

    columns: tuple[tuple[str, int], ...]
    identity: frozenset[str]


class Decoder:
    """Messages in, transactions out. One for each connection, which announces all tables again."""

    def __init__(self, *, letters: str = "utf-8") -> None:
        """`letters` is what Python calls the encoding of the database; of one that has none, ASCII."""
        self._letters = "utf-8" if letters == "ascii" else letters
        self._tables: dict[int, _Table] = {}
        self._open: Transaction | None = None
        # Loaded here, for what this file says of transactions is also said to who has another database.
        from psycopg import DataError, pq  # noqa: PLC0415
        from psycopg.adapt import Transformer  # noqa: PLC0415

        self._transformer = Transformer()
        self._as_text = pq.Format.TEXT
        self._unreadable = (DataError, ValueError, TypeError)

    @property
    def within(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._open is not None

    def read(self, message: bytes, *, at: int, wanted: Columns) -> Transaction | None:
        """The transaction that ends with this message, if one does.

        Args:
            message: without the stream's own header.
            at: how far the stream had come.
            wanted: which columns to keep, for a transaction that begins here.
        """
        body = _Body(message, letters=self._letters)
        kind = body.letter()
        if kind == "R":
            self._announced(body)
        elif kind == "B":
            body.skip(16)
            self._open = Transaction(xid=body.number(4), before=at, wanted=wanted)
        elif kind == "C":
            body.skip(9)
            ended, self._open = self._open, None
            if ended is not None:
                ended.end = body.number(8)
            return ended
        elif kind in "IUDT" and self._open is not None:
            self._changed(kind, body, self._open)
        return None

    def _announced(self, body: _Body) -> None:
        oid = body.number(4)
        body.name(), body.name()
        whole = body.letter() == "f"
        columns, identity = [], set()
        for _ in range(body.number(2)):
            flags, name, kind = body.number(1), body.name(), body.number(4)
            body.skip(4)
            columns.append((name, kind))
            if flags & 1 or whole:
                identity.add(name)
        self._tables[oid] = _Table(tuple(columns), frozenset(identity))

    def _changed(self, kind: str, body: _Body, into: Transaction) -> None:
        if kind == "T":
            count = body.number(4)
            body.skip(1)
            for oid in (body.number(4) for _ in range(count)):
                if oid in into.wanted:
                    into.empty(oid)
                    into.deleted.add(oid)
            return
        oid = body.number(4)
        wanted, table = into.wanted.get(oid), self._tables[oid]
        if wanted is None:
            return
        if kind == "D":
            into.deleted.add(oid)
        was: dict[str, object] = {}
        while body.left:
            which = body.number(1)
            values = dict(self._values(body, table))
            if which == _KEY:
                values = {name: value for name, value in values.items() if name in table.identity}
            if which == _NEW:
                # A long value that did not change is not written again.
                values = {name: was[name] if value is _SAME else value for name, value in values.items()
                          if value is not _SAME or name in was}  # fmt: skip
            else:
                was = values
            into.keep(oid, tuple(values.get(name) for name in wanted))

    def _values(self, body: _Body, table: _Table) -> Iterator[tuple[str, object]]:
        body.skip(2)
        for name, kind in table.columns:
            how = body.number(1)
            if how == _NULL:
                yield name, None
            elif how == _UNCHANGED:
                yield name, _SAME
            else:
                yield name, self._value(kind, body.take(body.number(4)))

    def _value(self, kind: int, written: bytes) -> object:
        """As the driver gives it to everybody else: keys must not differ in their spelling."""
        if self._letters != "utf-8":
            try:
                written = written.decode(self._letters).encode()
            except UnicodeDecodeError:
                return value.NOT_READ
        if kind in _AS_WRITTEN:
            return value.decoded(written)
        try:
            loaded = self._transformer.get_loader(kind, self._as_text).load(written)
            hash(loaded)  # an array is no key; whoever reads it says so, and the stream goes on for the others
        except self._unreadable:  # a date that Python has not
            return value.decoded(written)
        return loaded


_SAME = object()


class _Body:
    """A message, read from its beginning."""

    _FORMATS: Mapping[int, struct.Struct] = {
        1: struct.Struct(">B"),
        2: struct.Struct(">H"),
        4: struct.Struct(">I"),
        8: struct.Struct(">Q"),
    }

    def __init__(self, message: bytes, *, letters: str) -> None:
        self._message, self._place, self._letters = message, 0, letters

    @property
    def left(self) -> bool:
        return self._place < len(self._message)

    def take(self, length: int) -> bytes:
        taken = self._message[self._place : self._place + length]
        self._place += length
        return taken

    def skip(self, length: int) -> None:
        self._place += length

    def letter(self) -> str:
        return chr(self.number(1))

    def number(self, width: int) -> int:
        found: int = self._FORMATS[width].unpack_from(self._message, self._place)[0]
        self._place += width
        return found

    def name(self) -> str:
        end = self._message.index(0, self._place)
        found = self._message[self._place : end].decode(self._letters, errors="replace")
        self._place = end + 1
        return found
