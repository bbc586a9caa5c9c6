"""A page of keys: read in one snapshot, decided key by key, written in one transaction.

What is new is decided by content: a hash over everything the mapper was given.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.capture import enqueue, facts, fit, many_left, owed, scan, vanished
from kiva_relay.capture.context import SCANS, CaptureContext, Origin
from kiva_relay.capture.owed import KeyDecision, MappedKey
from kiva_relay.capture.scan import ScanStep
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, decision, meta, watermark
from kiva_relay.outbox import report as reports
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Captured, Watermark
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.source.reader import Content

SIZE = 200
"""Keys of one page."""

SIZE_WITH_PHOTOS = 10
"""Of one whose rows bring photos: they are held whole while the page is mapped, and a camera's is of megabytes."""

_MADE_SO = "2:"
"""What digests begin with that were made of the columns that are read. Before, they were made of whole rows."""


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

    `wrote` is called after each page that brought what may have to be sent. `aliases` are ids that were typed by hand
    at Kiva, and the MIS's own id of the same loan.
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
        earliest: Callable[[], datetime] | None = None,
        met: Callable[[str, Collection[str]], None] = lambda _stream, _keys: None,
        wrote: Callable[[], None] = lambda: None,
    ) -> None:
        self._met, self._wrote = met, wrote
        self._earliest = earliest or clock.now
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
        self._met(page.document.name, page.keys)
        contents = read or []
        if read is None and page.keys:
            contents = self._mis.read(page.document.stream, page.keys, cutoff=report.cutoff)
        if contents:
            self._fit.confirm(page.document)
            self._fit.saw(page.document, contents)
        by_the_calendar = self._differs_by_the_calendar(page, report, contents)
        self._at("read")
        with self._outbox.begin() as tx:
            now = self._clock.now()  # in here: a clock that is set moves along what was written, no more
            look = self._look(tx, page, report, now)
            result = self._write(tx, look, page, contents, by_the_calendar=by_the_calendar)
            match then:
                case WatermarkMove():
                    watermark.advance(tx, then.mark, then.w, mode=then.mode, now=now)
                case ScanStep():
                    scan.advance(tx, then, surprises=len(result.surprises), now=now)
                    if then.is_over:
                        many_left.met_again(tx, page.document.name, now=now)
        self._at("captured")
        if result.changed:
            self._wrote()
        meter.changes_captured.labels(stream=page.document.name).inc(result.changed)
        return result

    def _differs_by_the_calendar(
        self, page: KeyPage, report: window.RepaymentReport, contents: Sequence[Content]
    ) -> set[str]:
        """The keys whose rows are as they were known; only the day up to which they are read is another one.

        They are read once more, up to the day of then: without that, the first sweep after the cut-off moved would
        count every repayment since as a change that polling had missed.
        """
        stream = page.document.stream
        if page.origin != "sweep" or not stream.uses_cutoff or not contents:
            return set()
        with self._outbox.read() as tx:
            look = self._look(tx, page, report, self._clock.now())
            known = watermark.captured(tx, stream.name, page.keys)
        of_then: dict[str, list[str]] = defaultdict(list)
        for content in contents:
            seen = known.get(content.key)
            if seen is None or _is_older(seen) or seen.cutoff in (None, look.cutoff):
                continue
            if _digest(content, look) != seen.hash:
                of_then[str(seen.cutoff)].append(content.key)
        return {
            content.key
            for cutoff, keys in of_then.items()
            for content in self._mis.read(stream, keys, cutoff=date.fromisoformat(cutoff))
            if _digest(content, look) == known[content.key].hash
        }

    def _write(
        self,
        tx: Connection,
        look: CaptureContext,
        page: KeyPage,
        contents: Sequence[Content],
        *,
        by_the_calendar: Collection[str],
    ) -> PageResult:
        known = watermark.captured(tx, page.document.name, page.keys)
        changed: list[Content] = []
        unseen = many_left.of(tx, look, contents, known)
        for key in unseen:
            watermark.keep(tx, owed.unseen(look, known[key]))
        for content in contents:
            if content.key in unseen:
                continue
            decided = decide(tx, look, content, known.get(content.key))
            if decided is None:
                continue
            enqueue.write(tx, look, decided)
            if decided.changed and not _is_older(known.get(content.key)):
                changed.append(content)
        if look.scan_number is not None and page.origin != "leaving":
            vanished.learn(tx, page.document, contents, scan=look.scan_number, is_complete=not page.keys)
        if page.origin != "backfill":  # old rows may never have had what is usual now
            vanished.note(tx, page.document, changed, known=known.keys(), now=look.now)
        surprising = [content.key for content in changed if content.key not in by_the_calendar]
        return PageResult(len(changed), surprises(surprising, known))

    def _look(self, tx: Connection, page: KeyPage, report: window.RepaymentReport, now: datetime) -> CaptureContext:
        versions = catalogue.versions(tx)
        if self._lists is None or self._lists[0] != versions:
            self._lists = (versions, lookup.Lists.of(catalogue.load(tx)))
        if self._first_start is None:
            self._first_start = meta.FIRST_START.get(tx) or now
        name, positions = page.document.name, page.document.resource == "repayment"
        return CaptureContext(
            document=page.document,
            settings=self._settings,
            origin=page.origin,
            now=now,
            today=self._earliest().astimezone(self._zone).date(),
            report=report,
            scan_number=watermark.watermarks(tx)[name].scan_number if page.origin in SCANS else None,
            lists=self._lists[1],
            first_start=self._first_start,
            aliases={**self._aliases, **decision.aliases(tx)},
            decisions=decision.in_force(tx, report.period) if positions else {},
            takes_late=positions and not report.is_open and _takes_late(tx, report.period),
            streams=self._fit.names,
        )


def _takes_late(tx: Connection, period: str) -> bool:
    """Is the report of a period closed, and not finalised?"""
    found = reports.of(tx, period)
    return found is not None and found.takes_late


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


def of(document: Document, keys: Sequence[str], origin: Origin, *, size: int = SIZE) -> Iterator[KeyPage]:
    """Keys in pages, in their order."""
    for start in range(0, len(keys), size):
        yield KeyPage(document, tuple(keys[start : start + size]), origin)


def _digest(content: Content, look: CaptureContext) -> str:
    """A fingerprint of the rows that the mapper is given. It is free of the day: else it were none of the rows."""
    document = look.document
    photos = mapper.photos(document, content, context=look.context)
    given = [document.fingerprint, content.root, content.related, photos]
    written = orjson.dumps(given, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return _MADE_SO + hashlib.sha256(written).hexdigest()


def has_changed(look: CaptureContext, content: Content, seen: Captured) -> bool:
    """Is a row another than it was captured as? No where nobody can tell: digests were made of whole rows before."""
    return not _is_older(seen) and _digest(content, look) != seen.hash


def _is_older(seen: Captured | None) -> bool:
    """Was the digest of a key made of other columns than ours are, so that it says nothing about a change?"""
    return seen is not None and bool(seen.hash) and not seen.hash.startswith(_MADE_SO)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value)
