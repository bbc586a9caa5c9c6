"""Pages of content out of an open snapshot, and of which columns they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType

import sqlalchemy as sa

from kiva_relay.source import reader
from kiva_relay.source.binding import Binding
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.picked import Columns, Picked
from kiva_relay.source.plans import Plans
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

_READINGS = 5


class Contents:
    """Of one MIS."""

    def __init__(self, dialect: Dialect, *, plans: Plans, picked: Picked, binding: Binding) -> None:
        self._dialect, self._plans, self._picked, self._binding = dialect, plans, picked, binding
        self._shapes: dict[str, dict[str, dict[str, str]]] = {}

    def read(
        self,
        cx: sa.Connection,
        stream: Stream,
        keys: Sequence[str],
        cutoff: date,
        columns: Columns = MappingProxyType({}),
    ) -> list[Content]:
        """The content of each key, in their order; of the relations in `columns` no other column is read.

        Tables that a snapshot does not hold are read until two readings in a row say the same.

        Raises:
            OddValue: a value cannot be read.
        """
        page = reader.RowPage(
            cx,
            self._dialect,
            stream,
            self._binding.values(stream, cutoff),
            self._binding.zone(cx, stream),
            columns={**self._picked.of(cx, stream), **columns},
        )
        contents = reader.read(page, keys)
        for _ in range(_READINGS if self._plans.unsteady(cx, stream) else 0):
            before, contents = contents, reader.read(page, keys)
            if before == contents:
                break
        if not columns:
            self._shapes.setdefault(stream.name, {}).update(page.shape)
        return contents

    def shape(self, stream: Stream) -> Mapping[str, Mapping[str, str]]:
        """Names and kinds of the columns that were last met, by relation: what the mapping has to fit."""
        return {name: dict(columns) for name, columns in self._shapes.get(stream.name, {}).items()}
