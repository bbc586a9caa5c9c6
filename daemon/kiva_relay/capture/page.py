"""A page of keys: read in one snapshot, decided key by key, and put down in one transaction.

What is new is decided by content: a hash over everything the mapper was given.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.capture import fit, owed, vanished
from kiva_relay.capture.scan import Also
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, meta, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content

SIZE = 200
"""Keys of one page."""


@dataclass(frozen=True)
class KeyPage:
    """Keys of one stream to look at, and why: poll, backfill, sweep or report."""

    document: Document
    keys: tuple[str, ...]
    origin: str


class PageCapture:
    """Puts pages of one MIS down in an outbox. `at` names the step boundaries; `aliases` are those of `owing.Look`."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        settings: config.Settings,
        clock: Clock,
        mis: Mis,
        fits: fit.Fit,
        aliases: Mapping[str, str],
        at: Callable[[str], None],
    ) -> None:
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._fit, self._aliases, self._at = fits, aliases, at
        self._zone = ZoneInfo(settings.mis.timezone)
        self._first_start: datetime | None = None
        self._lists: tuple[dict[str, str], lookup.Lists] | None = None

    def put_down(
        self,
        page: KeyPage,
        report: window.RepaymentReport,
        *,
        read: list[Content] | None = None,
        also: Also = lambda _tx, _changed: None,
    ) -> int:
        """Read a page in one snapshot, if it was not; put down in one transaction what is owed and `also`."""
        now = self._clock.now()
        stream = page.document.stream
        contents = read or []
        if read is None and page.keys:
            contents = self._mis.read(stream, page.keys, cutoff=report.cutoff)
        if contents:
            self._fit.confirm(page.document)
        self._at("read")
        with self._outbox.begin() as tx:
            known = watermark.captured(tx, stream.name, page.keys)
            look = self._look(tx, page, report, now)
            changed = [each for each in contents if self._one(tx, look, each, known.get(each.key))]
            if page.origin != "backfill":  # old rows may never have had what is usual now
                there = [each for each in changed if each.in_scope]
                new, old = [x for x in there if x.key not in known], [x for x in there if x.key in known]
                vanished.note(tx, page.document, new=new, changed=old, now=now)
            # What was to be looked at again is no surprise.
            also(tx, [each.key for each in changed if each.key not in known or not known[each.key].again])
        self._at("captured")
        meter.changes_captured.labels(stream=stream.name).inc(len(changed))
        return len(changed)

    def _look(
        self, tx: Connection, page: KeyPage, report: window.RepaymentReport, now: datetime
    ) -> owed.CaptureContext:
        versions = catalogue.versions(tx)
        if self._lists is None or self._lists[0] != versions:
            self._lists = (versions, lookup.Lists.of(catalogue.load(tx)))
        scans = page.origin in ("backfill", "sweep", "leaving")
        if self._first_start is None:
            self._first_start = meta.FIRST_START.get(tx) or now
        return owed.CaptureContext(
            document=page.document,
            settings=self._settings,
            origin=page.origin,
            now=now,
            today=now.astimezone(self._zone).date(),
            report=report,
            scan_number=watermark.watermarks(tx)[page.document.name].scan_number if scans else None,
            lists=self._lists[1],
            first_start=self._first_start,
            aliases=self._aliases,
        )

    def _one(self, tx: Connection, look: owed.CaptureContext, content: Content, seen: Captured | None) -> bool:
        """One key: whether it was new or different."""
        in_scope = content.root is not None and content.in_scope
        if not in_scope:
            if seen is not None and seen.in_scope:
                owed.leave(tx, look, seen, gone=content.root is None)
                return True
            return False
        digest = _digest(content, look)
        scanned = seen.scan_number if seen is not None and look.scan_number is None else look.scan_number or 0
        unchanged = seen is not None and seen.in_scope and seen.hash == digest and not seen.again
        if unchanged and seen is not None and not self._to_map_again(look, seen):
            if seen.scan_number != scanned:
                watermark.keep(tx, dataclasses.replace(seen, scan_number=scanned))
            return False
        owed.enqueue(tx, look, content, seen, digest=digest, scan_number=scanned)
        return not unchanged

    @staticmethod
    def _to_map_again(look: owed.CaptureContext, seen: Captured) -> bool:
        """What was refused may be good now (lists and clocks change too); a backfill may reach further back."""
        return (look.scan_number is not None and seen.refused) or (look.origin == "backfill" and seen.baselined)


def of(document: Document, keys: Sequence[str], origin: str) -> Iterator[KeyPage]:
    """Keys in pages, in their order."""
    for start in range(0, len(keys), SIZE):
        yield KeyPage(document, tuple(keys[start : start + SIZE]), origin)


def _digest(content: Content, look: owed.CaptureContext) -> str:
    """A fingerprint of everything the mapper is given. The cut-off counts only where the mapping reads it."""
    document = look.document
    cutoff = look.report.cutoff if document.stream.uses_cutoff else None
    photos = mapper.photos(document, content, context=look.context)
    given = [document.fingerprint, cutoff, content.root, content.related, photos]
    return hashlib.sha256(
        orjson.dumps(given, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    ).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value)
