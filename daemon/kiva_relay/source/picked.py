"""The columns that are read of each table: those that a mapping names, and those that say how a borrower is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.resource import contact
from kiva_relay.source import schema
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import ROOT, Stream, needed

_LOOK_AGAIN = 300.0
"""Seconds for which a table is believed to have the columns that it had; only a new telephone number is missed."""

_WRITTEN = frozenset({"text", "other"})

Columns = Mapping[str, Sequence[str]]
"""By relation, ROOT among them, the columns to read; all of them where it says nothing."""


class Picked:
    """Of one MIS. A photo of two megabytes that no mapping names is never asked for."""

    def __init__(self, dialect: Dialect, *, clock: Clock) -> None:
        self._dialect, self._clock = dialect, clock
        self._known: dict[str, tuple[float, Stream, Columns]] = {}

    def of(self, cx: sa.Connection, stream: Stream) -> Columns:
        """What is read for this stream.

        Raises:
            RelayError: one of its tables is not there.
        """
        if stream.named is None:
            return {}
        if not self.believes(stream):
            found = {ROOT: self._of_one(cx, stream, ROOT, table=stream.table)}
            for one in stream.relations:
                found[one.name] = self._of_one(cx, stream, one.name, table=one.table, sql=one.sql)
            if any(name not in found.get(of, [name]) for of, name in stream.named):
                self._known.pop(stream.name, None)  # a column that is gone may come back at any moment
                return found
            self._known[stream.name] = (self._clock.monotonic(), stream, found)
        return self._known[stream.name][2]

    def believes(self, stream: Stream) -> bool:
        """Whether the next answer for this stream is an old one, which a table that was altered since belies."""
        known = self._known.get(stream.name)
        return known is not None and known[1] == stream and self._clock.monotonic() - known[0] < _LOOK_AGAIN

    def clear(self) -> None:
        """Something failed: look at everything again."""
        self._known.clear()

    def _of_one(
        self, cx: sa.Connection, stream: Stream, of: str, *, table: str | None = None, sql: str | None = None
    ) -> list[str]:
        present = schema.columns(cx, self._dialect, table=table, sql=sql)
        wanted = {name for owner, name in stream.named or () if owner == of}
        also = {name for name, code in present.items() if self._is_contact(name, code)}
        return [*dict.fromkeys([*needed(stream, of), *(name for name in present if name in wanted | also)])]

    def _is_contact(self, name: str, code: object) -> bool:
        return contact.is_column(name) and self._dialect.kind(code) in _WRITTEN
