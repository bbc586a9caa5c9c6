"""Rows in scope of which nobody can tell the key: they are not read, and a person is told where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.source.value import TornText


@dataclass(frozen=True)
class Gap:
    """`number` rows without a key (`is_null`), or with one that cannot be read.

    The latter stand between two keys in their order: `after` is None before the first, `before` behind the last.
    """

    number: int
    after: str | None = None
    before: str | None = None
    is_null: bool = False

    @property
    def words(self) -> str:
        """How many, and where."""
        rows = errors.counted(self.number, "row")
        if self.is_null:
            return f"{rows} without a key (NULL)"
        where = [f"after {self.after}"] if self.after is not None else []
        where += [f"before {self.before}"] if self.before is not None else []
        return f"{rows} with a key that cannot be read{', ' if where else ''}{' and '.join(where)}"

    def query(self, table: str, key: Sequence[str]) -> str:
        """A SELECT that shows them; "" where the key has several columns of which one cannot be read."""
        if self.is_null:
            return f"SELECT * FROM {table} WHERE {' OR '.join(f'{column} IS NULL' for column in key)};"  # noqa: S608 - shown
        if len(key) > 1:
            return ""
        ends = (("> ", self.after), ("< ", self.before))
        bounds = [f"{key[0]} {than}'{end.replace(chr(39), chr(39) * 2)}'" for than, end in ends if end is not None]
        return f"SELECT * FROM {table} WHERE {' AND '.join(bounds) or '1 = 1'};"  # noqa: S608 - shown


def is_readable(row: Sequence[object]) -> bool:
    """Whether values of key columns name a row."""
    return not any(one is None or isinstance(one, TornText) for one in row)


def together(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """The same gaps, each once: those of the same place are one."""
    found: dict[Gap, int] = {}
    for one in gaps:
        place = replace(one, number=0)
        found[place] = max(found.get(place, 0), one.number)
    return tuple(replace(place, number=number) for place, number in found.items())
