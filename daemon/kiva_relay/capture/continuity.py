"""Is this still the MIS that was read before? Bound once; a restored backup and another timeline are noticed.

What a backup brings back looks like nothing at all: rows that were read are gone, and their numbers are given again.
So where the MIS looks older than what was read of it, all of it is read again, and nothing is sent before a person
looked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import binding, hold, meta, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.source.mis import Mis

LOST_ROWS = 2
"""Rows missing at a table's end that look like a restored backup; one is somebody's correction."""

_log = log.get("capture")


class Continuity:
    """Compares one MIS with what was read of it. Used by the capture's thread."""

    def __init__(
        self, *, outbox: Outbox, settings: config.Settings, clock: Clock, mis: Mis, documents: Iterable[Document]
    ) -> None:
        self._outbox, self._settings, self._clock, self._mis = outbox, settings, clock, mis
        self._documents = {document.name: document for document in documents}
        self._timeline = ""
        self._not_compared = set(self._documents)
        """Streams whose highest key was not looked at since the MIS was bound."""
        self._reached: dict[str, int] = {}
        """By stream, a key that none exceeds which was captured: but for fewer than count as lost."""

    def bind(self, tx: Connection, identity: str) -> None:
        """Bind the outbox to this MIS, and make new streams known.

        Args:
            tx: a writing transaction of the outbox.
            identity: of the MIS, as `Mis.identity()` gives it.

        Raises:
            OutboxRefused: the outbox belongs to another MIS.
        """
        binding.bind_mis(tx, identity, self._settings)
        if meta.FIRST_START.get(tx) is None:
            meta.FIRST_START.put(tx, self._clock.now())
        known = watermark.watermarks(tx)
        for name in self._documents:
            if name not in known:
                watermark.begin(tx, name)
        self._not_compared = set(self._documents)
        self._reached.clear()

    def notice_older(self, tx: Connection, *, surely: bool) -> None:
        """Begin every stream again whose W is not of this MIS, or of a later state of it; all of them if `surely`.

        Raises:
            Unreachable: the MIS is away.
        """
        for name, mark in watermark.watermarks(tx).items():
            if name in self._documents and mark.w is not None and (surely or self._mis.went_back(mark.w)):
                self._begin_again(tx, name)

    def was_compared(self, stream: str) -> bool:
        """Was a stream's highest key compared since the MIS was bound?"""
        return stream not in self._not_compared

    def comparable(self, streams: Collection[str]) -> list[Document]:
        """Those of the streams of which `rows_are_lost` can be asked.

        Notes may be deleted, and a scan that is under way finds by itself what is gone.
        """
        wanted = [one for name, one in self._documents.items() if name in streams and one.resource != "journal"]
        if not wanted:
            return []
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx)
        return [one for one in wanted if _is_polled(marks[one.name])]

    def rows_are_lost(self, document: Document, highest: int | None) -> bool:
        """Does a table end before what was read of it? Then its stream begins again, and nothing is sent.

        `highest` is the highest key that the table has now; None where keys are no numbers.
        """
        self._not_compared.discard(document.name)
        reached = self._reached.get(document.name)
        # Only where the table ends before what was captured need all keys be looked through.
        if highest is None or (reached is not None and highest >= reached):
            return False
        with self._outbox.read() as tx:
            above = watermark.keys_above(tx, document.name, highest)
        if len(above) < LOST_ROWS:
            self._reached[document.name] = highest
            return False
        with self._outbox.begin() as tx:
            self._begin_again(tx, document.name, highest=highest, was=max(map(int, above)))
        return True

    def met(self, stream: str, keys: Collection[str]) -> None:
        """These keys of a stream are captured."""
        if not keys or stream not in self._reached:
            return
        try:
            self._reached[stream] = max(self._reached[stream], *map(int, keys))
        except ValueError:  # no numbers, so that none is the highest
            del self._reached[stream]

    def notice_timeline(self, timeline: str) -> None:
        """A standby that took over may lack what was read, and give its transaction ids again: all is compared.

        `timeline` is the snapshot's; "" where the database has none.
        """
        if timeline in ("", self._timeline):
            return
        with self._outbox.begin() as tx:
            before = meta.TIMELINE.get(tx)
            meta.TIMELINE.put(tx, timeline)
            is_another = before not in (None, timeline)
            for name in self._documents if is_another else ():
                watermark.scan_again(tx, name, now=self._clock.now())
        self._timeline = timeline
        if is_another:
            _log.warning("The MIS is on another timeline: a standby took over, or a backup; the whole book is compared")

    def _begin_again(self, tx: Connection, stream: str, **more: int) -> None:
        """Read a stream from its beginning. The hold names the `stream`, and its highest keys: now and as it `was`."""
        now = self._clock.now()
        watermark.begin_again(tx, stream, now=now)
        if hold.put(tx, hold.ALL, "mis_went_back", now=now, params={"stream": stream, **more}):
            _log.error("The MIS looks older than it was; it is read again, and nothing is sent", stream=stream)


def _is_polled(mark: Watermark) -> bool:
    """Was a stream read up to a place, and is no scan of it under way?"""
    return mark.scan is None and mark.w is not None


def notice_aliases(tx: Connection, aliases: Mapping[str, str], *, known: meta.Known | None = None) -> None:
    """Loans whose ids at Kiva were edited in `lookup/loan_ids.csv` are looked at again.

    `known` is what `meta.ALIASES` is, where the caller has asked for it.
    """
    stored = (known or meta.known(tx, meta.ALIASES)).of(meta.ALIASES) or {}
    if stored == aliases:
        return
    meta.ALIASES.put(tx, dict(aliases))
    changed = sorted({in_the_mis for _, in_the_mis in stored.items() ^ aliases.items()})
    for resource in RESOURCES:
        watermark.read_identities_again(tx, resource, changed)
