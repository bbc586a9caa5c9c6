"""From the MIS to the outbox: which keys to look at, in which order, and how far each stream was read.

Polling, the stream, sweep, backfill and "look again" only yield keys. One loop turns keys into content, a page at a
time, in a snapshot that is opened after the previous page was committed: snapshot order is commit order, so an old
read can never overtake a newer one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial

import orjson
from sqlalchemy.engine import Connection

from kiva_relay import errors, log
from kiva_relay.capture import fit, follow, owed, page, revision
from kiva_relay.capture.scan import Also, Scanner
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping import lookup
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import binding, hold, turn, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.resource import window
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.source.mis import Mis
from kiva_relay.source.position import Cycle
from kiva_relay.source.reader import Content

_PAGES_A_CYCLE = 5
_VANISHED = 2
"""So many rows gone from a table's end look like a backup; one is somebody's correction."""

_TIMELINE = "timeline of the MIS"

_log = log.get("capture")


class Capture:
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
        following: follow.StreamFollower | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self._following = following
        self._cannot_move: frozenset[str] = frozenset()
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._documents = {document.name: document for document in documents}
        self._stop = stop
        self._aliases = lookup.loan_ids(settings.mapping_folders) if aliases is None else dict(aliases)
        self._revised: set[str] = set()
        self._bound = False
        self._look_at_keys: set[str] = set()
        self._timeline = ""
        self._fit = fit.Fit(documents, mis, clock=clock)
        self._busy_at_start = 0.0
        self._scanning = Scanner(outbox, mis, clock=clock)
        self._pages = page.PageCapture(
            outbox=outbox,
            settings=settings,
            clock=clock,
            mis=mis,
            fits=self._fit,
            aliases=self._aliases,
            at=at,
        )
        self.modes: dict[str, str] = {}
        self.horizon_age = timedelta(0)
        self.pinned_by = ""
        self.waits = False

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
        self.modes, self.horizon_age, self.pinned_by = (
            dict(cycle.mode),
            cycle.horizon_age,
            cycle.pinned_by,
        )
        if self._following:
            cycle, self._cannot_move = self._following.bar(cycle, followed)
        self._notice_timeline(cycle.timeline)
        self._scanning.count_missed(cycle)
        captured = self._poll(marks, cycle, report)
        self._mis.processed(cycle, but=self._fit.stopped)
        captured += self._settled()
        for name in self._in_turn(cycle):
            with self._apart(name):
                captured += self._look_again(self._documents[name], report)
                captured += self._scan(self._documents[name], report)
        return captured

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
        """Put down what the MIS's stream brought; how many keys were new or different.

        What no snapshot sees yet stays where it is, and `waits` says so.

        Raises:
            Unreachable: the MIS is away; nothing was lost, nothing was confirmed to it.
        """
        self.waits = False
        if self._following is None or not self.modes or self._following.pause():
            return 0
        busy = self._mis.busy_seconds
        documents = {name: one for name, one in self._documents.items() if name not in self._fit.stopped}
        report = self.report()
        streams = [document.stream for document in documents.values()]
        routed = self._following.take(streams, cutoff=report.cutoff, most=page.SIZE)
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
                for each in page.of(documents[name], [*keys], "poll"):
                    captured += self._pages.put_down(each, report, read=read)
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
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            # A row that nobody thought of costs its mapping, not the relay.
            _log.exception("A page could not be put down; nothing of it was", stream=name)
            self._fit.stop(
                name, errors.RelayError(f"a row that is not understood ({type(error).__name__}, see the log)")
            )

    def scanning(self) -> bool:
        """Is a backfill or a sweep under way, so that the next cycle should follow at once?"""
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx)
            return any(mark.scan for name, mark in marks.items() if name in self.modes and name not in self.stopped)

    def sweep(self) -> None:
        """Begin a sweep of every stream that has no scan under way."""
        with self._outbox.begin() as tx:
            for name, mark in watermark.watermarks(tx).items():
                if mark.scan is None and name in self._documents:
                    watermark.start_scan(tx, name, "sweep", now=self._clock.now())

    def report(self) -> window.RepaymentReport:
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
            if document.resource == "journal" or mark.scan is not None or mark.w is None:
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

    def _notice_timeline(self, timeline: str) -> None:
        """A standby that took over may lack what was read, and give its transaction ids again: all is compared."""
        if not timeline or timeline == self._timeline:
            return
        with self._outbox.begin() as tx:
            before = binding.get(tx, _TIMELINE)
            binding.put(tx, _TIMELINE, timeline)
            another = before not in (None, timeline)
            for name in self._documents if another else ():
                watermark.scan_anew(tx, name, now=self._clock.now())
        self._timeline = timeline
        if another:
            _log.warning("The MIS is on another timeline: a standby took over, or a backup; the whole book is compared")

    def _notice_aliases(self, tx: Connection) -> None:
        """Loans whose ids at Kiva were written down anew are looked at again."""
        stored = orjson.loads(binding.get(tx, "loan ids") or "{}")
        if stored != self._aliases:
            binding.put(tx, "loan ids", orjson.dumps(self._aliases).decode())
            changed = {pair[1] for pair in stored.items() ^ self._aliases.items()}
            for resource in RESOURCES:
                watermark.read_identities_again(tx, resource, changed)

    def _turn(self, report: window.RepaymentReport) -> None:
        """What follows from the calendar and from Kiva's lists, not from rows."""
        with self._outbox.begin() as tx:
            owed.turn(tx, report, now=self._clock.now(), aliases=self._aliases)

    def _poll(self, marks: Mapping[str, Watermark], cycle: Cycle, report: window.RepaymentReport) -> int:
        """Everything that changed, stream by stream; the last page of each moves its W with its entries."""
        captured = 0
        quiet = [name for name in cycle.next if not cycle.keys.get(name)]
        with self._outbox.begin() as tx:
            for name in quiet:
                self._advance(tx, (), marks[name], cycle)
        for name in [name for name in self._in_turn(cycle) if name not in quiet]:
            with self._apart(name):
                self._takes_its_turn(name)
                *before, last = page.of(self._documents[name], cycle.keys[name], "poll")
                captured += sum(self._pages.put_down(each, report) for each in before)
                captured += self._pages.put_down(
                    last, report, also=partial(self._advance, mark=marks[name], cycle=cycle)
                )
        return captured

    def _advance(self, tx: Connection, _changed: Sequence[str], mark: Watermark, cycle: Cycle) -> None:
        if mark.stream in self._cannot_move:
            return
        mode, w = cycle.mode[mark.stream], cycle.next[mark.stream]
        watermark.advance(tx, mark, w, mode=mode, now=self._clock.now())

    def _look_again(self, document: Document, report: window.RepaymentReport) -> int:
        """Keys whose answer may differ although no row of theirs changed."""
        with self._outbox.read() as tx:
            keys = watermark.to_read_again(tx, document.name, limit=page.SIZE * _PAGES_A_CYCLE)
        if keys:
            self._takes_its_turn(document.name)
        origin = "report" if document.resource == "repayment" else "poll"
        captured = sum(self._pages.put_down(each, report) for each in page.of(document, keys, origin))
        if document.name in self._revised:
            with self._outbox.begin() as tx:
                if revision.finish(tx, document, now=self._clock.now()):
                    self._revised.discard(document.name)
        return captured

    def _scan(self, document: Document, report: window.RepaymentReport) -> int:
        """Some pages of the backfill or sweep: first every key in scope, then those that were believed in scope."""
        captured = 0
        for _ in range(_PAGES_A_CYCLE):
            with self._outbox.read() as tx:
                mark = watermark.watermarks(tx)[document.name]
            if mark.scan is None or self._stop.is_set():
                break
            self._takes_its_turn(document.name)

            def read(keys: Sequence[str], origin: str, also: Also) -> int:
                return self._pages.put_down(page.KeyPage(document, tuple(keys), origin), report, also=also)

            captured += self._scanning.page(document, mark, limit=page.SIZE, read=read) + self.follow()
            if self._mis.busy_seconds - self._busy_at_start > self._share:
                break
        return captured

    @property
    def _share(self) -> float:
        """Seconds of the MIS that a cycle may take for scans, so that the next poll is not late."""
        mis = self._settings.mis
        return mis.poll_every.total_seconds() * float(mis.max_load) / 100
