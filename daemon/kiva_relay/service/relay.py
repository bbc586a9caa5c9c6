"""The daemon: opens everything in the right order, runs its loops, and stops with nothing half done.

Ready means: the configuration is good and the outbox is open. A MIS or an internet that is away is waited for.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from kiva_relay import __version__, clock, errors, log, meter
from kiva_relay.config import loader
from kiva_relay.config import settings as config
from kiva_relay.delivery import breaker, start
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import Tokens
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import configuration
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import binding, clock_step, heartbeat, migration, opening, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Witness
from kiva_relay.service import systemd, telling
from kiva_relay.service.capture_loop import CaptureLoop
from kiva_relay.service.handover import Candidate
from kiva_relay.service.progress import Progress
from kiva_relay.service.reload import InForce
from kiva_relay.service.threads import Threads

_log = log.get("relay")


@dataclass(frozen=True)
class Summary:
    """What `run --once` did: keys captured, requests made, entries still due."""

    captured: int
    requests: int
    due: int


class Relay:
    """One relay on one outbox. `at` is called with the name of each step boundary; tests end the process there."""

    outbox: Outbox
    context: DeliveryContext
    capture_loop: CaptureLoop

    def __init__(
        self,
        settings: config.Settings,
        documents: Sequence[Document],
        *,
        time: clock.Clock | None = None,
        at: Callable[[str], None] = lambda _name: None,
        read_settings: Callable[[], config.Settings] | None = None,
    ) -> None:
        self.time = clock.SteadyClock(time or clock.SystemClock())
        self.boot = clock.this_boot()
        self.in_force = InForce(configuration.of(settings, documents))
        self.progress = Progress(clock=self.time, at=at)
        self.stop, self.reload_asked = threading.Event(), threading.Event()
        self.captured = threading.Event()
        self._read_settings = read_settings or (lambda: loader.load(settings.file, environ=os.environ))
        self._threads: Threads | None = None
        self._stolen: errors.RelayError | None = None
        self._undo = contextlib.ExitStack()
        self._stands_by = ""
        self._has_told, self._number = False, ""

    @property
    def handed_to(self) -> str:
        """The machine to which it handed the lease over; "" where it ended otherwise, or did not end."""
        return self._threads.handed_to if self._threads is not None else ""

    @property
    def settings(self) -> config.Settings:
        """Those in force now."""
        return self.in_force.configuration.settings

    # ---------------------------------------------------------------- opening and closing

    def open(self, *, stand_by: bool = False) -> bool:
        """Open the outbox, take the lease, and settle what the last process left open.

        With `stand_by` another relay that is active on a server's outbox is waited for; false when `stop` was set
        meanwhile, and nothing is open.

        Raises:
            OutboxRefused: the outbox is of another destination, MIS or version.
            Stolen: another relay is active on it.
            UsageError: the outbox or the witness cannot be made or written.
        """
        settings = self.settings
        with contextlib.ExitStack() as undo:
            self.outbox = opening.open_outbox(settings)
            undo.callback(self.outbox.close)
            lease = Lease(self.outbox, clock=self.time)
            if not stand_by:
                lease.outlast(self.stop)
            elif not lease.stand_by(self.stop, waits=self._standing_by(lease)):
                return False
            undo.callback(self._give_back, lease)
            self.time.follow(self.time.apart())  # it may have stood by for days
            lease.keep(lost=self._lost)
            migration.check(self.outbox)
            with self.outbox.begin() as tx:
                binding.bind_destination(tx, settings)
            self.context = self._delivery(lease, undo)
            self.capture_loop = CaptureLoop(
                self.in_force,
                outbox=self.outbox,
                clock=self.time,
                stop=self.stop,
                at=self.progress.steps("capture"),
                at_kiva=self.context.at_kiva,
                wrote=self.captured.set,
                kiva_time=self.context.kiva_time,
            )
            undo.callback(self.capture_loop.close)
            self._recall_clock()
            self.progress.at("leased")
            start.recover(self.context)
            start.hold_what_must_wait(self.context)
            self._undo = undo.pop_all()
        meter.info.labels(__version__, settings.kiva.environment, settings.kiva.partner_id).set(1)
        return True

    def ask_reload(self) -> None:
        """Put edited files into force, as by a person's command."""
        self.reload_asked.set()
        if self._threads is not None:
            self._threads.news.set()

    def close(self) -> None:
        """Close everything; the outbox last."""
        self._undo.close()

    def _delivery(self, lease: Lease, undo: contextlib.ExitStack) -> DeliveryContext:
        """What is needed to talk to Kiva."""
        settings = self.settings
        witness = Witness(settings.outbox.witness, api_url=settings.kiva.api_url, partner_id=settings.kiva.partner_id)
        undo.callback(witness.close)
        kiva_time = KivaTime(self.time)
        with self.outbox.read() as tx:
            kiva_time.recall(tx)
        client = Client(settings.kiva, clock=self.time, heard=kiva_time.hear)
        undo.callback(client.close)
        return DeliveryContext(
            outbox=self.outbox,
            settings=settings,
            clock=self.time,
            client=client,
            tokens=Tokens(client, settings.kiva, clock=self.time),
            destination=breaker.Destination(clock=self.time),
            lease=lease,
            witness=witness,
            started=self.time.monotonic(),
            kiva_time=kiva_time,
        )

    def _recall_clock(self) -> None:
        """The clock may have been set while no relay ran; after a start of the machine nobody knows what passed."""
        with self.outbox.begin() as tx:
            machine_was_started = clock_step.recall(tx, self.time, boot=self.boot)
        if machine_was_started:
            settle_after = self.settings.delivery.settle_after.total_seconds()
            self.context.not_settled_before = self.time.monotonic() + settle_after

    def _give_back(self, lease: Lease) -> None:
        """A thread that did not end may still write: then the lease stays ours until the process ends."""
        if self._stolen is not None:
            return
        if self._threads is not None and (running := self._threads.running):
            _log.warning("A thread has not ended yet, so the lease ends by itself", threads=running)
            return
        self.outbox.stay(at_this_server=False)  # also of another server's, which took over meanwhile
        try:
            with contextlib.suppress(errors.Stolen), self.outbox.begin() as tx:
                heartbeat.forget(tx)
            lease.release()
            self.progress.at("given_back")
        except errors.Unreachable as error:
            _log.warning("The outbox cannot be written; its lease ends by itself", cause=str(error))

    def _standing_by(self, lease: Lease) -> Callable[[str], None]:
        candidate = Candidate(self.outbox, self.settings, clock=self.time)
        return lambda why: self._stand_by(why, candidate, lease.held_by)

    def _stand_by(self, why: str, candidate: Candidate, holder: str) -> None:
        """Another relay is active: the log says so once of each, and we are ready to take over."""
        if why != self._stands_by:
            self._stands_by = why
            _log.info("standing by; it takes over when the other ends", active=why)
            systemd.ready("standing by: another relay is active on this outbox")
        systemd.alive()
        with contextlib.suppress(errors.Unreachable):  # it is asked again when the lease is
            if not self._has_told or telling.is_awaited(self.outbox, self._number):
                self._number = telling.tell(self.outbox, self.settings, clock=self.time)
                self._has_told = True
            candidate.turn(holder)

    def _lost(self, error: errors.RelayError) -> None:
        """Another relay took over: this one ends."""
        self._stolen = error
        self.stop.set()

    # ---------------------------------------------------------------- once

    def once(self, *, enough: float = float("inf")) -> Summary:
        """Capture and deliver until nothing is due, or `enough` requests were made.

        Raises:
            Unreachable: the MIS or Kiva did not answer; what was captured stays, nothing is lost.
        """
        at = self.progress.at
        courier, refresher = Courier(self.context, stop=self.stop, at=at), Refresher(self.context, at=at)
        captured = requests = 0
        refresher.look()
        while not self.stop.is_set():
            capture = self.capture_loop.capture()
            new = capture.cycle()
            sent = courier.deliver()
            captured, requests = captured + new, requests + sent
            refresher.look()
            clock_step.follow(self.outbox, self.time, boot=self.boot)
            self.time.wait(self.stop, float(self.context.destination.pause().total_seconds() > 0))
            if requests >= enough or (not new and not sent and not capture.scanning()):
                break
        summary = Summary(captured, requests, self._due())
        away = self.context.destination.down_since
        if away is not None and summary.due:
            raise errors.Unreachable(
                f"Kiva does not answer: {self.context.destination.last_words}. {errors.counted(summary.due, 'entry')}"
                " due; nothing is lost.",
                hint="Run it again later.",
            )
        return summary

    def scan(self) -> Iterator[None]:
        """Read the MIS until no backfill or sweep is under way, as gently as the daemon does; nothing is sent.

        Gives an item after each look at the MIS.

        Raises:
            Unreachable: the MIS did not answer; what was read stays.
        """
        Refresher(self.context).look()
        yield from self.capture_loop.scan()

    def _due(self) -> int:
        with self.outbox.read() as tx:
            columns = table.entry.c
            due = (columns.state == State.READY.value, columns.due_at <= self.time.now())
            return tx.execute(sa.select(sa.func.count()).select_from(table.entry).where(*due)).scalar_one()

    # ---------------------------------------------------------------- the daemon

    def run(self) -> None:
        """Run until `stop` is set. Ends with the answer under way, or after `stop_grace`.

        Raises:
            Stolen: another relay took over.
            OutboxRefused: the MIS is not the one that the outbox belongs to.
        """
        self._threads = Threads(
            self.in_force,
            self.context,
            self.capture_loop,
            captured=self.captured,
            stop=self.stop,
            reload_asked=self.reload_asked,
            read_settings=self._read_settings,
            progress=self.progress,
            time=self.time,
        )
        self.context.lease.keep_no_more()
        try:
            self._threads.run()
        except errors.Stolen as error:
            self._stolen = error
            raise
        if self._stolen is not None:
            raise self._stolen
