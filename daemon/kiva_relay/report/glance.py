"""An open report at a glance: how many loans stand where; and some of its lines whole, in their order.

Who shows ten of five thousand lines and their number reads ten, and counts the others (`report/alike.py`). Loans that
stand like no other (decided about, with several positions or none) are read one by one. What was counted, and which
loans are odd, is kept while nothing moves: the page is asked again and again by the same person.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror
from kiva_relay.report import alike, current, price
from kiva_relay.report.alike import AlikeLines
from kiva_relay.report.line import ReportLine, ReportLineKind

Wanted = Callable[[ReportLineKind, str], bool]
"""Is a line with this cause one of those that are looked at?"""


@dataclass(frozen=True)
class Glance:
    """The lines of an open report.

    Attributes:
        period: YYYY-MM.
        basis: what its amounts mean.
        alike: those that are counted.
        odd: those that were read, by Kiva's number; without their prices.
    """

    period: str
    basis: str
    alike: tuple[AlikeLines, ...]
    odd: tuple[ReportLine, ...]

    @property
    def numbers(self) -> Counter[tuple[ReportLineKind, str, str]]:
        """How many loans stand in each line, by cause, and by the reason of a hold where one keeps them."""
        found = Counter((one.kind, one.cause, str(one.params.get("reason", one.cause))) for one in self.odd)
        for each in self.alike:
            found[each.kind, each.cause, each.reason] += each.number
        return found


def read(tx: Connection, settings: Settings, period: str, *, basis: str) -> Glance:
    """The report of a period that is open, as it stands now. `basis`: what its amounts mean."""
    now_is, stamp = current.situation(tx, settings, basis=basis), (alike.stamp(tx), period)
    kept = _KEPT.get(tx.engine)
    if kept is None or kept.stamp != stamp or stamp[0] is None:
        counted = alike.groups(tx, period)
        odd: tuple[ReportLine, ...] = ()
        if sum(one.number for one in counted) != sum(mirror.expected_by_status(tx).values()):
            odd = tuple(current.live(tx, settings, period, basis=basis, besides_alike=True))
        _KEPT[tx.engine] = _Kept(stamp, counted, tuple(one.kiva_id for one in odd))
        return Glance(period, basis, alike.placed(counted, now_is), odd)
    odd = tuple(current.named(tx, settings, period, kept.odd, basis=basis)) if kept.odd else ()
    return Glance(period, basis, alike.placed(kept.groups, now_is), odd)


@dataclass(frozen=True)
class _Kept:
    """What was counted last in an outbox: it stays so while the stamp does. `odd` are Kiva's numbers."""

    stamp: tuple[object, ...]
    groups: Sequence[sa.Row[Any]]
    odd: tuple[str, ...]


_KEPT: WeakKeyDictionary[sa.Engine, _Kept] = WeakKeyDictionary()
"""By the outbox. Of a book of a hundred thousand loans the page would count a second and a half at each request."""


class GlanceLines(Sequence[ReportLine]):
    """Some lines of a glance, by Kiva's number: counted, and read when somebody looks at one, with its price.

    They are read in the transaction in which the glance was taken: while it is open, and as it shows the outbox.
    """

    def __init__(self, tx: Connection, settings: Settings, glance: Glance, wanted: Wanted) -> None:
        self._tx, self._settings, self.glance = tx, settings, glance
        mine = [one for one in glance.alike if wanted(one.kind, one.cause)]
        self._codes = frozenset(one.codes for one in mine)
        self._odd = [one for one in glance.odd if wanted(one.kind, one.cause)]
        self._number = sum(one.number for one in mine) + len(self._odd)

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[ReportLine]:
        yield from self[:]

    @overload
    def __getitem__(self, place: int) -> ReportLine: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[ReportLine, ...]: ...
    def __getitem__(self, place: int | slice) -> ReportLine | tuple[ReportLine, ...]:
        if isinstance(place, slice):
            if place.step not in (None, 1):
                return tuple(self)[place]
            first, end, _ = place.indices(self._number)
            return self._some(first, max(end - first, 0))
        within = range(self._number)[place]
        return self._some(within, 1)[0]

    def only(self, wanted: Wanted) -> GlanceLines:
        """Those of the glance that are wanted, whatever these are."""
        return GlanceLines(self._tx, self._settings, self.glance, wanted)

    def _some(self, first: int, most: int) -> tuple[ReportLine, ...]:
        """Those from the one at `first` on, at most so many. The two kinds of them are merged as far as is needed."""
        if not most:
            return ()
        start = max(first - len(self._odd), 0)
        period, basis, window = self.glance.period, self.glance.basis, range(first, first + most)
        counted = alike.named(self._tx, period, self._codes, first=start, most=window.stop - start)
        odd = [one.kiva_id for one in self._odd]
        shown = [kiva_id for place, kiva_id in enumerate(counted, start) if place + bisect_left(odd, kiva_id) in window]
        strange = [
            one for place, one in enumerate(self._odd) if place + start + bisect_left(counted, one.kiva_id) in window
        ]
        lines = [*current.named(self._tx, self._settings, period, shown, basis=basis), *strange]
        lines.sort(key=lambda one: one.kiva_id)
        return tuple(price.priced(self._tx, lines, period=period, basis=basis))


def every(tx: Connection, settings: Settings, period: str, *, basis: str) -> GlanceLines:
    """All lines of a period that is open; the arguments are those of `read`."""
    return GlanceLines(tx, settings, read(tx, settings, period, basis=basis), lambda _kind, _cause: True)
