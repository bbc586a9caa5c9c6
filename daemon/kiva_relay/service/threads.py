"""What the daemon runs: its loops, the schedule that knocks for them, and the main thread that watches over both."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

from kiva_relay import __version__, errors, log
from kiva_relay.account.balance import Account
from kiva_relay.config import settings as config
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.outbox import hold, lease, mirror, store
from kiva_relay.outbox.heartbeat import Heartbeat, ListHealth, Reachability
from kiva_relay.service import audit, heartbeat, http, readiness, reload, systemd
from kiva_relay.service.capture_loop import CaptureLoop
from kiva_relay.service.delivery_loop import CourierLoop, RefresherLoop
from kiva_relay.service.loop import Loop
from kiva_relay.service.progress import Progress
from kiva_relay.service.reload import InForce, Reloader
from kiva_relay.service.schedule import Job, Schedule

WATCHED = ("capture", "courier", "refresher")
"""The loops that feed the watchdog: without one of them half a relay would look like a whole one."""

_TENDS_EVERY = 0.5
_FEEDS_EVERY = 5.0
_HANGS_AFTER = 240.0  # longer than connect, write and read of one request together
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
        stop: threading.Event,
        reload_asked: threading.Event,
        read_settings: Callable[[], config.Settings],
        progress: Progress,
    ) -> None:
        self._in_force, self._context, self._capture = in_force, context, capture
        self._stop, self._progress, self._clock = stop, progress, context.clock
        self._outbox = context.outbox
        self._reloader = Reloader(
            in_force, context.outbox, clock=context.clock, signalled=reload_asked, read_settings=read_settings
        )
        self._courier = CourierLoop(context, in_force, stop=stop, at=progress.steps("courier"))
        asked = partial(progress.step, "refresher")
        refresher = RefresherLoop(context, in_force, at=progress.steps("refresher"), asked=asked)
        workers = {"heartbeat": self._publish, "purge": self._purge, "audit": self._audit, "reload": self._reload}
        wakes = {name: threading.Event() for name in workers}
        jobs = {name: Job(name, clock=context.clock, wake=wake) for name, wake in wakes.items()}
        self.schedule = Schedule(
            [capture.poll, capture.sweep, refresher.lists, *jobs.values()],
            zone=in_force.configuration.settings.mis.timezone,
            clock=context.clock,
        )
        self._courier_thread = self._loop("courier", self._courier.turn, self._courier.wake)
        self._readers = [
            self._loop("capture", capture.turn, capture.wake),
            self._loop("refresher", refresher.turn, refresher.wake),
            *(self._loop(name, partial(_work, jobs[name], do), wakes[name]) for name, do in workers.items()),
        ]
        self._started_at = context.started_at
        self._fed_at = self._renewed_at = self._clock.monotonic()
        self._stolen: errors.Stolen | None = None
        self._account: Account | None = None

    @property
    def loops(self) -> list[Loop]:
        """All of them, the courier first."""
        return [self._courier_thread, *self._readers]

    @property
    def running(self) -> bool:
        """May one of them still write?"""
        return any(loop.running for loop in self.loops)

    def run(self) -> None:
        """Run all of them until `stop` is set; ends with the answer under way, or after `stop_grace`.

        Raises:
            Exception: what one of them could not go on after.
        """
        settings = self._in_force.configuration.settings
        listen = settings.metrics.listen
        server = None if listen == "off" else http.start(listen, missing=self.missing)
        for loop in self.loops:
            loop.start()
        self.schedule.start(settings)
        _log.info("ready", version=__version__, environment=settings.kiva.environment)
        systemd.ready("ready")
        try:
            while not self._stop.is_set():
                self._clock.wait(self._stop, _TENDS_EVERY)
                self._tend()
                self.schedule.keep_time(self._in_force.configuration.settings)
        finally:
            self.schedule.close()
            self._end()
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
            started_at=self._started_at,
            version=__version__,
            pid=os.getpid(),
            beats_at=self._clock.now(),
            mis=health.mis,
            kiva=Reachability(
                destination.last_harmless_success, away_since, destination.last_words if away_since else ""
            ),
            kiva_list=ListHealth(destination.list_incomplete_since, destination.list_words),
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

    def missing(self) -> list[str]:
        """What a readiness probe should say keeps everything from going; empty when something can."""
        with self._outbox.read() as tx:
            holds, refresh = hold.in_force(tx), mirror.last_complete(tx)
        return [*readiness.lacks(self.heartbeat(), holds, refresh, self._in_force.configuration.settings)]

    # ---------------------------------------------------------------- the main thread

    def _tend(self) -> None:
        """What must not wait for anything: the lease and the watchdog, by the monotonic clock."""
        now = self._clock.monotonic()
        if now - self._renewed_at >= lease.renew_every().total_seconds():
            self._renewed_at = now
            self._renew()
        if now - self._fed_at >= _FEEDS_EVERY and max(map(self._progress.hanging, WATCHED)) < _HANGS_AFTER:
            self._fed_at = now
            systemd.alive()

    def _renew(self) -> None:
        try:
            self._context.lease.renew()
        except errors.Unreachable as error:
            _log.error("The outbox does not answer. The relay ends when its lease does", cause=str(error))
        except errors.Stolen as error:
            self._stolen = error
            self._stop.set()

    def _end(self) -> None:
        """Await the answer that the courier is waiting for; what the others only read is not waited for."""
        self._stop.set()
        systemd.stopping("stopping: the answer under way is awaited")
        deadline = self._clock.monotonic() + self._in_force.configuration.settings.stop_grace.total_seconds()
        for loop in self.loops:
            loop.end(0)
        while self._courier_thread.running and self._clock.monotonic() < deadline:
            self._courier_thread.end(_TENDS_EVERY)
            self._tend()
        deadline = self._clock.monotonic() + _READERS_STOP_WITHIN
        for loop in self._readers:
            loop.end(max(deadline - self._clock.monotonic(), 0.1))

    # ---------------------------------------------------------------- the work of the loops

    def _loop(self, name: str, turn: Callable[[], float], wake: threading.Event) -> Loop:
        return Loop(name, turn, wake=wake, stop=self._stop, clock=self._clock, progress=self._progress)

    def _publish(self) -> None:
        """Write the heartbeat."""
        beat, settings = self.heartbeat(), self._in_force.configuration.settings
        kiva_time = self._context.kiva_time
        self._account = heartbeat.publish(self._outbox, beat, settings, kiva_time=kiva_time, before=self._account)
        missing = self.missing()
        if beat.mis.away_since is not None:
            missing.insert(0, "the MIS")
        systemd.status(f"waiting for {' and '.join(missing)}" if missing else "it can work")

    def _purge(self) -> None:
        """What was settled long ago keeps its ids, fingerprints, attempts and receipts, and loses its body."""
        keep = self._in_force.configuration.settings.outbox.keep_payloads
        with self._outbox.begin() as tx:
            gone = store.purge(tx, before=self._clock.now() - keep, now=self._clock.now())
        if gone:
            _log.info("bodies of settled entries were deleted, as outbox.keep_payloads says", entries=gone)

    def _audit(self) -> None:
        """Compare what was counted with what is there, at night."""
        audit.run(self._outbox)

    def _reload(self) -> None:
        """Put edited files into force, when somebody asks for it."""
        request = self._reloader.due()
        if request is None:
            return
        systemd.reloading()
        result = self._reloader.reload(request)
        self.schedule.plan(self._in_force.configuration.settings)
        systemd.ready("ready")
        self._publish()
        self._reloader.answer(result)


def _work(job: Job, do: Callable[[], None]) -> float:
    """A turn of a job that has a thread of its own."""
    if job.asked:
        with job.work():
            do()
    return _A_DAY
