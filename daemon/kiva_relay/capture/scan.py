"""Backfill and sweep: every key of a stream, a page at a time, through the same reader as everything else.

A scan goes through the keys in scope in their order, then through those that were known in scope and were not met: they
left it, or were deleted. Where it is stands in the outbox, written in the transaction of what it found.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.capture.context import Origin
from kiva_relay.clock import Clock
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import scan, watermark
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

    @property
    def is_leaving(self) -> bool:
        """Are these keys that were known in scope and not met?"""
        return self.mark.scan == "leaving"

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


class Scanner:
    """The scans of one MIS. Holds what sweeps found until the next poll has shown whether it was missed."""

    def __init__(self, outbox: Outbox, mis: Mis, *, clock: Clock) -> None:
        self._outbox, self._mis, self._clock = outbox, mis, clock
        self._suspects: dict[str, set[str]] = {}

    def next(self, document: Document, mark: Watermark, *, limit: int) -> ScanStep:
        """The next page of the scan that is under way, of at most `limit` keys.

        Raises:
            Unreachable: the MIS is away.
        """
        progress = self._progress(document, mark)
        if mark.scan == "leaving":
            with self._outbox.read() as tx:
                keys = watermark.not_scanned(tx, mark, limit=limit)
        else:
            keys = self._mis.scan(document.stream, after=mark.scan_after, limit=limit)
        return ScanStep(mark, tuple(keys), progress)

    def found(self, step: ScanStep, surprises: tuple[str, ...]) -> None:
        """A page was written, and these keys were not as they were known."""
        stream = step.mark.stream
        if step.is_leaving:
            meter.sweep_found.labels(stream=stream, what="gone").inc(len(surprises))
        elif step.progress.kind == "sweep":
            self._suspects.setdefault(stream, set()).update(surprises)

    def count_missed(self, cycle: Cycle) -> None:
        """Of what the sweep found since the last poll: what this poll does not find either was truly missed.

        A change of the last moments is no miss: the sweep only saw it a little earlier.
        """
        for name in cycle.next:
            missed = self._suspects.pop(name, set()).difference(cycle.keys.get(name, ()))
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
