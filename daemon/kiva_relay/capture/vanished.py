"""Values that vanished: a column that was always filled and is empty in the rows captured last holds its stream.

An upgrade of a MIS, or a changed form, empties a column without an error: every draft goes out without its story,
every interest is 0. For each mapping we keep how often each column that it reads was filled, and which columns the last
rows had: keys, and yes or no; no value. New rows are compared with new ones, and changed ones with changed ones, for a
loan has more columns filled later in its life.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
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
"""How many rows before them make a habit."""

ALWAYS = 0.97
"""The part of the earlier rows that a column has to be filled in."""

MOSTLY = 0.75
"""The part of the last rows that it has to be empty in."""

_FORGETS = 400
"""How many rows are counted before all counts are halved: a habit may change slowly."""

_log = log.get("capture")


@dataclass
class _Habit:
    """Of one kind of row: `of` were counted, how often each column was filled, and what the last had, by key."""

    of: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    last: dict[str, list[str]] = field(default_factory=dict)

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

    def vanished(self) -> dict[str, int]:
        """Columns that were always filled and mostly are not: in how many of the last rows they are empty."""
        if self.of < ENOUGH or len(self.last) < LAST:
            return {}
        empty = {name: sum(name not in columns for columns in self.last.values()) for name in self.filled}
        return {
            name: number
            for name, number in empty.items()
            if number >= MOSTLY * LAST and self.filled[name] >= ALWAYS * self.of
        }

    def forget(self, names: Iterable[str]) -> None:
        """A person is asked now: whatever the answer, what comes is the new habit."""
        for name in names:
            self.filled.pop(name, None)


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
    rows = [content for content in contents if content.in_scope]
    if not rows:
        return
    stored = meta.habits(document.name).get(tx) or {}
    habits = {kind: _Habit(**stored.get(kind, {})) for kind in ("new", "changed")}
    gone: dict[str, int] = {}
    for content in rows:
        habit = habits["changed" if content.key in known else "new"]
        habit.learn(content.key, _filled(document, content))
        found = habit.vanished()
        habit.forget(found)
        gone |= found
    meta.habits(document.name).put(tx, {kind: asdict(habit) for kind, habit in habits.items()})
    if gone:
        columns = ", ".join(sorted(gone))
        params = {"columns": columns, "empty": max(gone.values()), "of": LAST}
        if hold.put(tx, hold.STREAM + document.name, "values_vanished", now=now, params=params):
            _log.error("Columns that were always filled are empty; held", stream=document.name, columns=columns)


def _filled(document: Document, content: Content) -> list[str]:
    """The columns that the mapping reads, and that hold something in this row or in one of its related rows."""
    found: dict[str, None] = {}
    for column in document.columns:
        related = content.root if (column.owner or ROOT) == ROOT else content.related.get(column.owner)
        rows = related if isinstance(related, list) else [related] if related else []
        if any(row.get(column.name) not in (None, "") for row in rows):
            found[f"{column.owner}.{column.name}" if column.owner else column.name] = None
    return list(found)
