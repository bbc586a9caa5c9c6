"""The thread that reads the MIS: looks at it again and again, takes what its stream brings, and tells how it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import sqlalchemy as sa

from kiva_relay import clock, errors, log, meter
from kiva_relay.capture import follow
from kiva_relay.capture.cycle import Capture
from kiva_relay.capture.pace import Pace
from kiva_relay.config import settings as config
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import store, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Reachability, StreamHealth
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis

_ASKED_AGAIN = timedelta(seconds=5)
_LOOKED_AT_AGAIN = 0.01
"""Seconds after which a transaction that is committed and cannot be seen yet is asked for again."""
_PINNED_FOR_LONG = 600.0
_SAID_AGAIN_AFTER = 3600.0
_SAVED_FOR = 20.0
"""Seconds: a poll that costs more than usual need not make the next one late."""

_log = log.get("relay")


@dataclass(frozen=True)
class CaptureHealth:
    """What the heartbeat says of the MIS; the fields are those of `Heartbeat`."""

    mis: Reachability = field(default_factory=Reachability)
    modes: Mapping[str, str] = field(default_factory=dict)
    stopped_streams: Mapping[str, str] = field(default_factory=dict)
    horizon_age: float = 0.0
    pinned_by: str = ""
    replication: StreamHealth | None = None


class CaptureLoop:
    """Reads the MIS of a configuration into the outbox. The MIS is opened at the first look, and waited for."""

    def __init__(
        self,
        settings: config.Settings,
        documents: Sequence[Document],
        *,
        outbox: Outbox,
        time: clock.Clock,
        stop: threading.Event,
        at: Callable[[str], None],
    ) -> None:
        self._settings, self._documents, self._outbox = settings, documents, outbox
        self._time, self._stop, self._at = time, stop, at
        self.health = CaptureHealth()
        self._said_away_at: float | None = None
        self._news = threading.Event()
        self._mis: Mis | None = None
        self._follow: follow.StreamFollower | None = None
        self._capture: Capture | None = None
        self._pace = self._paced()
        self._counted = 0.0
        self._pinned_by = ""

    def close(self) -> None:
        """Leave the MIS; a stream's slot keeps everything until the next start."""
        if self._follow is not None:
            self._follow.close()
        if self._mis is not None:
            self._mis.close()

    def wake(self) -> None:
        """End a wait: there is something to do, or nothing more."""
        self._news.set()

    def reload(self, settings: config.Settings, documents: Sequence[Document]) -> None:
        """From the next cycle on, other settings and mappings are in force."""
        self._settings, self._documents = settings, documents
        self._pace = self._paced()
        self._capture = None

    def capture(self) -> Capture:
        """The capture for the mappings in force."""
        if self._capture is None:
            if self._mis is None:
                self._mis = opening.open_mis(self._settings, clock=self._time)
                self._follow = opening.open_follow(
                    self._settings, self._mis, self._outbox, clock=self._time, news=self.wake
                )
            self._capture = Capture(
                outbox=self._outbox,
                settings=self._settings,
                clock=self._time,
                mis=self._mis,
                documents=self._documents,
                stop=self._stop,
                at=self._at,
                following=self._follow,
            )
        return self._capture

    def until_scanned(self, told: Callable[[], None]) -> None:
        """Look at the MIS until no backfill or sweep is under way, as gently as a daemon; `told` after each look.

        Raises:
            Unreachable: the MIS did not answer; what was read stays.
        """
        capture = self.capture()
        while not self._stop.is_set():
            capture.cycle()
            told()
            if not capture.scanning():
                break
            self._time.wait(self._stop, self._rest())

    def run(self, *, turning: Callable[[], bool], done: Callable[[], None]) -> None:
        """Look at the MIS every `mis.poll_every`. `turning` is asked at each turn, `done` is called after each look.

        Raises:
            OutboxRefused: the MIS is not the one that the outbox belongs to.
            Stolen: another relay took over.
            NoStream: `mis.watch` is replication, and the MIS has no stream for us.
        """
        while turning():
            seconds = self._settings.mis.poll_every.total_seconds()
            began = self._time.monotonic()
            try:
                if self._cycle():
                    seconds = 0
            except store.Overtaken:
                seconds = 0
            except (errors.OutboxRefused, errors.Stolen, follow.NoStream):
                raise
            except (errors.RelayError, sa.exc.SQLAlchemyError) as error:
                self._not_read(error)
                seconds = min(seconds, _ASKED_AGAIN.total_seconds())
            done()
            now = self._time.monotonic()
            self._follow_until(max(began + seconds, now + self._rest()), turning)

    def _follow_until(self, end: float, turning: Callable[[], bool]) -> None:
        """Until the next cycle is due: put down what the MIS's stream brings, at once."""
        while not self._stop.is_set() and (left := end - self._time.monotonic()) > 0:
            capture, followed = self._capture, self._follow
            if capture is not None and capture.waits:
                left = min(left, _LOOKED_AT_AGAIN)
            self._time.wait(self._news, left)
            self._news.clear()
            if capture is None or followed is None:
                continue
            self._time.wait(self._stop, min(followed.pause(), max(end - self._time.monotonic(), 0)))
            if not turning():
                return
            try:
                # The courier looks by itself four times a second: woken by each change, it would take our time.
                capture.follow()
            except store.Overtaken:
                continue
            except (errors.OutboxRefused, errors.Stolen):
                raise
            except (errors.RelayError, sa.exc.SQLAlchemyError) as error:
                self._not_read(error)
                return
            finally:
                self._busy()  # its share is kept to by the stream itself

    def _paced(self) -> Pace:
        return Pace(float(self._settings.mis.max_load) / 100, saved_for=_SAVED_FOR, clock=self._time)

    def _rest(self) -> float:
        """Seconds to leave the MIS alone after what was taken of its time, so that it stays `mis.max_load`."""
        self._pace.spent(self._busy())
        return self._pace.wait()

    def _busy(self) -> float:
        """For how many seconds the MIS was kept busy since this was asked last."""
        total = 0.0 if self._mis is None else self._mis.busy_seconds
        new, self._counted = total - self._counted, total
        meter.mis_query_seconds.inc(new)
        return new

    def _cycle(self) -> bool:
        """Look once at the MIS; true when there is more to read at once."""
        capture = self.capture()
        self._sweep_when_due(capture)
        capture.cycle()
        away = self.health.mis.away_since
        if away is not None:
            _log.info("The MIS answers again. Nothing was missed", away_since=away.isoformat())
        self._said_away_at = None
        self.health = CaptureHealth(
            mis=Reachability(last_good=self._time.now()),
            modes=dict(capture.modes),
            stopped_streams=capture.stopped,
            horizon_age=capture.horizon_age.total_seconds(),
            pinned_by=capture.pinned_by,
            replication=None if self._follow is None else self._follow.standing,
        )
        meter.mis_horizon_age_seconds.set(self.health.horizon_age)
        self._say_who_pins(capture)
        return capture.scanning()

    def _sweep_when_due(self, capture: Capture) -> None:
        """Begin the sweep at its hour, once."""
        due = opening.last_sweep_hour(self._settings, self._time.now())
        with self._outbox.read() as tx:
            marks = watermark.watermarks(tx).values()
            waits = [mark for mark in marks if mark.scan is None and mark.swept_at is not None and mark.swept_at < due]
        if waits:
            capture.sweep()

    def _say_who_pins(self, capture: Capture) -> None:
        """A transaction that is open for long is worth a line, once, and a gauge: its rows are read again and again."""
        seconds = capture.horizon_age.total_seconds()
        session = capture.pinned_by or "not seen"
        pinned: dict[tuple[str, ...], float] = {(session,): seconds} if seconds > _PINNED_FOR_LONG else {}
        meter.replace(meter.mis_pinned, pinned)
        if pinned and session != self._pinned_by:
            _log.warning(
                "A transaction of the MIS is open for long. Nothing is lost", session=session, seconds=int(seconds)
            )
        self._pinned_by = session if pinned else ""

    def _not_read(self, error: Exception) -> None:
        """Nothing is lost: W did not move. The first time, and then once an hour, it is worth a line."""
        if isinstance(error, errors.OutboxAway):
            _log.error("The outbox does not answer. Nothing is captured meanwhile", cause=str(error))
        elif isinstance(error, errors.RelayError):
            if self._away(str(error)):
                _log.warning("The MIS cannot be read. Nothing is lost; it is asked again", cause=str(error))
        elif self._away(f"{type(error).__name__}, see the log"):
            _log.exception("A page of the MIS could not be put down. Nothing is lost; it is read again")

    def _away(self, words: str) -> bool:
        """Note what came back instead of an answer; true when that is worth a line."""
        since = self.health.mis.away_since or self._time.now()
        self.health = replace(self.health, mis=replace(self.health.mis, away_since=since, words=words))
        now = self._time.monotonic()
        if self._said_away_at is not None and now - self._said_away_at < _SAID_AGAIN_AFTER:
            return False
        self._said_away_at = now
        return True
