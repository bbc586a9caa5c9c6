"""The thread that reads the MIS: looks at it again and again, takes what its stream brings, and tells how it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from kiva_relay import errors, log, meter
from kiva_relay.capture import follow
from kiva_relay.capture.cycle import Capture
from kiva_relay.capture.pace import Pace
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.frozen import dataclass
from kiva_relay.mapping.configuration import Configuration
from kiva_relay.outbox import watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Reachability, StreamHealth
from kiva_relay.outbox.store import Overtaken
from kiva_relay.service import opening, schedule
from kiva_relay.service.loop import ENDS
from kiva_relay.service.reload import InForce
from kiva_relay.service.schedule import Job
from kiva_relay.source.mis import Mis

_ASKED_AGAIN = timedelta(seconds=5)
_NOBODY_KNOCKS = 60.0
_HOUR_ASKED_EVERY = 60.0
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
    """Reads the MIS into the outbox. The MIS is opened at the first look, and waited for.

    `poll` and `sweep` are its jobs; `wake` is set when one of them knocks, and when the MIS's stream brings something.
    `wrote` is called after each page that brought what may have to be sent.
    """

    def __init__(
        self,
        in_force: InForce,
        *,
        outbox: Outbox,
        clock: Clock,
        stop: threading.Event,
        at: Callable[[str], None],
        at_kiva: Callable[[], datetime] | None = None,
        wrote: Callable[[], None] = lambda: None,
        kiva_time: KivaTime | None = None,
    ) -> None:
        self._kiva_time, self._asks_hour_at = kiva_time, 0.0
        self._at_kiva, self._wrote = at_kiva or clock.now, wrote
        self._in_force, self._outbox, self._clock, self._stop, self._at = in_force, outbox, clock, stop, at
        self.wake = threading.Event()
        self.poll = Job("poll", clock=clock, wake=self.wake)
        self.sweep = Job("sweep", clock=clock, wake=self.wake)
        self.health = CaptureHealth()
        self._mis: Mis | None = None
        self._follow: follow.StreamFollower | None = None
        self._capture: tuple[Configuration, Capture] | None = None
        share = float(in_force.configuration.settings.mis.max_load) / 100
        self._pace = Pace(share, saved_for=_SAVED_FOR, clock=clock)
        self._counted = 0.0
        self._again_at: float | None = None
        self._not_before = 0.0
        self._said_away_at: dict[str, float] = {}
        self._pinned_by = ""

    def close(self) -> None:
        """Leave the MIS; a stream's slot keeps everything until the next start."""
        if self._follow is not None:
            self._follow.close()
        if self._mis is not None:
            self._mis.close()

    def capture(self) -> Capture:
        """The capture of the configuration in force; what it returns works with that one for good."""
        return self._capture_of(self._in_force.configuration)

    def _capture_of(self, configuration: Configuration) -> Capture:
        if self._capture is not None and self._capture[0] is configuration:
            return self._capture[1]
        settings = configuration.settings
        if self._mis is None:
            mis = opening.open_mis(settings, clock=self._clock)
            self._follow = opening.open_follow(settings, mis, self._outbox, clock=self._clock, news=self.wake.set)
            self._mis = mis
        capture = Capture(
            outbox=self._outbox,
            settings=settings,
            clock=self._clock,
            mis=self._mis,
            documents=configuration.documents,
            aliases=configuration.aliases,
            stop=self._stop,
            at=self._at,
            following=self._follow,
            at_kiva=self._at_kiva,
            earliest=None if self._kiva_time is None else self._kiva_time.earliest,
            wrote=self._wrote,
        )
        self._capture = (configuration, capture)
        return capture

    def scan(self) -> Iterator[None]:
        """Look at the MIS until no backfill or sweep is under way, as gently as a daemon: one item for each look.

        Raises:
            Unreachable: the MIS did not answer; what was read stays.
        """
        capture = self.capture()
        while not self._stop.is_set():
            capture.cycle()
            yield
            if not capture.scanning():
                break
            self._clock.wait(self._stop, self.rest())

    def turn(self) -> float:
        """Look at the MIS if that is due, else take what its stream brought; the seconds to wait for more.

        Raises:
            OutboxRefused: the MIS is not the one that the outbox belongs to.
            Stolen: another relay took over.
            NoStream: `mis.watch` is replication, and the MIS has no stream for us.
        """
        now = self._clock.monotonic()
        if self._follow is not None and self._follow.has_begun():
            self._again_at = now
        wanted = self.poll.asked or (self._again_at is not None and now >= self._again_at)
        if wanted and now >= self._not_before:
            self._look()
            self._not_before = self._clock.monotonic() + self.rest()
        else:
            self._take()
        return self._idle()

    def rest(self) -> float:
        """Seconds to leave the MIS alone after what was taken of its time, so that it stays `mis.max_load`."""
        self._pace.spent(self._busy())
        return self._pace.wait()

    def _idle(self) -> float:
        """Seconds until there is something to do that nobody knocks for."""
        now, until = self._clock.monotonic(), []
        if self.poll.asked:
            until.append(self._not_before)
        if self._again_at is not None:
            until.append(max(self._again_at, self._not_before))
        if self._capture is not None and (follows_in := self._capture[1].follows_in()) is not None:
            until.append(now + follows_in)
        return max(min(until, default=now + _NOBODY_KNOCKS) - now, 0.0)

    def _look(self) -> None:
        """Look once at the MIS. One that does not answer is asked again, soon."""
        self._again_at = None
        configuration = self._in_force.configuration
        try:
            with self.poll.work():
                try:
                    again = self._cycle(configuration)
                except Overtaken:
                    again = True
        except ENDS:
            raise
        except (errors.RelayError, sa.exc.SQLAlchemyError) as error:
            self._not_read(error)
            self._again_at = (
                self._clock.monotonic() + min(configuration.settings.mis.poll_every, _ASKED_AGAIN).total_seconds()
            )
        else:
            self._again_at = self._clock.monotonic() if again else None

    def _take(self) -> None:
        """Take what the MIS's stream brought, unless it is to wait: for more of it, or because its share is used up."""
        if self._capture is None or self._follow is None or self._follow.pause() > 0:
            return
        try:
            self._capture[1].follow()
        except Overtaken:
            self._again_at = self._clock.monotonic()
        except ENDS:
            raise
        except (errors.RelayError, sa.exc.SQLAlchemyError) as error:
            self._not_read(error)
            self._again_at = self._clock.monotonic()
        finally:
            self._busy()  # its share is kept to by the stream itself

    def _busy(self) -> float:
        """For how many seconds the MIS was kept busy since this was asked last."""
        total = 0.0 if self._mis is None else self._mis.busy_seconds
        new, self._counted = total - self._counted, total
        meter.mis_query_seconds.inc(new)
        return new

    def _cycle(self, configuration: Configuration) -> bool:
        """One cycle of the capture; true when there is more to read at once."""
        capture = self._capture_of(configuration)
        if self.sweep.asked and not self.sweep.under_way:
            self._begin_sweep(capture, configuration.settings)
            self.sweep.begin()
        self._ask_hour()
        capture.cycle()
        away = self.health.mis.away_since
        if away is not None:
            _log.info("The MIS answers again. Nothing was missed", away_since=away.isoformat())
        self._said_away_at.clear()
        self.health = CaptureHealth(
            mis=Reachability(last_good=self._clock.now()),
            modes=dict(capture.modes),
            stopped_streams=capture.stopped,
            horizon_age=capture.horizon_age.total_seconds(),
            pinned_by=capture.pinned_by,
            replication=None if self._follow is None else self._follow.standing,
        )
        meter.mis_horizon_age_seconds.set(self.health.horizon_age)
        self._say_who_pins(capture)
        scanning = capture.scanning()
        if self.sweep.under_way and not scanning:
            self.sweep.end()
        return scanning

    def _begin_sweep(self, capture: Capture, settings: Settings) -> None:
        """Begin the sweep, unless it was begun since its last hour."""
        due = schedule.last_sweep_hour(settings, self._clock.now())
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

    def _ask_hour(self) -> None:
        """The MIS is a witness of the hour; asked now and then, and only while Kiva does not say it."""
        now, kiva_time = self._clock.monotonic(), self._kiva_time
        if self._mis is None or kiva_time is None or kiva_time.is_known or now < self._asks_hour_at:
            return
        horizon = self._mis.horizon()
        kiva_time.hear_mis(horizon.moment + horizon.age)
        self._asks_hour_at = now + _HOUR_ASKED_EVERY

    def _not_read(self, error: Exception) -> None:
        """Nothing is lost: W did not move. The first time, and then once an hour, it is worth a line."""
        if isinstance(error, errors.OutboxAway):
            if self._worth_a_line("the outbox"):
                _log.error("The outbox does not answer. Nothing is captured meanwhile", cause=str(error))
        elif isinstance(error, errors.RelayError):
            if self._away(str(error)):
                _log.warning("The MIS cannot be read. Nothing is lost; it is asked again", cause=str(error))
        elif self._away(f"{type(error).__name__}, see the log"):
            _log.exception("A page of the MIS could not be stored. Nothing is lost; it is read again")

    def _away(self, words: str) -> bool:
        """Note what came back instead of an answer; true when that is worth a line."""
        since = self.health.mis.away_since or self._clock.now()
        self.health = replace(self.health, mis=replace(self.health.mis, away_since=since, words=words))
        return self._worth_a_line("the MIS")

    def _worth_a_line(self, away: str) -> bool:
        """Asked each time that something is away: the first time, and then once an hour."""
        now = self._clock.monotonic()
        if now - self._said_away_at.get(away, float("-inf")) < _SAID_AGAIN_AFTER:
            return False
        self._said_away_at[away] = now
        return True
