"""From the MIS to the outbox: keys become content, content becomes what is owed, all in one transaction a page.

Polling, sweep, backfill and "look again" only yield keys. One loop turns keys into content, a page at a time, in a
snapshot that is opened after the previous page was committed: snapshot order is commit order, so an old read can
never overtake a newer one. What is new is decided by content: a hash over everything the mapper was given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy.engine import Connection

from kiva_relay import errors, fit, follow, log, meter, owing, revision, vanished
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup, mapper
from kiva_relay.mapping.document import Mapping as Document
from kiva_relay.outbox import binding, catalogue, hold, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Captured, Watermark
from kiva_relay.resource import window
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle
from kiva_relay.source.reader import Content
from kiva_relay.walking import Also, Walking

PAGE = 200
_PAGES_A_CYCLE = 5
_VANISHED = 2
"""So many rows gone from a table's end look like a backup; one is somebody's correction."""

_log = log.get("intake")


@dataclass(frozen=True)
class Page:
    """Keys of one stream to look at, and why: poll, backfill, sweep or report."""

    document: Document
    keys: tuple[str, ...]
    origin: str


class Intake:
    """Reads one MIS through the mappings in force. Used by one thread; `at` names the step boundaries."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        settings: config.Settings,
        clock: Clock,
        mis: Mis,
        documents: Sequence[Document],
        stop: threading.Event,
        at: Callable[[str], None] = lambda _name: None,
        following: follow.Follow | None = None,
    ) -> None:
        self._following = following
        self._cannot_move: frozenset[str] = frozenset()
        self._first_start: datetime | None = None
        self._lists: tuple[dict[str, str], lookup.Lists] | None = None
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._documents = {document.name: document for document in documents}
        self._stop, self._at = stop, at
        self._aliases = lookup.loan_ids(settings.mapping_folders)
        self._revised: set[str] = set()
        self._bound = False
        self._look_at_keys: set[str] = set()
        self._fit = fit.Fit(documents, mis, clock=clock)
        self._busy_at_start = 0.0
        self._walking = Walking(outbox, mis, clock=clock)
        self.regimes: dict[str, str] = {}
        self.horizon_age = timedelta(0)
        self.pinned_by = ""
        self.waits = False
        self._zone = ZoneInfo(settings.mis.timezone)

    def cycle(self) -> int:
        """Look once at everything that may have changed; how many keys were new or different.

        Raises:
            Unreachable: the MIS is away; nothing was lost, W did not move.
            OutboxRefused: this is not the MIS that the outbox belongs to.
        """
        self._bind()
        report = self.report()
        self._turn(report)
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx)
        self._busy_at_start = self._mis.busy_seconds
        streams = [document.stream for document in self._fit.those_that_fit()]
        try:
            followed = self._following.look(streams, marks) if self._following else {}
            cycle = self._mis.changes(streams, {name: mark.w for name, mark in marks.items()}, followed=followed)
        except errors.WentBack:
            self._bound = False
            self._bind(went_back=True)
            return 0
        for name, error in cycle.failed.items():
            self._fit.stop(name, error)
        if self._rows_vanished({name for name in cycle.next if name in self._look_at_keys or cycle.keys.get(name)}):
            return 0
        self.regimes, self.horizon_age, self.pinned_by = dict(cycle.regime), cycle.horizon_age, cycle.pinned_by
        if self._following:
            cycle, self._cannot_move = self._following.bar(cycle, followed)
        self._walking.count_missed(cycle)
        captured = self._poll(marks, cycle, report)
        self._mis.processed(cycle)
        captured += self._settled()
        for name in [name for name in cycle.next if name not in self._fit.stopped]:
            with self._apart(name):
                captured += self._look_again(self._documents[name], report)
                captured += self._walk(self._documents[name], report)
        return captured

    def follow(self) -> int:
        """Put down what the MIS's stream brought; how many keys were new or different.

        What no snapshot sees yet stays where it is, and `waits` says so.

        Raises:
            Unreachable: the MIS is away; nothing was lost, nothing was confirmed to it.
        """
        self.waits = False
        if self._following is None or not self.regimes or self._following.pause():
            return 0
        busy = self._mis.busy_seconds
        documents = {name: one for name, one in self._documents.items() if name not in self._fit.stopped}
        report = self.report()
        streams = [document.stream for document in documents.values()]
        routed = self._following.take(streams, cutoff=report.cutoff, most=PAGE)
        if routed is None:
            return 0
        for name, error in routed.failed.items():
            self._fit.stop(name, error)
        self.waits = bool(routed.waiting)
        if routed.shrunk and self._rows_vanished(routed.shrunk):
            return 0
        captured = 0
        for name, keys in routed.keys.items():
            with self._apart(name):
                read: list[Content] | None = routed.contents[name]
                for page in _pages(documents[name], [*keys], "poll"):
                    captured += self._page(page, report, read=read)
                    read = None
        self._following.taken(routed, missed=self._fit.stopped)
        self._following.spent(self._mis.busy_seconds - busy)
        return captured

    def _settled(self) -> int:
        """What came while the cycle went on; and how far it came is written down."""
        captured = self.follow()
        if self._following:
            self._following.settle()
        return captured

    @property
    def stopped(self) -> dict[str, str]:
        """Mappings that stand still because they do not fit the MIS as it is, and why."""
        return dict(self._fit.stopped)

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """What fails in here is the matter of one stream: it stands still, the others go on."""
        try:
            yield
        except (errors.Unreachable, errors.WentBack, errors.OutboxRefused, errors.Stolen):
            raise
        except errors.RelayError as error:
            self._fit.stop(name, error)

    def walking(self) -> bool:
        """Is a backfill or a sweep under way, so that the next cycle should follow at once?"""
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx)
            return any(mark.walk for name, mark in marks.items() if name in self.regimes and name not in self.stopped)

    def sweep(self) -> None:
        """Begin a sweep of every stream that has no walk under way."""
        with self._outbox.begin() as tx:
            for name, mark in watermark.watermarks(tx).items():
                if mark.walk is None and name in self._documents:
                    watermark.start_walk(tx, name, "sweep", now=self._clock.now())

    def report(self) -> window.Report:
        """The repayment report of this moment."""
        return window.report(self._settings, self._clock.now())

    def _bind(self, *, went_back: bool = False) -> None:
        """Once a process: is this the MIS that the outbox belongs to? And make new streams known."""
        if self._bound:
            return
        identity = self._mis.identity()
        with self._outbox.begin() as tx:
            binding.bind_mis(tx, identity, self._settings)
            if binding.get(tx, "first_start") is None:
                binding.put(tx, "first_start", self._clock.now().isoformat())
            known = watermark.watermarks(tx)
            for name in self._documents:
                if name not in known:
                    watermark.begin(tx, name)
            for document in self._documents.values():
                if revision.notice(tx, document, now=self._clock.now()):
                    self._revised.add(document.name)
            self._notice_aliases(tx)
            for name, mark in known.items():
                if name in self._documents and mark.w is not None and (went_back or self._mis.went_back(mark.w)):
                    self._begin_again(tx, name)
        self._bound = True
        self._look_at_keys = set(self._documents)

    def _rows_vanished(self, names: Collection[str]) -> bool:
        """Is a table shorter than what was read of it? A backup that was put back into the same database looks so.

        Looked at when something changed, before that is put down: so no number is given twice unseen.
        """
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx)
        for name in [name for name in self._documents if name in names]:
            document, mark = self._documents[name], marks[name]
            if document.resource == "journal" or mark.walk is not None or mark.w is None:
                continue
            self._look_at_keys.discard(name)
            highest = None
            with self._apart(name):
                highest = self._mis.highest(document.stream)
            if highest is None:
                continue
            with self._outbox.read() as tx:
                above = watermark.keys_above(tx, name, highest)
            if len(above) >= _VANISHED:
                with self._outbox.begin() as tx:
                    self._begin_again(tx, name, highest=highest, was=max(map(int, above)))
                return True
        return False

    def _begin_again(self, tx: Connection, stream: str, **more: int) -> None:
        """The MIS is older than what was read of it: read all of it anew, and let nothing go before a person looked."""
        now = self._clock.now()
        watermark.begin_again(tx, stream, now=now)
        if hold.put(tx, hold.ALL, "mis_went_back", now=now, params={"stream": stream, **more}):
            _log.error("The MIS looks older than it was; it is read anew, and nothing is sent", stream=stream)

    def _notice_aliases(self, tx: Connection) -> None:
        """Loans whose ids at Kiva were written down anew are looked at again."""
        stored = orjson.loads(binding.get(tx, "loan ids") or "{}")
        if stored != self._aliases:
            binding.put(tx, "loan ids", orjson.dumps(self._aliases).decode())
            changed = {pair[1] for pair in stored.items() ^ self._aliases.items()}
            for resource in RESOURCES:
                watermark.read_identities_again(tx, resource, changed)

    def _turn(self, report: window.Report) -> None:
        """What follows from the calendar and from Kiva's lists, not from rows."""
        with self._outbox.begin() as tx:
            owing.turn(tx, report, now=self._clock.now(), aliases=self._aliases)

    def _poll(self, marks: Mapping[str, Watermark], cycle: Cycle, report: window.Report) -> int:
        """Everything that changed, stream by stream; the last page of each moves its W with its entries."""
        captured = 0
        quiet = [name for name in cycle.next if not cycle.keys.get(name)]
        with self._outbox.begin() as tx:
            for name in quiet:
                self._advance(tx, (), marks[name], cycle)
        for name in cycle.next:
            if name in quiet or name in self._fit.stopped:
                continue
            with self._apart(name):
                *pages, last = _pages(self._documents[name], cycle.keys[name], "poll")
                captured += sum(self._page(page, report) for page in pages)
                captured += self._page(last, report, also=partial(self._advance, mark=marks[name], cycle=cycle))
        return captured

    def _advance(self, tx: Connection, _changed: Sequence[str], mark: Watermark, cycle: Cycle) -> None:
        if mark.stream in self._cannot_move:
            return
        regime, w = cycle.regime[mark.stream], cycle.next[mark.stream]
        watermark.advance(tx, mark, w, regime=regime, now=self._clock.now())

    def _look_again(self, document: Document, report: window.Report) -> int:
        """Keys whose answer may differ although no row of theirs changed."""
        with self._outbox.read() as tx:
            keys = watermark.to_read_again(tx, document.name, limit=PAGE * _PAGES_A_CYCLE)
        origin = "report" if document.resource == "repayment" else "poll"
        captured = sum(self._page(page, report) for page in _pages(document, keys, origin))
        if document.name in self._revised:
            with self._outbox.begin() as tx:
                if revision.finish(tx, document, now=self._clock.now()):
                    self._revised.discard(document.name)
        return captured

    def _walk(self, document: Document, report: window.Report) -> int:
        """Some pages of the backfill or sweep: first every key in scope, then those that were believed in scope."""
        captured = 0
        for _ in range(_PAGES_A_CYCLE):
            with self._outbox.read() as tx:
                mark = watermark.watermarks(tx)[document.name]
            if mark.walk is None or self._stop.is_set():
                break

            def read(keys: Sequence[str], origin: str, also: Also) -> int:
                return self._page(Page(document, tuple(keys), origin), report, also=also)

            captured += self._walking.page(document, mark, limit=PAGE, read=read) + self.follow()
            if self._mis.busy_seconds - self._busy_at_start > self._share:
                break
        return captured

    @property
    def _share(self) -> float:
        """Seconds of the MIS that a cycle may take for walks, so that the next poll is not late."""
        mis = self._settings.mis
        return mis.poll_every.total_seconds() * float(mis.max_load) / 100

    def _page(
        self,
        page: Page,
        report: window.Report,
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

    def _look(self, tx: Connection, page: Page, report: window.Report, now: datetime) -> owing.Look:
        versions = catalogue.versions(tx)
        if self._lists is None or self._lists[0] != versions:
            self._lists = (versions, lookup.Lists.of(catalogue.load(tx)))
        walks = page.origin in ("backfill", "sweep", "leaving")
        if self._first_start is None:
            self._first_start = datetime.fromisoformat(binding.get(tx, "first_start") or now.isoformat())
        return owing.Look(
            document=page.document,
            settings=self._settings,
            origin=page.origin,
            now=now,
            today=now.astimezone(self._zone).date(),
            report=report,
            walk_number=watermark.watermarks(tx)[page.document.name].walk_number if walks else None,
            lists=self._lists[1],
            first_start=self._first_start,
            aliases=self._aliases,
        )

    def _one(self, tx: Connection, look: owing.Look, content: Content, seen: Captured | None) -> bool:
        """One key: whether it was new or different."""
        in_scope = content.root is not None and content.in_scope
        if not in_scope:
            if seen is not None and seen.in_scope:
                owing.leave(tx, look, seen, gone=content.root is None)
                return True
            return False
        digest = _digest(content, look)
        walked = seen.walk_number if seen is not None and look.walk_number is None else look.walk_number or 0
        unchanged = seen is not None and seen.in_scope and seen.hash == digest and not seen.again
        if unchanged and seen is not None and not self._to_map_again(look, seen):
            if seen.walk_number != walked:
                watermark.keep(tx, dataclasses.replace(seen, walk_number=walked))
            return False
        owing.put_down(tx, look, content, seen, digest=digest, walk_number=walked)
        return not unchanged

    @staticmethod
    def _to_map_again(look: owing.Look, seen: Captured) -> bool:
        """What was refused may be good now (lists and clocks change too); a backfill may reach further back."""
        return (look.walk_number is not None and seen.refused) or (look.origin == "backfill" and seen.baselined)


def _pages(document: Document, keys: Sequence[str], origin: str) -> Iterator[Page]:
    for start in range(0, len(keys), PAGE):
        yield Page(document, tuple(keys[start : start + PAGE]), origin)


def _digest(content: Content, look: owing.Look) -> str:
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
