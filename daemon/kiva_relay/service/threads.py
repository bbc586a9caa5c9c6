"""What the daemon runs: its loops, the schedule that knocks for them, and the main thread that watches over both."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from kiva_relay import __version__, errors, log
from kiva_relay.account.balance import Account
from kiva_relay.clock import SteadyClock, this_boot
from kiva_relay.config import settings as config
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.outbox import clock_step, forgetting, hold, lease, mirror, report, sending, store
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.service import audit, heap, heartbeat, http, readiness, reload, systemd
from kiva_relay.service.capture_loop import CaptureLoop
from kiva_relay.service.delivery_loop import CourierLoop, RefresherLoop
from kiva_relay.service.file_watch import FileWatch
from kiva_relay.service.handover import Handover
from kiva_relay.service.loop import Loop
from kiva_relay.service.mail_loop import MailLoop
from kiva_relay.service.progress import Progress
from kiva_relay.service.reload import InForce, Reloader
from kiva_relay.service.schedule import Job, Schedule

WATCHED = ("capture", "courier", "refresher")
"""The loops that feed the watchdog: without one of them half a relay would look like a whole one."""

_ENDS_EVERY = 0.5
_LEAVES_EVERY = 0.1
_FEEDS_EVERY = 5.0
_AT_LEAST = 0.01
"""Seconds that the main thread rests: nothing that it does is due sooner."""
_LOOKS_FOR_NEWS_EVERY = 0.5
_ASKS_SERVER_EVERY = 2.0
"""Seconds. An administrator waits for the answer to a reload. So often only where the kernel does not tell of news: of
a server's outbox, and of edited files where `reload` is `on_save`."""
_LOOKS_ALL_THE_SAME = 10.0
_TELLS_ALL_THE_SAME = 60.0
"""Seconds after which what grows by time alone (what is overdue, the age of a reading) is shown anew."""
_A_STEP_MORE = timedelta(seconds=55)
_READERS_STOP_WITHIN = 1.0
_A_DAY = 86400.0

_log = log.get("relay")


