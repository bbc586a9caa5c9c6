"""The daemon: opens everything in the right order, runs its three loops, and stops with nothing half done.

Ready means: the configuration is good and the outbox is open. A MIS or an internet that is away is waited for.
The loops: *capture* reads the MIS, *courier* sends, *refresher* reads what Kiva has. They share nothing but the outbox.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from kiva_relay import __version__, clock, errors, log, meter
from kiva_relay.config import loader
from kiva_relay.config import settings as config
from kiva_relay.delivery import breaker, start
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.courier import Courier, DeliveryContext
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import Tokens
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import binding, migration, store, table
from kiva_relay.outbox import heartbeat as beats
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.meta import ReloadResult
from kiva_relay.outbox.state import State
from kiva_relay.outbox.witness import Witness
from kiva_relay.service import heartbeat, http, opening, reload, systemd
from kiva_relay.service.capture_loop import CaptureLoop

_COURIER_RESTS = 0.25
_LOOKOUT_RESTS = 0.5
_PULSE_EVERY = timedelta(seconds=5)
_PURGE_EVERY = timedelta(hours=1)
_READERS_STOP_WITHIN = 1.0
_HANGS_AFTER = 240.0  # longer than connect, write and read of one request together

_log = log.get("relay")


@dataclass(frozen=True)
class Summary:
    """What `run --once` did."""

    captured: int
    requests: int
    due: int


class Relay:
    """One relay on one outbox. `at` is called with the name of each step boundary; tests end the process there."""

    def __init__(
        self,
        settings: config.Settings,
        documents: Sequence[Document],
        *,
        time: clock.Clock | None = None,
        at: Callable[[str], None] = lambda _name: None,
        read_settings: Callable[[], config.Settings] | None = None,
    ) -> None:
        self.settings, self.documents, self.time, self._at = (
            settings,
            list(documents),
            time or clock.SystemClock(),
            at,
        )
        self.stop = threading.Event()
        self.reload_asked = threading.Event()
        self._read_settings = read_settings or (lambda: loader.load(settings.file, environ=os.environ))
        self._files = reload.EditedFiles(settings)
        self._started_at = self.time.now()
        self.published: Heartbeat | None = None
        self._wake_courier = threading.Event()
        self._failed: BaseException | None = None
        self._loops: list[threading.Thread] = []
        self._turned: dict[str, float] = {}
        self.outbox: Outbox
        self.context: DeliveryContext
        self.reading: CaptureLoop
        self._undo = contextlib.ExitStack()
        self._stands_by = ""

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
            elif not lease.stand_by(self.stop, told=self._stand_by):
                return False
            undo.callback(self._give_back, lease)
            lease.keep(lost=self._lost)
            migration.check(self.outbox)
            with self.outbox.begin() as tx:
                binding.bind_destination(tx, settings)
            kiva = settings.kiva
            witness = Witness(settings.outbox.witness, api_url=kiva.api_url, partner_id=kiva.partner_id)
            undo.callback(witness.close)
            client = Client(kiva)
            undo.callback(client.close)
            self.context = DeliveryContext(
                outbox=self.outbox,
                settings=settings,
                clock=self.time,
                client=client,
                tokens=Tokens(client, kiva, clock=self.time),
                destination=breaker.Destination(clock=self.time),
                lease=lease,
                witness=witness,
                started_at=self.time.now(),
            )
            self.reading = CaptureLoop(
                settings,
                self.documents,
                outbox=self.outbox,
                time=self.time,
                stop=self.stop,
                at=self._at,
            )
            undo.callback(self.reading.close)
            self._at("leased")
            start.recover(self.context)
            start.hold_what_must_wait(self.context)
            self._undo = undo.pop_all()
        meter.info.labels(__version__, kiva.environment).set(1)
        return True

    def close(self) -> None:
        """Close everything; the outbox last."""
        self._undo.close()

    def _give_back(self, lease: Lease) -> None:
        """A loop that did not end may still write: then the lease stays ours until the process ends."""
        if isinstance(self._failed, errors.Stolen) or any(loop.is_alive() for loop in self._loops):
            return
        try:
            with self.outbox.begin() as tx:
                beats.forget(tx)
            lease.release()
        except errors.Unreachable as error:
            _log.warning("The outbox cannot be written; its lease ends by itself", cause=str(error))

    def _stand_by(self, why: str) -> None:
        """Another relay is active: said once of each, and we are ready to take over."""
        if why != self._stands_by:
            self._stands_by = why
            _log.info("standing by; it takes over when the other ends", active=why)
            systemd.ready("standing by: another relay is active on this outbox")
        systemd.alive()

    def _lost(self, error: errors.Stolen) -> None:
        """Another relay took over: this one ends."""
        self._failed = error
        self.stop.set()

    # ---------------------------------------------------------------- once

    def once(self) -> Summary:
        """Capture and deliver until nothing is due.

        Raises:
            Unreachable: the MIS or Kiva did not answer; what was captured stays, nothing is lost.
        """
        courier, refresher = Courier(self.context, stop=self.stop, at=self._at), Refresher(self.context, at=self._at)
        captured = requests = 0
        refresher.look()
        while not self.stop.is_set():
            capture = self.reading.capture()
            new = capture.cycle()
            sent = courier.deliver()
            captured, requests = captured + new, requests + sent
            refresher.look()
            self.time.wait(self.stop, float(self.context.destination.pause().total_seconds() > 0))
            if not new and not sent and not capture.scanning():
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

    def capture(self, told: Callable[[], None]) -> None:
        """Read the MIS until no backfill or sweep is under way, as gently as the daemon does; nothing is sent.

        `told` is called after each look at the MIS.

        Raises:
            Unreachable: the MIS did not answer; what was read stays.
        """
        Refresher(self.context, at=self._at).look()
        self.reading.until_scanned(told)

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
        server = http.start(self.settings.metrics.listen, missing=self._missing) if self._exports() else None
        # Daemon threads: one that hangs in a request must not keep the process from ending.
        self._loops = [
            threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True)
            for name, loop in (("courier", self._deliver), ("capture", self._read), ("refresher", self._look))
        ]
        for loop in self._loops:
            loop.start()
        _log.info("ready", version=__version__, environment=self.settings.kiva.environment)
        systemd.ready("ready")
        self._guarded(self._tend)
        self._end_loops()
        if server is not None:
            server.close()
        if self._failed is not None:
            raise self._failed

    def _end_loops(self) -> None:
        """Await the answer that the courier is waiting for; what the others only read is not waited for."""
        self.stop.set()
        self._wake_courier.set()
        self.reading.wake()
        systemd.stopping("stopping: the answer under way is awaited")
        courier, *readers = self._loops
        courier.join(self.settings.stop_grace.total_seconds())
        deadline = self.time.monotonic() + _READERS_STOP_WITHIN
        for loop in readers:
            loop.join(max(deadline - self.time.monotonic(), 0.1))

    def reload(self, settings: config.Settings, documents: Sequence[Document]) -> str:
        """Put edited mappings, and settings that need no restart, into force at the next cycle; what was done."""
        before = {mapping.name: mapping.fingerprint for mapping in self.documents}
        settings, need_a_restart = reload.kept(self.settings, settings)
        self.settings, self.documents = settings, list(documents)
        self.context.settings = settings
        self.reading.reload(settings, self.documents)
        self._files.now_in_force(settings)
        after = {mapping.name: mapping.fingerprint for mapping in self.documents}
        changed = sorted(name for name in before.keys() | after if before.get(name) != after.get(name))
        _log.info("reloaded", mappings=len(after), changed=changed, need_a_restart=need_a_restart)
        text = f"In force: {errors.counted(len(after), 'mapping')}; changed: {', '.join(changed) or 'none'}."
        gone = sorted(before.keys() - after)
        if gone:
            text += f"\nNo longer read: {', '.join(gone)}. What they made stays as it is; nothing was withdrawn."
        if need_a_restart:
            text += (
                f"\nNot in force yet: {', '.join(need_a_restart)}. These are read when the relay starts:"
                "\n  sudo systemctl restart kiva-relay"
            )
        return text

    def _reload_when_asked(self) -> None:
        """Asked by a signal, by `kiva-relay reload`, or by a saved edit where `reload` is on_save."""
        try:
            with self.outbox.read() as tx:
                asked = reload.wanted(tx)
        except errors.Unreachable:
            return
        saved = self.settings.reload == "on_save" and self._files.settled()
        if asked is None and not self.reload_asked.is_set() and not saved:
            return
        self.reload_asked.clear()
        systemd.reloading()
        try:
            settings = self._read_settings()
            documents = opening.load_documents(settings)
            known = {mapping.fingerprint for mapping in self.documents}
            edited = [mapping for mapping in documents if mapping.fingerprint not in known]
            opening.must_fit(self.settings, edited, clock=self.time)
            if asked is None and saved:
                self._must_all_be_there(documents)
            ok, text = True, self.reload(settings, documents)
        except errors.UsageError as error:
            ok, text = False, str(error)
            self._files.refused()
            meter.config_reload_failures.inc()
            _log.error("The edited files hold mistakes; what was in force stays in force", mistakes=text)
        systemd.ready("ready")
        self._publish()
        with contextlib.suppress(errors.OutboxAway), self.outbox.begin() as tx:
            reload.answer(tx, ReloadResult(self.time.now(), ok=ok, text=text, asked=asked or ""))

    def _must_all_be_there(self, documents: Sequence[Document]) -> None:
        """A file that vanished while somebody saves is no decision; a mapping goes out of force by a command."""
        gone = {mapping.name for mapping in self.documents} - {mapping.name for mapping in documents}
        if gone:
            raise errors.UsageError(
                f"Gone from the disk: {', '.join(sorted(gone))}. A mapping is taken out of force by `reload` only."
            )

    def _exports(self) -> bool:
        return self.settings.metrics.listen != "off"

    def _missing(self) -> list[str]:
        """What a readiness probe should say is away."""
        sides = (("the MIS", self.reading.health.mis.away_since), ("Kiva", self.context.destination.down_since))
        return [name for name, away_since in sides if away_since is not None]

    def heartbeat(self) -> Heartbeat:
        """What the relay says of itself at this moment."""
        destination, health = self.context.destination, self.reading.health
        return Heartbeat(
            started_at=self._started_at,
            version=__version__,
            pid=os.getpid(),
            beats_at=self.time.now(),
            mis=health.mis,
            kiva=Reachability(
                destination.last_harmless_success,
                destination.down_since,
                destination.last_words if destination.down_since is not None else "",
            ),
            modes=health.modes,
            stopped_streams=health.stopped_streams,
            horizon_age=health.horizon_age,
            pinned_by=health.pinned_by,
            replication=health.replication,
            edited=tuple(self._files.edited()),
            no_room=self.context.no_room,
        )

    def _tend(self) -> None:
        """The main thread: the heartbeat, the watchdog, and what a person asks."""
        published = self.time.monotonic()
        purged = published - _PURGE_EVERY.total_seconds()
        self._publish()
        while not self.stop.is_set():
            self.time.wait(self.stop, 0.5)
            self._reload_when_asked()
            now = self.time.monotonic()
            if now - purged >= _PURGE_EVERY.total_seconds():
                self._purge()
                purged = now
            if now - published >= _PULSE_EVERY.total_seconds():
                self._publish()
                published = now

    def _purge(self) -> None:
        """What was settled long ago keeps its ids, fingerprints, attempts and receipts, and loses its body."""
        with contextlib.suppress(errors.OutboxAway), self.outbox.begin() as tx:
            gone = store.purge(tx, settled_before=self.time.now() - self.settings.outbox.keep_payloads)
            if gone:
                _log.info("bodies of settled entries were deleted, as outbox.keep_payloads says", entries=gone)

    def _publish(self) -> None:
        beat = self.heartbeat()
        try:
            heartbeat.publish(self.outbox, beat)
            self.published = beat
        except errors.Unreachable as error:
            _log.error("The outbox cannot be written. Nothing is sent meanwhile", cause=str(error))
            return
        missing = self._missing()
        systemd.status(f"waiting for {' and '.join(missing)}" if missing else "OK")
        if self.time.monotonic() - min(self._turned.values(), default=0) < _HANGS_AFTER:
            systemd.alive()

    def _guarded(self, loop: Callable[[], None]) -> None:
        """A loop that ends by an error ends the relay: half a relay would look like a whole one."""
        try:
            loop()
        except BaseException as error:  # noqa: BLE001 - reported, and raised again by run()
            self._failed = error
            self.stop.set()

    def _turning(self, loop: str) -> bool:
        """Asked by each loop at the start of each turn; the watchdog is fed while all of them turn."""
        self._turned[loop] = self.time.monotonic()
        return not self.stop.is_set()

    def _read(self) -> None:
        self.reading.run(turning=lambda: self._turning("capture"), done=self._wake_courier.set)

    def _deliver(self) -> None:
        courier = Courier(self.context, stop=self.stop, at=self._at)
        while self._turning("courier"):
            self._wake_courier.clear()
            try:
                courier.deliver()
            except store.Overtaken:
                continue
            except errors.Unreachable as error:
                _log.error("The outbox does not answer. Nothing is sent meanwhile", cause=str(error))
                self.time.wait(self.stop, 1)
            self.time.wait(self._wake_courier, _COURIER_RESTS)

    def _look(self) -> None:
        refresher = Refresher(self.context, at=self._at)
        while self._turning("refresher"):
            try:
                if refresher.look():
                    self._wake_courier.set()
            except store.Overtaken:
                continue
            except errors.Unreachable as error:
                _log.error("The outbox does not answer. Nothing is sent meanwhile", cause=str(error))
            self.time.wait(self.stop, _LOOKOUT_RESTS)
