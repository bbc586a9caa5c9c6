"""Backfill and sweep: every key of a stream, a page at a time, through the same reader as everything else.

A scan goes through the keys in scope in their order, then through those that were known in scope and were not met: they
left it, or were deleted. Where it is stands in the outbox, written in the transaction of what it found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.capture.context import Origin
from kiva_relay.clock import Clock
from kiva_relay.frozen import dataclass
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import meta, scan, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle

_log = log.get("capture")


@dataclass(frozen=True)
class ScanStep:
    """The next page of a scan.

    `mark` is where the scan was when the keys were asked for, `progress` what it had found by then. Without keys its
    part is over: after the keys in scope come those that left it, and then it ends.
    """

    mark: Watermark
    keys: tuple[str, ...]
    progress: scan.ScanProgress
    nameless: meta.Nameless | None = None
    """What was met so far of rows whose key cannot be told; None where nobody looked for such."""

    @property
    def is_leaving(self) -> bool:
        """Are these keys that were known in scope and not met?"""
        return self.mark.scan == "leaving"

    @property
    def is_over(self) -> bool:
        """Is there nothing left to look at?"""
        return self.is_leaving and not self.keys

    @property
    def origin(self) -> Origin:
        """Why these keys are looked at."""
        match self.mark.scan:
            case "backfill" | "leaving" as origin:
                return origin
            case _:
                return "sweep"


def advance(tx: Connection, step: ScanStep, *, surprises: int, now: datetime) -> None:
    """Move a scan past a page that was read. `surprises` is how many of its keys were new or different.

    Raises:
        Overtaken: a person began another scan meanwhile.
    """
    mark, progress = step.mark, step.progress
    if step.keys:
        watermark.scanned(tx, mark, step.keys[-1], now=now)
    elif step.is_leaving:
        watermark.end_scan(tx, mark, now=now)
    else:
        watermark.start_leaving(tx, mark)
    found = dataclasses.replace(progress, found=progress.found + surprises, at=now)
    if step.is_leaving:
        found = dataclasses.replace(found, gone=found.gone + surprises)
    else:
        found = dataclasses.replace(found, done=found.done + len(step.keys))
    scan.keep(tx, mark.stream, found)
    if step.nameless is not None:
        _tell(tx, step, step.nameless)


def _tell(tx: Connection, step: ScanStep, found: meta.Nameless) -> None:
    """Keep what is known of rows whose key cannot be told: what the last scan met, until this one is through."""
    fact = meta.nameless(step.mark.stream)
    known = fact.get(tx)
    if known is not None and step.keys:
        found = dataclasses.replace(found, before=known.before if known.scan == found.scan else known.gaps)
    if found == known or (known is None and not found.gaps):
        return
    if not found.gaps:
        fact.remove(tx)
        return
    fact.put(tx, found)
    if known is None:
        number = sum(one.number for one in found.gaps)
        _log.error("Rows have no key that can be read; they are not read", stream=step.mark.stream, rows=number)


def look_for_more(tx: Connection, stream: str, *, now: datetime) -> None:
    """Look at all keys for what no poll shows: what an edit took into scope, or a table that was emptied. No miss."""
    watermark.scan_again(tx, stream, now=now)
    mark = watermark.watermarks(tx)[stream]
    if mark.scan == "sweep":
        scan.keep(tx, stream, scan.ScanProgress(mark.scan_number, "edit", since=now, total=0))


class Scanner:
    """The scans of one MIS. Holds what sweeps found until a poll, or the stream, has shown whether it was missed."""

    def __init__(self, outbox: Outbox, mis: Mis, *, clock: Clock) -> None:
        self._outbox, self._mis, self._clock = outbox, mis, clock
        self._suspects: dict[str, set[str]] = {}
        self._to_come: dict[str, set[str]] = {}

    def next(self, document: Document, mark: Watermark, *, limit: int) -> ScanStep:
        """The next page of the scan that is under way, of at most `limit` keys.

        Raises:
            Unreachable: the MIS is away.
        """
        progress = self._progress(document, mark)
        if mark.scan == "leaving":
            with self._outbox.read() as tx:
                keys = watermark.not_scanned(tx, mark, limit=limit)
            return ScanStep(mark, tuple(keys), progress)
        stream = document.stream
        keys = self._mis.scan(stream, after=mark.scan_after, limit=limit)
        nameless = meta.Nameless(stream.table, stream.key, mark.scan_number, tuple(self._mis.gaps(stream)))
        return ScanStep(mark, tuple(keys), progress, nameless)

    def found(self, step: ScanStep, surprises: tuple[str, ...]) -> None:
        """A page was written, and these keys were not as they were known."""
        stream = step.mark.stream
        if step.is_leaving:
            meter.sweep_found.labels(stream=stream, what="gone").inc(len(surprises))
        elif step.progress.kind == "sweep":
            self._suspects.setdefault(stream, set()).update(surprises)

    def came(self, stream: str, keys: Iterable[str]) -> None:
        """The stream of changes brought these keys: what a sweep saw of them before was seen a little earlier."""
        for suspects in (self._suspects, self._to_come):
            suspects.get(stream, set()).difference_update(keys)

    def count_missed(
        self, cycle: Cycle, *, followed: Collection[str] = (), pinned: Collection[str] = frozenset()
    ) -> None:
        """Of what the sweep found since the last poll: what this poll does not find either was truly missed.

        A change of the last moments is no miss: the sweep only saw it a little earlier. By the stream it comes before W
        moves for the second time: the first move may be to a place from before the sweep read it.

        Args:
            cycle: of the poll.
            followed: streams whose changes come by the stream of the MIS.
            pinned: those of them whose W does not move in this cycle.
        """
        for name in cycle.next:
            self.came(name, cycle.keys.get(name, ()))
            if name in pinned:
                continue
            missed = self._to_come.pop(name, set())
            found = self._suspects.pop(name, set())
            if name in followed:
                self._to_come[name] = found - missed
            else:
                missed = missed | found
            if missed:
                with self._outbox.begin() as tx:
                    scan.missed(tx, name, len(missed))
                meter.sweep_found.labels(stream=name, what="missed").inc(len(missed))
                _log.warning("The sweep found rows that no poll had shown", stream=name, rows=len(missed))

    def _progress(self, document: Document, mark: Watermark) -> scan.ScanProgress:
        """How far the scan is; at its beginning the rows are counted, for a person who waits for the end."""
        with self._outbox.read() as tx:
            known = scan.of(tx, document.name)
        begun = known is not None and known.number == mark.scan_number
        if known is not None and begun and known.at is not None:
            return known
        kind = known.kind if known is not None and begun else mark.scan or "sweep"
        total, now = self._mis.count(document.stream), self._clock.now()
        return scan.ScanProgress(number=mark.scan_number, kind=kind, since=now, total=total)
