"""How each watched table is asked, and what else of a MIS is believed for a while before it is looked at again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.source import failure, schema, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.stream import Stream
from kiva_relay.source.watch import TableFacts, Watched

_LOOK_AGAIN = 300.0
"""Seconds for which indexes, types and engines of the watched tables are believed to be what they were."""

Plan = list[tuple[Watched, TableFacts]]


class Plans:
    """The plans of one MIS, each made once for a set of streams. `asked` is `mis.watch`."""

    def __init__(self, dialect: Dialect, *, asked: str, clock: Clock) -> None:
        self._dialect, self._asked, self._clock = dialect, asked, clock
        self._made: dict[tuple[str, ...], tuple[float, tuple[Stream, ...], str, Plan]] = {}
        self._server = ""
        self._unsteady: tuple[float, frozenset[str]] = (-math.inf, frozenset())

    def of(self, cx: sa.Connection, streams: Sequence[Stream], *, blind: str) -> Plan:
        """How to ask the tables of these streams, while the horizon is `blind` for this reason.

        Raises:
            Blamed: a table or column is not there; names the streams that need it.
        """
        names, now = tuple(stream.name for stream in streams), self._clock.monotonic()
        known = self._made.get(names)
        if known and known[1:3] == (tuple(streams), blind) and now - known[0] < _LOOK_AGAIN:
            return known[3]
        self._server = ""
        plan = []
        for one in watch.watched(streams):
            with failure.blamed({route.stream.name for route in one.routes}):
                plan.append((one, schema.facts(cx, self._dialect, one, asked=self._asked, blind=blind)))
        self._made[names] = (now, tuple(streams), blind, plan)
        return plan

    def clear(self) -> None:
        """Something failed: look at everything again."""
        self._made.clear()

    def server(self, cx: sa.Connection) -> str:
        """The identity of the MIS; asked again with every plan, for another server may have taken the address."""
        if not self._server:
            self._server = self._dialect.identity(cx)
        return self._server

    def unsteady(self, cx: sa.Connection, stream: Stream) -> list[str]:
        """The tables of a stream that no snapshot holds."""
        now = self._clock.monotonic()
        if now - self._unsteady[0] > _LOOK_AGAIN:
            self._unsteady = (now, frozenset(self._dialect.unsteady(cx)))
        # A name may hold blanks and dashes, and some servers write it in other capitals than the mapping does.
        texts = " ".join([stream.table, *(one.table or one.sql or "" for one in stream.watched())]).casefold()
        return sorted(name for name in self._unsteady[1] if _stands_in(texts, name.casefold()))


def _stands_in(texts: str, name: str) -> bool:
    return name in texts and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", texts) is not None
