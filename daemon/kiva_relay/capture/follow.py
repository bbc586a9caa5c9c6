"""The MIS's stream of changes beside its polling: when it may be relied on, and what follows from each of its ends.

Keys come by the stream within milliseconds, W stays what it is for polling: everything committed below it has been
read. So polling can take over at any moment. A table is not polled while the stream brings its changes; then W moves
to a snapshot's place once everything that was written until after this snapshot has come by the stream and is in the
outbox. W says nothing about deletes; where the stream may have missed some, the whole book is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import date
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors, log, meter
from kiva_relay.capture import scan
from kiva_relay.capture.pace import Pace
from kiva_relay.clock import Clock
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta, watermark, whereabouts
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import StreamHealth
from kiva_relay.outbox.watermark import Watermark
from kiva_relay.source import position, slot, watch
from kiva_relay.source.mis import Mis
from kiva_relay.source.pgoutput import Columns
from kiva_relay.source.position import Cycle
from kiva_relay.source.route import Routed
from kiva_relay.source.stream import Stream
from kiva_relay.source.watch import Followed

if TYPE_CHECKING:
    from kiva_relay.source.replication import Session, Tail

SPAN = 600.0
"""Seconds over which reading by the stream keeps to `mis.max_load`: within them it may run ahead, so as not to wait."""

GATHERED_FOR = 0.1
"""Seconds from one page to the next while changes keep coming: what comes meanwhile shares a snapshot and a page."""

_CONFIRM_EVERY, _CONFIRM_ALL_THE_SAME = 1.0, 60.0
"""Seconds: while changes come, and while none does."""
_MADE_AGAIN_AFTER = 60.0
_A_FILE = 16 * 1024 * 1024
"""Bytes of a file of PostgreSQL's log: a place that lies less behind keeps no more of them."""

_log = log.get("follow")


class NoStream(errors.UsageError):
    """`mis.watch` is replication, and the MIS has no stream for us."""


@dataclass(frozen=True)
class _Barrier:
    """Where W may move when the stream has passed a place."""

    place: int
    following: Mapping[str, str]


@dataclass
class _Ours:
    """What stood when a stream of changes was last looked at: the same connection, columns and files mean no gap."""

    session: Session | None = None
    wanted: Columns = field(default_factory=dict)
    oids: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, tuple[int | None, str]] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    """By stream, the transaction id below which transactions may have committed before it was followed."""
    barrier: _Barrier | None = None


