"""Backfill and sweep: every key of a stream, a page at a time, through the same reader as everything else.

A scan goes through the keys in scope in their order, then through those that were known in scope and were not met: they
left it, or were deleted. Where it stands is in the outbox, in the transaction of what it found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.clock import Clock
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import scan, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle

Also = Callable[[Connection, Sequence[str]], None]
"""What to put down in the transaction of a page, told the keys that were not as they were known."""

_log = log.get("capture")


class Read(Protocol):
    """Reads a page of keys into the outbox; how many were new or different."""

    def __call__(self, keys: Sequence[str], origin: str, also: Also) -> int:
        """Read them."""
        ...


class Scanner:
    """The scans of one MIS. Holds what sweeps found until the next poll has shown whether it was missed."""

    def __init__(self, outbox: Outbox, mis: Mis, *, clock: Clock) -> None:
        self._outbox, self._mis, self._clock = outbox, mis, clock
        self._suspects: dict[str, set[str]] = {}

    def page(self, document: Document, mark: Watermark, *, limit: int, read: Read) -> int:
        """One page of a scan; how many of its keys were new or different."""
        leaving = mark.scan == "leaving"
        progress = self._progress(document, mark)
        if leaving:
            with self._outbox.read() as tx:
                keys = watermark.not_scanned(tx, mark, limit=limit)
        else:
            keys = self._mis.scan(document.stream, after=mark.scan_after, limit=limit)

        different: list[str] = []

        def also(tx: Connection, changed: Sequence[str]) -> None:
            now = self._clock.now()
            if keys:
                watermark.scanned(tx, mark, keys[-1], now=now)
            elif leaving:
                watermark.end_scan(tx, mark, now=now)
            else:
                watermark.start_leaving(tx, mark)
            found = dataclasses.replace(progress, found=progress.found + len(changed), at=now)
            if leaving:
                scan.keep(tx, document.name, dataclasses.replace(found, gone=found.gone + len(changed)))
            else:
                scan.keep(tx, document.name, dataclasses.replace(found, done=found.done + len(keys)))
            different[:] = changed

        new = read(keys, mark.scan or "sweep", also)
        if leaving:
            meter.sweep_found.labels(stream=document.name, what="gone").inc(len(different))
        elif progress.kind == "sweep":
            self._suspects.setdefault(document.name, set()).update(different)
        return new

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
