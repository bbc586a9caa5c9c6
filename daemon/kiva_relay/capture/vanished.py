"""Values that vanished: a column that the book has filled, and that is empty in the last rows, holds its stream.

An upgrade of a MIS, or a changed form, empties a column without an error: every draft goes out without its story,
every interest is 0. What is usual is learned from the whole book, by each backfill and sweep that went through it: the
rows that changed on one evening are no sample of it (all of them repaid, all of them with a photo). Of the rows
captured last, new ones are looked at apart from changed ones, for a loan has more columns filled later in its life.
What is kept are numbers, names of columns and keys; no value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import hold, meta
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import ROOT

LAST = 20
"""How many rows, all different ones, are compared with those before them."""

ENOUGH = 50
"""A book of fewer rows says nothing of what is usual."""

ALWAYS = 0.97
"""The part of the book, and of the earlier rows of the kind, that a column has to be filled in."""

MOSTLY = 0.75
"""The part of the last rows that it has to be empty in."""

_FORGETS = 400
"""How many rows are counted before all counts are halved: a habit may change slowly."""

_log = log.get("capture")


@dataclass
class _Book:
    """The rows in scope that scan number `scan` read: `of` were counted, and how often each column was filled."""

    scan: int = 0
    of: int = 0
    filled: dict[str, int] = field(default_factory=dict)

    def read(self, columns: Iterable[str]) -> None:
        """One more row."""
        self.of += 1
        for name in columns:
            self.filled[name] = self.filled.get(name, 0) + 1

    def usual(self) -> list[str]:
        """The columns that a row of this book has filled."""
        if self.of < ENOUGH:
            return []
        return [name for name, number in self.filled.items() if number >= ALWAYS * self.of]


@dataclass
class _Habit:
    """Of one kind of row: `of` were counted, how often each column was filled, and what the last had, by key.

    `asked` are the columns that a person was asked about; they are not asked about again until they are filled again.
    """

    of: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    last: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def learn(self, key: str, columns: list[str]) -> None:
        """One more row; when it is another version of one of the last, it takes its place."""
        if self.last.pop(key, None) is None and len(self.last) == LAST:
            oldest = next(iter(self.last))
            self._count(self.last.pop(oldest))
        self.last[key] = columns

    def _count(self, columns: Iterable[str]) -> None:
        if self.of >= _FORGETS:
            self.of //= 2
            self.filled = {name: number // 2 for name, number in self.filled.items()}
        self.of += 1
        for name in columns:
            self.filled[name] = self.filled.get(name, 0) + 1

    def vanished(self, usual: Iterable[str]) -> dict[str, int]:
        """Of the columns that are usual, those that are mostly empty now: in how many of the last rows.

        A column that earlier rows of this kind lacked too has not vanished: a new loan has no date of disbursement.
        """
        if len(self.last) < LAST:
            return {}
        empty = {name: sum(name not in columns for columns in self.last.values()) for name in usual}
        self.asked = [name for name in self.asked if empty.get(name, LAST)]
        return {
            name: number
            for name, number in empty.items()
            if number >= MOSTLY * LAST and name not in self.asked and self._had(name)
        }

    def _had(self, name: str) -> bool:
        return self.of < LAST or self.filled.get(name, 0) >= ALWAYS * self.of


def learn(tx: Connection, document: Document, contents: Sequence[Content], *, scan: int, is_complete: bool) -> None:
    """Count a page of the scan number `scan`; once it has met all rows in scope, it says what is usual.

    Args:
        tx: the transaction of the page.
        document: the mapping.
        contents: all that the scan read, whether they changed or not.
        scan: its number; a scan with another number begins to count anew.
        is_complete: every row in scope was met.
    """
    stored = meta.habits(document.name).get(tx) or {}
    reading = _Book(**stored.get("reading", {}))
    if reading.scan != scan:
        reading = _Book(scan)
    for content in contents:
        if content.in_scope and not content.unread:
            reading.read(_filled(document, content))
    read = {"book": vars(reading), "reading": {}} if is_complete else {"reading": vars(reading)}
    meta.habits(document.name).put(tx, stored | read)


def note(
    tx: Connection, document: Document, contents: Sequence[Content], *, known: Collection[str], now: datetime
) -> None:
    """Count what a page captured, and hold the stream when values vanished.

    The hold's parameters: `columns`, their names; `empty`, in how many rows the emptiest is; `of`, of how many.

    Args:
        tx: the transaction of the page.
        document: the mapping.
        contents: of the keys that were new or different; those out of scope say nothing.
        known: the keys of the page that were captured before.
        now: with a zone.
    """
    rows = [content for content in contents if content.in_scope and not content.unread]
    if not rows:
        return
    stored = meta.habits(document.name).get(tx) or {}
    habits = {kind: _Habit(**stored.get(kind, {})) for kind in ("new", "changed")}
    usual = _Book(**stored.get("book", {})).usual()
    gone: dict[str, int] = {}
    for content in rows:
        habit = habits["changed" if content.key in known else "new"]
        habit.learn(content.key, _filled(document, content))
        found = habit.vanished(usual)
        habit.asked += found  # whatever the answer, what comes is the new habit
        gone |= found
    meta.habits(document.name).put(tx, stored | {kind: vars(habit) for kind, habit in habits.items()})
    if gone:
        columns = ", ".join(sorted(gone))
        params = {"columns": columns, "empty": max(gone.values()), "of": LAST}
        if hold.put(tx, hold.STREAM + document.name, "values_vanished", now=now, params=params):
            _log.error("Columns that were always filled are empty; held", stream=document.name, columns=columns)


def _filled(document: Document, content: Content) -> list[str]:
    """The columns that the mapping reads, and that hold something in this row or in one of its related rows.

    A relation without a row up to the cut-off says nothing: a loan that was lent since then has nothing there yet, and
    twenty new loans in a row are no sign of an upgrade. Its columns pass for filled.
    """
    found: dict[str, None] = {}
    of_the_cutoff = {each.name for each in document.stream.relations if each.optional and each.uses_cutoff}
    for column in document.columns:
        related = content.root if (column.owner or ROOT) == ROOT else content.related.get(column.owner)
        rows = related if isinstance(related, list) else [related] if related else []
        nothing_yet = not rows and column.owner in of_the_cutoff
        if nothing_yet or any(row.get(column.name) not in (None, "") for row in rows):
            found[f"{column.owner}.{column.name}" if column.owner else column.name] = None
    return list(found)
