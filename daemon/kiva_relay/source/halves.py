"""Rows of an answer that cannot be given whole: the odd ones are found by halving it, and the others are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from kiva_relay.source.dialect import Dialect

ALL_OF = 20
"""So many of which none can be read are not odd ones: it is the mapping, or the MIS."""

Row = Sequence[object]


@dataclass
class Halves:
    """Answers out of one snapshot, which goes on after an error. `ask` gives so many rows from a place on, in order."""

    cx: sa.Connection
    dialect: Dialect
    ask: Callable[[int, int], Sequence[Row]]
    _read: int = field(default=0, init=False)
    _odd: int = field(default=0, init=False)

    def rows(self, first: int, number: int) -> list[Row | None]:
        """The rows from a place on, fewer at the end; None for one that cannot be read.

        Raises:
            DBAPIError: it is no odd row, or none can be read of many.
        """
        try:
            with self.cx.begin_nested():
                found = list(self.ask(first, number))
        except sa.exc.DBAPIError as error:
            if not self.dialect.odd(error):
                raise
            if number == 1:
                self._odd += 1
                if self._odd >= ALL_OF and not self._read:
                    raise
                return [None]
        else:
            self._read += len(found)
            return [*found]
        half = number // 2
        some = self.rows(first, half)
        return some if len(some) < half else some + self.rows(first + half, number - half)
