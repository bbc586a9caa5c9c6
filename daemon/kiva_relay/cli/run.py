"""`kiva-relay run`: the daemon, or once what is due now.

Signals: SIGTERM and SIGINT end it after the answer under way, a second one at once; SIGHUP reloads.
"""

import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Annotated

import sqlalchemy as sa
import typer

from kiva_relay import __version__, errors, log
from kiva_relay.cli import frame, mapping_stopped, mappings, nameless_words
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, table, watermark
from kiva_relay.outbox.state import State
from kiva_relay.service import heap, relay

_log = log.get("relay")

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_NEED_A_PERSON = (State.IN_DOUBT, State.REFUSED)


def command(
    config: frame.Config = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Capture and deliver what is due now, then end.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --once: exit code 1 when something needs a person.")
    ] = False,
    override: frame.Override = None,
) -> int:
    """Run the relay: read the MIS, send to Kiva, until it is stopped.

    A MIS or an internet that is away is waited for, and so is another relay on the same PostgreSQL outbox: this one
    stands by, and takes over when that one ends. Exit codes: 0 stopped as asked, or handed over to a machine that
    lease.prefer names first; 2 wrong configuration; 3 another relay is active on the file; with --once also 3 when a
    server did not answer, 1 when a mapping does not fit the MIS, or a row has no key that can be read.
    """
    if strict and not once:
        raise errors.UsageError("--strict belongs to --once.", hint="kiva-relay run --once --strict")
    settings = frame.load(config, override)
    documents = mappings.load(settings)
    _read_secrets(settings)
    log.configure(settings.log.format)
    _log.info(
        f"kiva-relay {__version__} starts, towards {settings.kiva.environment.upper()}",
        partner=settings.kiva.partner_id,
        configuration=settings.file,
        sends=settings.kiva.send,
    )
    heap.share()
    daemon = relay.Relay(settings, documents, read_settings=lambda: frame.load(settings.file, override))
    _obey_signals(daemon)
    if not daemon.open(stand_by=not once):
        return 0
    try:
        if once:
            return _once(daemon, strict=strict)
        daemon.run()
    finally:
        daemon.close()
        # Python gives signals their default action back while it ends: a reload that comes then would end it by SIGHUP.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if daemon.handed_to:
        _log.info("handed over. Started again, this one stands by", machine=daemon.handed_to)
    else:
        _log.info("stopped as asked. Nothing is lost; it goes on where it was")
    return 0


def _read_secrets(settings: Settings) -> None:
    """A secret that cannot be read is a wrong configuration, and should not look like a server that is away."""
    for secret in (settings.kiva.client_secret, settings.mis.password, settings.outbox.password):
        if secret is not None:
            secret.reveal()


def _obey_signals(daemon: relay.Relay) -> None:
    """A signal interrupts the main thread anywhere, perhaps where it holds the lock of an event: it only queues."""
    asked: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def obey() -> None:
        while True:
            asked.get()()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.put(daemon.stop.set)
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)

    def reload(_number: int, _frame: FrameType | None) -> None:
        asked.put(daemon.ask_reload)

    threading.Thread(target=obey, name="signals", daemon=True).start()
    for number in _STOPPING:
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, reload)


def _once(daemon: relay.Relay, *, strict: bool) -> int:
    frame.header(daemon.settings)
    summary = daemon.once()
    with daemon.outbox.read() as tx:
        columns = table.entry.c
        query = sa.select(columns.state, sa.func.count()).group_by(columns.state)
        counts = {State(state): int(count) for state, count in tx.execute(query)}
        holds = hold.in_force(tx)
        nameless = nameless_words.known(tx, watermark.watermarks(tx))
    waiting_person = sum(counts.get(state, 0) for state in _NEED_A_PERSON)
    frame.say(
        f"captured {summary.captured:,} · requests {summary.requests:,}"
        f" · delivered in all {counts.get(State.DELIVERED, 0):,} · due now {summary.due:,}"
    )
    for held in holds:
        frame.verdict("HELD", f"{held.what}: {held.why.words}")
    if waiting_person or holds:
        found = {"entry": waiting_person, "hold": len(holds)}
        need = " and ".join(errors.counted(number, noun) for noun, number in found.items() if number)
        frame.say(f"{need}: a person decides.     kiva-relay status")
    stopped = daemon.capture_loop.capture().stopped
    mapping_stopped.say(stopped)
    nameless_words.say(nameless)
    words = daemon.context.destination.last_words
    if daemon.context.destination.down_since is not None:
        raise errors.Unreachable(f"Kiva does not answer: {words}. Nothing is lost.", hint="Run it again later.")
    return 1 if stopped or nameless or (strict and (waiting_person or holds)) else 0
