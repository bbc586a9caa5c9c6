"""Positions that wait for a person: counted, and read when somebody looks at them. There may be thousands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import listing, table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import PERSON_DECIDES

_entry = table.entry.c
# By the index `entry_open` alone, whose condition has to stand here word by word.
_NUMBER = sa.select(sa.func.count()).where(
    sa.text(table.OPEN), _entry.state == State.WAITING.value, _entry.reason.in_(sorted(PERSON_DECIDES))
)


class Decisions(Sequence[Entry]):
    """What `listing.decisions` gives, as it is in a transaction: counted at once, read while that is open."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._number = int(tx.execute(_NUMBER).scalar_one())

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        return tuple(listing.decisions(self._tx))

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, place: int | slice) -> Entry | tuple[Entry, ...]:
        return self._entries[place]