class StreamFollower:
    """Follows the stream of one MIS. Used by the capture's thread; `news` is called in another, when something came."""

    def __init__(
        self,
        *,
        mis: Mis,
        outbox: Outbox,
        clock: Clock,
        url: str | sa.URL,
        password: str | None,
        name: str,
        required: bool,
        share: float,
        news: Callable[[], None],
    ) -> None:
        self._mis, self._outbox, self._clock = mis, outbox, clock
        self._url, self._password, self._name, self._news = sa.make_url(url), password, name, news
        self._required = required
        self._tail: Tail | None = None
        self._ours = _Ours()
        self._begun: Session | None = None
        self._told: Mapping[str, str] | None = None
        self._to_compare: set[str] = set()
        self._refusing: list[str] = []
        self._confirmed_at, self._settled, self._has_taken = -_CONFIRM_ALL_THE_SAME, 0, False
        self._pace = Pace(share, saved_for=SPAN, clock=clock)
        self._not_before = self._made_not_before = 0.0
        self._timeline = self._followed_on = ""
        self.standing = StreamHealth()

    def close(self) -> None:
        """Stop following; the slot keeps everything until the next start."""
        if self._tail is not None:
            self._tail.close()

    # ---------------------------------------------------------------- before a cycle, and after its look

    def look(self, streams: Sequence[Stream], marks: Mapping[str, Watermark]) -> Followed:
        """Which tables of which streams need not be polled in this cycle.

        Raises:
            NoStream: it must be followed, and the MIS has none.
            Unreachable: the MIS is away.
        """
        ours = self._ours
        session = None if self._tail is None else self._tail.session
        try:
            found = self._mis.slot(self._name, streams, all_of_it=False)
        except errors.Unreachable:
            raise
        except errors.RelayError as error:  # a catalogue that this role may not read must not stop the polling
            self._without(str(error), None, marks)
            return {}
        self._warn_of_harm(slot.refusing(found))
        self._timeline = found.timeline
        if self._made_anew(found):
            found = self._mis.slot(self._name, streams, all_of_it=False)
        lacks = slot.lacks(found)
        if lacks:
            self._without(lacks, found, marks)
            return {}
        self._required = False  # from now on we fall back when it is lost; it is no mistake of the configuration
        wanted = slot.wanted(found, streams)
        if self._tail is None:
            from kiva_relay.source.replication import Tail  # noqa: PLC0415 - it loads psycopg: only for a stream

            self._tail = Tail(self._url, password=self._password, name=self._name, news=self._news)
            self._tail.want(wanted)
            self._tail.start()
            ours.wanted = wanted
        self._tail.want(wanted)
        files = {name: (table.file, table.version) for name, table in found.tables.items() if table.published}
        if session is not None and session != ours.session:
            self._began(session, marks)
        self._notice({name: version for name, (_, version) in files.items()}, streams)
        kept = wanted == ours.wanted
        if (session, wanted, files) != (ours.session, ours.wanted, ours.files):
            self._ours = _Ours(session, wanted, {name: table.oid for name, table in found.tables.items()}, files)
        self._stands(found, live=session is not None)
        # What began to be wanted a moment ago may lack in transactions that were handed over before.
        return self._followed(found, streams, marks) if session is not None and kept else {}

    def _made_anew(self, found: slot.SlotFacts) -> bool:
        """A standby that took over has the publication, and may lack the slot: then ours is made there again.

        Not where it would wait for a transaction of the MIS; until it is there, all is polled.
        """
        if found.there or not found.published or self._clock.monotonic() < self._made_not_before:
            return False
        with self._outbox.read() as tx:
            followed_on = whereabouts.FOLLOWED_ON.get(tx)
        if not slot.was_left_behind(found, followed_on):
            return False
        from kiva_relay.source import replication  # noqa: PLC0415 - it loads psycopg: only for a stream

        self._made_not_before = self._clock.monotonic() + _MADE_AGAIN_AFTER
        failed = replication.made(self._url, self._password, slot.creation(found))
        if failed:
            _log.warning("The slot cannot be made on the server that took over; the MIS is polled", cause=failed)
        else:
            _log.warning("The server that took over lacked the slot; it was made anew", slot=self._name)
        return not failed

    def _warn_of_harm(self, refusing: list[str]) -> None:
        """Of tables that the MIS cannot change because of the publication; the relay may not mend that itself."""
        meter.replication_harms.set(len(refusing))
        if refusing and refusing != self._refusing:
            _log.error(
                "The MIS's own UPDATE and DELETE fail on tables of the publication: kiva-relay watch setup --apply",
                tables=", ".join(refusing),
            )
        self._refusing = refusing

    def _followed(self, found: slot.SlotFacts, streams: Sequence[Stream], marks: Mapping[str, Watermark]) -> Followed:
        """Streams that were polled up to a place behind which everything comes by the stream."""
        since, names = self._ours.since, {stream.name for stream in streams}
        for name in since.keys() - names:
            del since[name]
        followed = {}
        for name, tables in slot.covered(found, streams).items():
            since.setdefault(name, found.next_xid)
            w = marks[name].w if name in marks else None
            xid = None if w is None else position.parse(w).xid
            if xid is not None and xid >= since[name]:
                followed[name] = tables
        return followed

    def bar(self, cycle: Cycle, followed: Followed) -> tuple[Cycle, frozenset[str]]:
        """The cycle with the W to which followed streams may move by now, and those that cannot move yet."""
        ours = self._ours
        names = frozenset(followed) & cycle.next.keys()
        barrier = ours.barrier
        passed: Mapping[str, str] = {}
        if barrier is not None and self._tail is not None and self._tail.reached(ours.session) >= barrier.place:
            passed, barrier = barrier.following, None
        if barrier is None and names and cycle.written:
            barrier = _Barrier(cycle.written, {name: cycle.next[name] for name in names})
        ours.barrier = barrier
        moves = {name: passed[name] for name in names if name in passed}
        return replace(cycle, next={**cycle.next, **moves}), names - moves.keys()

    # ---------------------------------------------------------------- what the stream brings

    def has_begun(self) -> bool:
        """True once for each connection: the sooner the MIS is looked at, the sooner its stream is followed."""
        session = None if self._tail is None else self._tail.session
        if session is None or session == self._begun:
            return False
        self._begun = session
        return True

    @property
    def has_news(self) -> bool:
        """Whether something came that nobody has taken yet."""
        return self._tail is not None and self._tail.has_news

    @property
    def is_followed(self) -> bool:
        """Is there a stream? Without one nothing ever comes."""
        return self._tail is not None

    def pause(self) -> float:
        """Seconds to wait before the next page: for what else comes, and so that the MIS's time stays our share.

        Nothing, for what comes after a while in which nothing came.
        """
        return max(self._pace.wait(), self._not_before - self._clock.monotonic(), 0.0)

    def spent(self, seconds: float) -> None:
        """Reading what the stream brought kept the MIS busy for this long."""
        self._pace.spent(seconds)

    def take(self, streams: Sequence[Stream], *, cutoff: date, most: Mapping[str, int]) -> Routed | None:
        """Root keys of what was committed since, as far as it can be seen, and the content of the first of each stream.

        None when there is nothing.
        """
        tail = self._tail
        if tail is None:
            return None
        if not (pending := tail.pending()):
            if tail.asks:
                self.settle()
            return None
        return self._mis.follow(streams, pending, oids=self._ours.oids, cutoff=cutoff, most=most)

    def taken(self, routed: Routed, *, missed: Collection[str]) -> None:
        """What was seen is in the outbox, but for the streams in `missed`, which are polled and compared again."""
        if self._tail is None or not routed.done:
            return
        for name in missed:
            if self._ours.since.pop(name, None) is not None:
                self._ours.barrier = None
        self._has_taken = True
        self._to_compare |= routed.all_changed | set(missed)
        self._tail.done(routed.done)
        self._not_before = self._clock.monotonic() + GATHERED_FOR
        if self._clock.monotonic() - self._confirmed_at >= _CONFIRM_EVERY:
            self.settle()

    def settle(self, *, at_once: bool = True) -> None:
        """Store how far the stream has come, then confirm it to the server: never the other way round.

        Unless it has to be `at_once`, a place up to which nothing concerned us is stored now and then: there is nothing
        to read again before it, and the server gives its log back by files.
        """
        place = 0 if self._tail is None else self._tail.reached(self._ours.session)
        if not at_once and not self._has_taken and place < self._settled + _A_FILE and not self._is_long_ago():
            return
        self._confirmed_at = self._clock.monotonic()
        if self._tail is None or not place:
            return
        with self._outbox.read() as tx:
            stored = self._stored(tx)
        if self._to_compare or stored is None or place > stored:
            with self._outbox.begin(quiet=not self._to_compare) as tx:  # a place alone is nothing to act upon
                for name in self._to_compare & watermark.watermarks(tx).keys():
                    scan.look_for_more(tx, name, now=self._clock.now())
                self._store(tx, max(place, stored or 0))
            self._to_compare = set()
        self._has_taken, self._settled = False, place
        self._tail.confirm(place)

    def _is_long_ago(self) -> bool:
        return self._clock.monotonic() - self._confirmed_at >= _CONFIRM_ALL_THE_SAME

    # ---------------------------------------------------------------- its beginnings and ends

    def _began(self, session: Session, marks: Mapping[str, Watermark]) -> None:
        """A connection: where the server begins behind what we have, a part is missing, and all is compared."""
        with self._outbox.read() as tx:
            stored = self._stored(tx)
            followed_on = whereabouts.FOLLOWED_ON.get(tx)
        moved = followed_on is not None and bool(self._timeline) and followed_on != self._timeline
        if stored is not None and session.began <= stored and not moved:
            return
        with self._outbox.begin() as tx:
            self._compare_all(tx, marks)
            self._store(tx, session.began)
        if stored is not None:
            _log.warning("The slot begins behind what was read; the whole book is compared", slot=self._name)

    def _notice(self, told: Mapping[str, str], streams: Sequence[Stream]) -> None:
        """Tables that somebody altered, or published otherwise: what was deleted meanwhile may not have been told.

        A partition with rows in it, which is attached or detached, changes none of them.
        """
        if self._told is None:
            with self._outbox.read() as tx:
                self._told = meta.TOLD.get(tx) or {}
        altered = {name for name, version in self._told.items() if told.get(name) != version}
        if told == self._told:
            return
        names = {way.stream.name for one in watch.watched(streams) if one.table in altered for way in one.routes}
        with self._outbox.begin() as tx:
            for name in names & watermark.watermarks(tx).keys():
                scan.look_for_more(tx, name, now=self._clock.now())
            meta.TOLD.put(tx, dict(told))
        self._told = told
        if names:
            _log.warning(
                "Tables of the stream were altered; they are compared whole", tables=", ".join(sorted(altered))
            )

    def _without(self, lacks: str, found: slot.SlotFacts | None, marks: Mapping[str, Watermark]) -> None:
        """There is no stream (any more): polling goes on from W; what it cannot find is found by a sweep."""
        if self._required:
            raise NoStream(f"mis.watch is replication, but {lacks}.", hint=slot.SETUP)
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        self._ours = _Ours()
        with self._outbox.read() as tx:
            stored = self._stored(tx)
        if stored is not None:
            with self._outbox.begin() as tx:
                self._compare_all(tx, marks)
                meta.SLOT_POSITION.remove(tx)
                meta.TOLD.remove(tx)
                dropped = found is not None and not found.there and found.timeline == whereabouts.FOLLOWED_ON.get(tx)
                if dropped or (found is not None and not found.published):
                    whereabouts.FOLLOWED_ON.remove(tx)
                    self._followed_on = ""
            self._told = None
        self._stands(found, live=False, why=lacks, had_one=stored is not None)

    def _stands(self, found: slot.SlotFacts | None, *, live: bool, why: str = "", had_one: bool = False) -> None:
        error = "" if self._tail is None else self._tail.error
        before = self.standing
        made = (found is not None and found.made) or had_one or (before.made and not live)
        kept, status = (None, "") if found is None else (found.kept, found.wal_status)
        self.standing = StreamHealth(
            live, made, why or ("" if live else error or "it is being connected"), kept, status
        )
        if why and made and (before.why, before.made) != (why, True):
            _log.error("The stream of the MIS cannot be followed; it is polled, nothing is lost", cause=why)
        if status == "unreserved" and before.wal_status != "unreserved":
            _log.error("The MIS is about to drop what its slot keeps for us", slot=self._name, bytes=kept)
        meter.replication_live.set(float(live))
        meter.replication_kept_bytes.set(kept or 0)

    def _compare_all(self, tx: Connection, names: Collection[str]) -> None:
        known = watermark.watermarks(tx)
        for name in names:
            if name in known:
                watermark.scan_again(tx, name, now=self._clock.now())

    def _stored(self, tx: Connection) -> int | None:
        """How far this slot was read, durably."""
        stored = meta.SLOT_POSITION.get(tx)
        return stored.place if stored is not None and stored.slot == self._name else None

    def _store(self, tx: Connection, place: int) -> None:
        meta.SLOT_POSITION.put(tx, meta.SlotPosition(self._name, place))
        if self._timeline and self._timeline != self._followed_on:
            whereabouts.FOLLOWED_ON.put(tx, self._timeline)
            self._followed_on = self._timeline
