"""A page of keys: read in one snapshot, decided key by key, written in one transaction.

What is new is decided by content: a hash over everything the mapper was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.capture import enqueue, facts, fit, owed, scan, vanished
from kiva_relay.capture.context import SCANS, CaptureContext, Origin
from kiva_relay.capture.owed import KeyDecision, MappedKey
from kiva_relay.capture.scan import ScanStep
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, meta, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Captured, Watermark
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content

SIZE = 200
"""Keys of one page."""


@dataclass(frozen=True)
class KeyPage:
    """Keys of one stream to look at, at most `SIZE`, and why."""

    document: Document
    keys: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True)
class WatermarkMove:
    """How far a stream was read, once a page is written: W moves from where `mark` saw it to `w`, found by `mode`."""

    mark: Watermark
    w: str
    mode: str


@dataclass(frozen=True)
class PageResult:
    """What a page brought.

    `changed` is how many keys were new or different. `surprises` are those of them that nobody had asked to look at
    again.
    """

    changed: int
    surprises: tuple[str, ...]


class PageCapture:
    """Carries pages of one MIS into an outbox. `at` is called with the name of each step boundary.

    `aliases` are ids that were typed by hand at Kiva, and the MIS's own id of the same loan.
    """

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
        at_kiva: Callable[[], datetime] | None = None,
    ) -> None:
        self._at_kiva = at_kiva or clock.now
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._fit, self._aliases, self._at = fits, aliases, at
        self._zone = ZoneInfo(settings.mis.timezone)
        self._first_start: datetime | None = None
        self._lists: tuple[dict[str, str], lookup.Lists] | None = None

    def capture(
        self,
        page: KeyPage,
        report: window.RepaymentReport,
        *,
        read: list[Content] | None = None,
        then: WatermarkMove | ScanStep | None = None,
    ) -> PageResult:
        """Read a page in one snapshot; write in one transaction what is owed, and how far its stream was read.

        Args:
            page: the keys. Without any, only `then` is written.
            report: the repayment report of this moment.
            read: the content of the keys, where it was read already.
            then: what moves with the page: W after the last page of a poll, or a scan.

        Raises:
            Unreachable: the MIS is away; nothing was written.
            DoesNotFit: the columns of the MIS are not what the mapping was made for; nothing was written.
            Overtaken: somebody else moved what the page moves; nothing was written.
        """
        now = self._clock.now()
        contents = read or []
        if read is None and page.keys:
            contents = self._mis.read(page.document.stream, page.keys, cutoff=report.cutoff)
        if contents:
            self._fit.confirm(page.document)
        self._at("read")
        with self._outbox.begin() as tx:
            result = self._write(tx, self._look(tx, page, report, now), page, contents)
            match then:
                case WatermarkMove():
                    watermark.advance(tx, then.mark, then.w, mode=then.mode, now=now)
                case ScanStep():
                    scan.advance(tx, then, surprises=len(result.surprises), now=now)
        self._at("captured")
        meter.changes_captured.labels(stream=page.document.name).inc(result.changed)
        return result

    def _write(self, tx: Connection, look: CaptureContext, page: KeyPage, contents: Sequence[Content]) -> PageResult:
        known = watermark.captured(tx, page.document.name, page.keys)
        changed: list[Content] = []
        for content in contents:
            decision = decide(tx, look, content, known.get(content.key))
            if decision is None:
                continue
            enqueue.write(tx, look, decision)
            if decision.changed:
                changed.append(content)
        if page.origin != "backfill":  # old rows may never have had what is usual now
            vanished.note(tx, page.document, changed, known=known.keys(), now=look.now)
        return PageResult(len(changed), surprises([content.key for content in changed], known))

    def _look(self, tx: Connection, page: KeyPage, report: window.RepaymentReport, now: datetime) -> CaptureContext:
        versions = catalogue.versions(tx)
        if self._lists is None or self._lists[0] != versions:
            self._lists = (versions, lookup.Lists.of(catalogue.load(tx)))
        if self._first_start is None:
            self._first_start = meta.FIRST_START.get(tx) or now
        name = page.document.name
        return CaptureContext(
            document=page.document,
            settings=self._settings,
            origin=page.origin,
            now=now,
            today=self._at_kiva().astimezone(self._zone).date(),
            report=report,
            scan_number=watermark.watermarks(tx)[name].scan_number if page.origin in SCANS else None,
            lists=self._lists[1],
            first_start=self._first_start,
            aliases=self._aliases,
        )


def decide(tx: Connection, look: CaptureContext, content: Content, seen: Captured | None) -> KeyDecision | None:
    """What has to be written for one key; None when nothing has. Reads the outbox, writes nothing."""
    if not owed.is_in_scope(content):
        return owed.left(look, content, seen)
    digest = _digest(content, look)
    if seen is not None and not owed.must_be_mapped(look, seen, digest):
        return owed.met(look, seen)
    mapped = mapper.apply(look.document, content, context=look.context)
    row = MappedKey(content.key, seen, mapped, digest)
    return owed.decide(look, row, facts.read(tx, look, row))


def surprises(changed: Sequence[str], known: Mapping[str, Captured]) -> tuple[str, ...]:
    """Those of the changed keys that no poll had shown: what was to be looked at again is none."""
    return tuple(key for key in changed if key not in known or not known[key].again)


def of(document: Document, keys: Sequence[str], origin: Origin) -> Iterator[KeyPage]:
    """Keys in pages, in their order."""
    for start in range(0, len(keys), SIZE):
        yield KeyPage(document, tuple(keys[start : start + SIZE]), origin)


def _digest(content: Content, look: CaptureContext) -> str:
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