class Threads:
    """All threads of a running relay."""

    def __init__(
        self,
        in_force: InForce,
        context: DeliveryContext,
        capture: CaptureLoop,
        *,
        captured: threading.Event,
        stop: threading.Event,
        reload_asked: threading.Event,
        read_settings: Callable[[], config.Settings],
        progress: Progress,
        time: SteadyClock,
    ) -> None:
        self._in_force, self._context, self._capture = in_force, context, capture
        self._stop, self._progress, self._clock = stop, progress, time
        self._outbox = context.outbox
        self._reloader = Reloader(
            in_force, context.outbox, clock=context.clock, signalled=reload_asked, read_settings=read_settings
        )
        self.news = threading.Event()
        self._through_all = threading.Lock()
        self._watch: FileWatch | None = None
        asked, at = partial(progress.step, "refresher"), progress.steps("refresher")
        refresher = RefresherLoop(context, in_force, at=at, asked=asked, answered=captured.set)
        self._courier = CourierLoop(
            context, in_force, wake=captured, doubts=refresher.wake.set, stop=stop, at=progress.steps("courier")
        )
        self._mail = MailLoop(context, in_force, at=progress.steps("mail"))
        workers: dict[str, Callable[[], None]] = {
            "heartbeat": self._publish,
            "purge": partial(self._goes_through_all, self._purge),
            "audit": partial(self._goes_through_all, self._audit),
            "reconcile": partial(self._goes_through_all, self._reconcile),
        }
        wakes = {name: threading.Event() for name in workers}
        jobs = {name: Job(name, clock=context.clock, wake=wake) for name, wake in wakes.items()}
        self.schedule = Schedule(
            [capture.poll, capture.sweep, refresher.lists, refresher.report, *jobs.values(), *self._mail.jobs],
            zone=in_force.configuration.settings.mis.timezone,
            clock=time.machine,  # APScheduler waits for an hour of the machine's
        )
        self._courier_thread = self._loop("courier", self._courier.turn, self._courier.wake)
        self._readers = [
            self._loop("capture", capture.turn, capture.wake),
            self._loop("refresher", refresher.turn, refresher.wake),
            *(self._loop(name, partial(_work, jobs[name], do), wakes[name]) for name, do in workers.items()),
            self._loop("reload", self._look_for_news, self.news),
            self._loop("mail", self._mail.turn, self._mail.wake),
        ]
        self._refresher = refresher
        self._seen: object = None
        self._looked_at = float("-inf")
        self._boot = this_boot()
        self._started_at = context.started_at
        self._looked_after_at = self._renewed_at = self._clock.monotonic()
        self._stolen: errors.RelayError | None = None
        self._handover = Handover(context.outbox, in_force.configuration.settings, clock=time, begun=context.started)
        self.handed_to = ""
        self._account: Account | None = None
        self._told: object = None
        self._told_at = self._counted_at = float("-inf")

    @property
    def loops(self) -> list[Loop]:
        """All of them, the courier first."""
        return [self._courier_thread, *self._readers]

    @property
    def running(self) -> list[str]:
        """Those that may still write."""
        return [loop.name for loop in self.loops if loop.running]

    def run(self) -> None:
        """Run all of them until `stop` is set; ends with the answer under way, or after `stop_grace`.

        Raises:
            Exception: what one of them could not go on after.
        """
        settings = self._in_force.configuration.settings
        listen = settings.metrics.listen
        server = None if listen == "off" else http.start(listen, missing=self.missing)
        if self._outbox.is_file:
            with contextlib.suppress(OSError):  # then it is looked at
                self._watch = FileWatch(self._outbox.path, self._written)
        for loop in self.loops:
            loop.start()
        self.schedule.start(settings)
        _log.info("ready", version=__version__, environment=settings.kiva.environment)
        systemd.ready("ready")
        try:
            while not self._stop.is_set():
                self._clock.wait(self._stop, self._tends_in())
                self._tend()
                self._follow_clock()
                self.schedule.keep_time(self._in_force.configuration.settings)
        finally:
            self.schedule.close()
            self._end()
            if self._watch is not None:
                self._watch.close()
            if server is not None:
                server.close()
        for error in (self._stolen, *(loop.failed for loop in self.loops)):
            if error is not None:
                raise error

    def heartbeat(self) -> Heartbeat:
        """What the relay says of itself at this moment."""
        destination, health = self._context.destination, self._capture.health
        away_since = destination.down_since
        return Heartbeat(
            started_at=self._context.started_at,
            version=__version__,
            pid=os.getpid(),
            beats_at=self._clock.machine.now(),
            mis=health.mis,
            kiva=Reachability(
                destination.last_harmless_success, away_since, destination.last_words if away_since else ""
            ),
            streams={each.name: each.resource for each in self._in_force.configuration.documents},
            modes=health.modes,
            stopped_streams=health.stopped_streams,
            horizon_age=health.horizon_age,
            pinned_by=health.pinned_by,
            replication=health.replication,
            edited=reload.edited(self._in_force.configuration),
            no_room=self._courier.no_room,
            stuck={loop.name: why for loop in self.loops if (why := loop.stuck())},
            jobs=self.schedule.health(),
        )

    def missing(self, beat: Heartbeat | None = None) -> list[str]:
        """What a readiness probe should say keeps everything from going; empty when something can."""
        with self._outbox.read() as tx:
            holds, refresh, taken = hold.in_force(tx), mirror.last_complete(tx), mirror.taken(tx)
        settings = self._in_force.configuration.settings
        return [*readiness.lacks(beat or self.heartbeat(), holds, refresh, settings, taken=taken)]

    # ---------------------------------------------------------------- the main thread

    def _tends_in(self) -> float:
        """Seconds until the lease or the watchdog is due; while it leaves, until the next look at the last request."""
        if self._handover.to:
            return _LEAVES_EVERY
        due = min(self._renewed_at + lease.renew_every().total_seconds(), self._looked_after_at + _FEEDS_EVERY)
        return max(due - self._clock.monotonic(), _AT_LEAST)

    def _tend(self) -> None:
        """What must not wait for anything: the lease and the watchdog, by the monotonic clock."""
        now = self._clock.monotonic()
        if now - self._renewed_at >= lease.renew_every().total_seconds():
            self._renewed_at = now
            self._renew()
        if self._handover.to and not self._stop.is_set():
            self._leave()
        if now - self._looked_after_at < _FEEDS_EVERY:
            return
        self._looked_after_at = now
        longest = _longest_step(self._in_force.configuration.settings).total_seconds()
        if max(map(self._progress.hanging, WATCHED)) < longest:
            systemd.alive()

    def _follow_clock(self) -> None:
        """The machine's clock may have been set; while the outbox cannot be written, the hour goes on as before."""
        with contextlib.suppress(errors.Unreachable):
            clock_step.follow(self._outbox, self._clock, boot=self._boot)

    def _renew(self) -> None:
        try:
            self._context.lease.renew()
            if not self._stop.is_set():
                self._see_who_asks()
        except errors.Unreachable as error:
            _log.error("The outbox does not answer. The relay ends when its lease does", cause=str(error))
        except (errors.Stolen, errors.OutboxPutBack) as error:
            self._stolen = error
            self._stop.set()

    def _see_who_asks(self) -> None:
        """A relay on a preferred machine gets the lease: nothing more is claimed, for as long as it asks."""
        before = self._handover.to
        if bool(self._handover.look()) != bool(before):
            self._courier.leave(leaves=not before)
            self._progress.at("leaves")

    def _leave(self) -> None:
        """Hand the lease over as soon as the courier rests, so that no attempt is open."""
        with contextlib.suppress(errors.Unreachable):  # then it is tried again
            if self._progress.rests("courier") and self._handover.done():
                self.handed_to = self._handover.to
                self._progress.at("hands_over")
                self._stop.set()

    def _end(self) -> None:
        """Await the answer that the courier is waiting for.

        What the others only read is not waited for, unless the lease is handed over: then none of them may still write.
        """
        self._stop.set()
        systemd.stopping("stopping: the answer under way is awaited")
        grace = self._in_force.configuration.settings.stop_grace.total_seconds()
        deadline = self._clock.monotonic() + grace
        for loop in self.loops:
            loop.end(0)
        while self._courier_thread.running and self._clock.monotonic() < deadline:
            self._courier_thread.end(_ENDS_EVERY)
            self._tend()
        deadline = self._clock.monotonic() + (grace if self.handed_to else _READERS_STOP_WITHIN)
        for loop in self._readers:
            loop.end(_LEAVES_EVERY)
            self._tend()
            while loop.running and self._clock.monotonic() < deadline:
                loop.end(_LEAVES_EVERY)
                self._tend()

    # ---------------------------------------------------------------- the work of the loops

    def _loop(self, name: str, turn: Callable[[], float], wake: threading.Event) -> Loop:
        return Loop(name, turn, wake=wake, stop=self._stop, clock=self._clock, progress=self._progress)

    def _publish(self) -> None:
        """Write the heartbeat; where something was written since, or now and then, count and show the account."""
        beat, settings, now = self.heartbeat(), self._in_force.configuration.settings, self._clock.monotonic()
        told = (self._outbox.news(), settings, beat.mis.away_since, beat.kiva.away_since)
        heartbeat.publish(self._outbox, beat, kiva_time=self._context.kiva_time)
        self._mail.hear(beat, told[0])
        if told == self._told and now - self._told_at < _TELLS_ALL_THE_SAME:
            return
        self._told, self._told_at = told, now
        recent = now - self._counted_at < _TELLS_ALL_THE_SAME
        self._account = heartbeat.tell(self._outbox, beat, settings, before=self._account, recent=recent)
        self._counted_at = self._counted_at if recent else now
        missing = self.missing(beat)
        if beat.mis.away_since is not None:
            missing.insert(0, "the MIS")
        systemd.status(f"waiting for {' and '.join(missing)}" if missing else "it can work")

    def _goes_through_all(self, do: Callable[[], None]) -> None:
        """One after the other: a start asks for all of them, and the room that one needed serves the next."""
        with self._through_all:
            try:
                do()
            finally:
                heap.give_back()

    def _purge(self) -> None:
        """What was settled long ago keeps its ids, fingerprints, attempts and receipts; its body and all quotes go."""
        keep = self._in_force.configuration.settings.outbox.keep_payloads
        gone = 0
        while not self._stop.is_set():
            began = self._clock.monotonic()
            with self._outbox.begin() as tx:  # a few at a time: whoever delivers must not wait for thousands of photos
                now = self._clock.now()
                part = store.purge(tx, before=now - keep, now=now)
                said = sending.forget_words(tx, before=now - keep) + report.forget_words(tx, before=now - keep)
            gone += part
            if not part and not said:
                break
            # As long as it kept the writers' place: after a long pause it has a million rows to go through.
            self._clock.wait(self._stop, self._clock.monotonic() - began)
        self._outbox.scrub()
        if gone:
            _log.info("bodies of settled entries were deleted, as outbox.keep_payloads says", entries=gone)

    def _audit(self) -> None:
        """Compare what was counted with what is there, at night; and let go of the numbers that nobody needs now."""
        audit.run(self._outbox)
        with self._outbox.begin() as tx:
            gone = forgetting.finish(tx, now=self._clock.now())
        if gone:
            _log.info("loans of forgotten borrowers are over and lost their number", loans=gone)

    def _written(self) -> None:
        """The outbox's file was written. For the relay's own sign of life nobody is woken."""
        if self._outbox.news() != self._seen:
            self.news.set()

    def _reconcile(self) -> None:
        """Compare MIS, outbox and Kiva, at night: all that differs is kept for persons."""
        # It loads what only this needs: an idle relay does without.
        from kiva_relay.account import reconciling  # noqa: PLC0415

        found = reconciling.run(self._outbox, self._in_force.configuration.settings, now=self._clock.now())
        if found is not None:
            _log.info("MIS, outbox and Kiva were compared", loans=found.loans, drafts=found.drafts)

    def _look_for_news(self) -> float:
        """See what other processes wrote into a file, and wake who may have to act; put edited files into force."""
        news, now = self._outbox.news(), self._clock.monotonic()
        if news != self._seen:
            self._courier.wake.set()
            self._refresher.wake.set()
        asks = news != self._seen or now - self._looked_at >= _LOOKS_ALL_THE_SAME
        request = self._reloader.due(asks_outbox=asks)
        if asks:
            self._seen, self._looked_at = news, now
        if request is not None:
            self._reload(request)
        if self._in_force.configuration.settings.reload == "on_save":
            return _LOOKS_FOR_NEWS_EVERY
        if self._watch is not None:
            return _LOOKS_ALL_THE_SAME
        return _LOOKS_FOR_NEWS_EVERY if self._outbox.is_file else _ASKS_SERVER_EVERY

    def _reload(self, request: reload.Request) -> None:
        """Put edited files into force."""
        systemd.reloading()
        result = self._reloader.reload(request)
        self.schedule.plan(self._in_force.configuration.settings)
        systemd.ready("ready")
        self._publish()
        self._reloader.answer(result)


def _longest_step(settings: config.Settings) -> timedelta:
    """What one step of a loop may take: a request to Kiva or a statement of the MIS, as long as these may, and more.

    Whoever waits for Kiva longer than usual must not be ended by the watchdog in the middle of it: that is a doubt.
    """
    waits = settings.kiva.timeout
    return max(waits.connect + waits.write + waits.read, settings.mis.statement_timeout) + _A_STEP_MORE


def _work(job: Job, do: Callable[[], None]) -> float:
    """A turn of a job that has a thread of its own. Work that failed is asked for again.

    Without that, the next turn had nothing to do and ended well: each error was said as if it were the first, and a job
    that never got on was not STOPPED.
    """
    if job.asked:
        try:
            with job.work():
                do()
        except Exception:
            job.knock()
            raise
    return _A_DAY
