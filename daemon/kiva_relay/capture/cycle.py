"""From the MIS to the outbox: which keys to look at, in which order, and how far each stream was read.

Polling, the stream, sweep, backfill and "look again" only yield keys. One loop turns keys into content, a page at a
time, in a snapshot that is opened after the previous page was committed: snapshot order is commit order, so an old
read can never overtake a newer one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from kiva_relay import errors, log
from kiva_relay.capture import continuity, expected, fit, follow, many_left, page, revision
from kiva_relay.capture.context import Origin
from kiva_relay.capture.page import KeyPage, WatermarkMove
from kiva_relay.capture.scan import Scanner
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import decision, meta, turn, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.report import current
from kiva_relay.resource import window
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle
from kiva_relay.source.reader import Content

_PAGES_A_CYCLE = 5
_FIRST_AGAIN = 0.01
_LAST_AGAIN = 1.0
"""Seconds until a transaction that is committed and cannot be seen yet is asked for again: mostly it is a moment, but
a standby that is awaited may be away for long."""

_log = log.get("capture")


class Capture:
    """Reads one MIS through the mappings in force. Used by one thread; `at` is called with each step boundary's name.

    What the last cycle found:

    Attributes:
        modes: by stream, the capture mode by which its changes are found (`source.position.CaptureMode`).
        horizon_age: for how long the oldest transaction of the MIS has kept W where it is.
        pinned_by: whose transaction that is; "" when nobody knows.
        waits: the stream brought something that no snapshot sees yet.
    """

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
        following: follow.StreamFollower | None = None,
        aliases: Mapping[str, str] | None = None,
        at_kiva: Callable[[], datetime] | None = None,
        earliest: Callable[[], datetime] | None = None,
        wrote: Callable[[], None] = lambda: None,
    ) -> None:
        self._at_kiva = at_kiva or clock.now
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._documents = {document.name: document for document in documents}
        self._stop, self._following = stop, following
        self._aliases = lookup.loan_ids(settings.mapping_folders) if aliases is None else dict(aliases)
        self._revised: set[str] = set()
        self._is_bound = False
        self._busy_at_start = 0.0
        self._fit = fit.Fit(documents, mis, clock=clock)
        self._scanning = Scanner(outbox, mis, clock=clock)
        self._continuity = continuity.Continuity(
            outbox=outbox, settings=settings, clock=clock, mis=mis, documents=documents
        )
        self._pages = page.PageCapture(
            outbox=outbox,
            settings=settings,
            clock=clock,
            mis=mis,
            fits=self._fit,
            aliases=self._aliases,
            at=at,
            earliest=earliest or self._at_kiva,
            met=self._continuity.met,
            wrote=wrote,
        )
        self.modes: dict[str, str] = {}
        self.horizon_age = timedelta(0)
        self.pinned_by = ""
        self._in_vain = 0
        self._is_calm = False
        """The last cycle left nothing that the next one has to go on with."""

    # ---------------------------------------------------------------- what the service asks

    @property
    def stopped(self) -> dict[str, str]:
        """Mappings that are not read because they do not fit the MIS as it is, by name; and why."""
        return dict(self._fit.stopped)

    @property
    def waits(self) -> bool:
        """See the class."""
        return self._in_vain > 0

    def follows_in(self) -> float | None:
        """Seconds until `follow` has something to do; None: only when something comes."""
        if self._following is None or not self.modes or not (self.waits or self._following.has_news):
            return None
        again = 0.0 if self._following.has_news else min(_FIRST_AGAIN * 2 ** (self._in_vain - 1), _LAST_AGAIN)
        return max(again, self._following.pause())

    def report(self) -> window.RepaymentReport:
        """The repayment report of this moment."""
        with self._outbox.read() as tx:
            return current.due(tx, self._settings, self._at_kiva())

    def scanning(self) -> bool:
        """Is a backfill or a sweep under way, so that the next cycle should follow at once?"""
        if self._is_calm:
            return False
        return any(
            mark.scan for name, mark in self._marks().items() if name in self.modes and name not in self._fit.stopped
        )

    def sweep(self) -> None:
        """Begin a sweep of every stream that has no scan under way."""
        self._is_calm = False
        with self._outbox.begin() as tx:
            for name, mark in watermark.watermarks(tx).items():
                if mark.scan is None and name in self._documents:
                    watermark.start_scan(tx, name, "sweep", now=self._clock.now())

    def cycle(self) -> int:
        """Look once at everything that may have changed; how many keys were new or different.

        Raises:
            Unreachable: the MIS is away; nothing was lost, W did not move.
            OutboxRefused: this is not the MIS that the outbox belongs to.
        """
        self._is_calm = False
        self._bind()
        report, marks, secured = self._begin()
        self._busy_at_start = self._mis.busy_seconds
        streams = [document.stream for document in self._fit.those_that_fit()]
        try:
            with self._mis.together():
                followed = self._following.look(streams, marks) if self._following else {}
                cycle = self._mis.changes(
                    streams, {name: mark.w for name, mark in marks.items()}, followed=followed, secured=secured
                )
        except errors.WentBack:
            self._bind(went_back=True)
            return 0
        for name, error in cycle.failed.items():
            self._fit.stop(name, error)
        if (secured_now := {**secured, **cycle.secured}) != secured:
            with self._outbox.begin() as tx:
                meta.ROW_SECURITY.put(tx, {name: dict(tables) for name, tables in secured_now.items()})
        # Before what changed is written, so that no number is given twice unseen.
        if self._rows_vanished(
            [one for one in cycle.next if cycle.keys.get(one) or not self._continuity.was_compared(one)]
        ):
            return 0
        self.modes, self.horizon_age, self.pinned_by = dict(cycle.mode), cycle.horizon_age, cycle.pinned_by
        pinned: Collection[str] = ()
        if self._following:
            cycle, pinned = self._following.bar(cycle, followed)
        self._continuity.notice_timeline(cycle.timeline)
        self._scanning.count_missed(cycle, followed=followed, pinned=pinned)
        captured = self._poll(marks, cycle, report, pinned=pinned)
        self._mis.processed(cycle, but=self._fit.stopped)
        captured += self.follow()
        if self._following:
            self._following.settle(at_once=False)
        return captured + self._beyond_the_poll(cycle, report)

    def _begin(self) -> tuple[window.RepaymentReport, dict[str, Watermark], Mapping[str, Mapping[str, bool]]]:
        """What becomes owed, or is owed no longer, by the calendar.

        Then: the report, where each stream stands, and which tables row security could hide rows of.
        """
        with self._outbox.begin() as tx:
            report, marks = current.due(tx, self._settings, self._at_kiva()), watermark.watermarks(tx)
            known = meta.known(tx, meta.REPORT, meta.EXPECTED, meta.ALIASES, meta.ROW_SECURITY)
            aliases = {**self._aliases, **decision.aliases(tx)}
            continuity.notice_aliases(tx, aliases, known=known)
            now = self._clock.now()
            expected.turn(tx, report, settings=self._settings, aliases=aliases, now=now, known=known)
        return report, marks, known.of(meta.ROW_SECURITY) or {}

    def _in_turn(self, cycle: Cycle) -> list[str]:
        """The streams of a cycle that can be read, the one that was looked at longest ago first."""
        with self._outbox.read() as tx:
            return turn.order(tx, [name for name in cycle.next if name not in self._fit.stopped])

    def _takes_its_turn(self, name: str) -> None:
        """A stream has something to read; after a restart in the middle of it the next one comes first."""
        with self._outbox.read() as tx:
            was_last = turn.is_last(tx, name)
        if not was_last:
            with self._outbox.begin() as tx:
                turn.take(tx, name)

    def follow(self) -> int:
        """Capture what the MIS's stream brought; how many keys were new or different.

        What no snapshot sees yet stays where it is, and `waits` says so.

        Raises:
            Unreachable: the MIS is away; nothing was lost, nothing was confirmed to it.
        """
        if self._following is None or not self.modes or self._following.pause():
            return 0
        if not self._following.is_followed:
            self._in_vain = 0
            return 0
        busy = self._mis.busy_seconds
        documents = {name: one for name, one in self._documents.items() if name not in self._fit.stopped}
        report = self.report()
        streams = [document.stream for document in documents.values()]
        most = {name: self._size(document) for name, document in documents.items()}
        routed = self._following.take(streams, cutoff=report.cutoff, most=most)
        if routed is None:
            self._in_vain = 0
            return 0
        for name, error in routed.failed.items():
            self._fit.stop(name, error)
        self._in_vain = (1 if routed.done else min(self._in_vain + 1, 10)) if routed.waiting else 0
        if routed.shrunk and self._rows_vanished(routed.shrunk):
            return 0
        captured = 0
        for name, keys in routed.keys.items():
            self._scanning.came(name, keys)
            with self._apart(name):
                read: list[Content] | None = routed.contents[name]
                for each in page.of(documents[name], [*keys], "poll", size=most[name]):
                    captured += self._pages.capture(each, report, read=read).changed
                    read = None
        self._following.taken(routed, missed=self._fit.stopped)
        self._following.spent(self._mis.busy_seconds - busy)
        return captured

    # ---------------------------------------------------------------- is it the same MIS, and the same mappings

    def _bind(self, *, went_back: bool = False) -> None:
        """Once a process, and when the MIS turns out to be older: is this the MIS that the outbox belongs to?"""
        if self._is_bound and not went_back:
            return
        self._is_bound = False
        identity = self._mis.identity()
        with self._outbox.begin() as tx:
            self._continuity.bind(tx, identity)
            for document in self._documents.values():
                if revision.notice(tx, document, now=self._clock.now()):
                    self._revised.add(document.name)
            self._continuity.notice_older(tx, surely=went_back)
        self._is_bound = True

    def _rows_vanished(self, streams: Collection[str]) -> bool:
        """Does a table lack rows at its end that were read? Then its stream has begun again."""
        for document in self._continuity.comparable(streams):
            highest = None
            with self._apart(document.name):
                highest = self._mis.highest(document.stream)
            if self._continuity.rows_are_lost(document, highest):
                return True
        return False

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """What fails in here concerns one stream: it is not read for a while, the others go on."""
        try:
            yield
        except (errors.Unreachable, errors.WentBack, errors.OutboxRefused, errors.Stolen):
            raise
        except errors.RelayError as error:
            self._fit.stop(name, error)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            # A row that nobody thought of costs its mapping, not the relay.
            _log.exception("A page could not be captured; nothing of it was written", stream=name)
            self._fit.stop(
                name, errors.RelayError(f"a row that is not understood ({type(error).__name__}, see the log)")
            )

    def _marks(self) -> dict[str, Watermark]:
        with self._outbox.read() as tx:
            return watermark.watermarks(tx)

    # ---------------------------------------------------------------- what a cycle reads

    def _poll(
        self, marks: Mapping[str, Watermark], cycle: Cycle, report: window.RepaymentReport, *, pinned: Collection[str]
    ) -> int:
        """Everything that changed, stream by stream; the last page of each moves its W, but for `pinned` streams."""
        moves = {
            name: WatermarkMove(marks[name], w, cycle.mode[name])
            for name, w in cycle.next.items()
            if name not in pinned
        }
        changed = [name for name in cycle.next if cycle.keys.get(name)]
        still = [(one.mark, one.w, one.mode) for name, one in moves.items() if name not in changed]
        if still:
            with self._outbox.begin(quiet=True) as tx:
                watermark.advance_all(tx, still, now=self._clock.now())
        captured = 0
        for name in [name for name in self._in_turn(cycle) if name in changed] if changed else ():
            with self._apart(name):
                self._takes_its_turn(name)
                *before, last = self._in_pages(self._documents[name], cycle.keys[name], "poll")
                captured += self._capture(before, report)
                captured += self._pages.capture(last, report, then=moves.get(name)).changed
        return captured

    def _beyond_the_poll(self, cycle: Cycle, report: window.RepaymentReport) -> int:
        """Stream by stream: keys to look at again, and some pages of the backfill or sweep."""
        captured = 0
        self._is_calm = not self._something_waits(cycle)
        if self._is_calm:
            return captured
        for name in self._in_turn(cycle):
            with self._apart(name):
                captured += self._look_again(self._documents[name], report)
                captured += self._scan(self._documents[name], report)
        return captured

    def _something_waits(self, cycle: Cycle) -> bool:
        """Is there anything for them to do? Mostly there is not, and two questions are enough."""
        if not self._revised.isdisjoint(cycle.next):
            return True
        with self._outbox.read() as tx:
            marks, is_marked = watermark.watermarks(tx), watermark.some_marked(tx)
            return any(
                marks[name].scan is not None
                or (is_marked and (watermark.to_read_again(tx, name, limit=1) or many_left.is_released(tx, name)))
                for name in cycle.next
                if name in marks
            )

    def _look_again(self, document: Document, report: window.RepaymentReport) -> int:
        """Keys whose answer may differ although none of their rows changed."""

        def waiting(tx: Connection) -> list[str]:
            return watermark.to_read_again(tx, document.name, limit=page.SIZE * _PAGES_A_CYCLE)

        with self._outbox.read() as tx:
            is_released, keys = many_left.is_released(tx, document.name), waiting(tx)
        if is_released:
            with self._outbox.begin() as tx:
                watermark.read_unseen_again(tx, document.name)
                keys = waiting(tx)
        if keys:
            self._takes_its_turn(document.name)
        origin: Origin = "report" if document.resource == "repayment" else "poll"
        captured = self._capture(self._in_pages(document, keys, origin), report)
        if document.name in self._revised:
            with self._outbox.begin() as tx:
                if revision.finish(tx, document, now=self._clock.now()):
                    self._revised.discard(document.name)
        return captured

    def _scan(self, document: Document, report: window.RepaymentReport) -> int:
        """Some pages of the backfill or sweep that is under way; what the stream brings goes between them."""
        captured = 0
        for _ in range(_PAGES_A_CYCLE):
            mark = self._marks()[document.name]
            if mark.scan is None or self._stop.is_set():
                break
            self._takes_its_turn(document.name)
            step = self._scanning.next(document, mark, limit=self._size(document))
            result = self._pages.capture(KeyPage(document, step.keys, step.origin), report, then=step)
            self._scanning.found(step, result.surprises)
            captured += result.changed + self.follow()
            if self._mis.busy_seconds - self._busy_at_start > self._share:
                break
        return captured

    def _in_pages(self, document: Document, keys: Sequence[str], origin: Origin) -> Iterator[KeyPage]:
        return page.of(document, keys, origin, size=self._size(document))

    def _size(self, document: Document) -> int:
        return page.SIZE_WITH_PHOTOS if self._fit.brings_photos(document) else page.SIZE

    def _capture(self, pages: Iterable[KeyPage], report: window.RepaymentReport) -> int:
        return sum(self._pages.capture(each, report).changed for each in pages)

    @property
    def _share(self) -> float:
        """Seconds of the MIS that a cycle may take for scans, so that the next poll is not late."""
        mis = self._settings.mis
        return mis.poll_every.total_seconds() * float(mis.max_load) / 100
