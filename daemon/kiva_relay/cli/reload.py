"""`kiva-relay reload`: checks the edited files, then asks the running relay to put them into force."""

import threading
from datetime import timedelta

from kiva_relay.cli import figure, frame, mappings
from kiva_relay.clock import Clock, SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import ConfigurationError, RelayError, counted
from kiva_relay.mapping import example
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import act, heartbeat
from kiva_relay.outbox.database import Outbox
from kiva_relay.service import opening, reload

_SHOWN = 5
_PATIENCE = timedelta(seconds=10)
_LOOKS_EVERY = 0.1


def command(config: frame.Config = None, *, yes: frame.Yes = False) -> int:
    """Put edited settings and mappings into force. A mistake in them changes nothing.

    They are checked first: settings, mappings, their columns in the live database, their examples.
    """
    settings, chosen = _checked(config)
    frame.header(settings)
    failures = [
        f"{mapping.name}: {result.name}" for mapping in chosen for result in example.run(mapping) if not result.passed
    ]
    if failures:
        more = [f"and {len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
        said = f"{counted(len(failures), 'example')} no longer pass."
        frame.verdict("NOTE", "\n".join([said, *failures[:_SHOWN], *more]))
        frame.say("        kiva-relay mapping test      shows what differs")
        if not frame.agreed("Put it in force all the same?", yes=yes):
            frame.say("Nothing changed.")
            return 1
    with frame.outbox(settings) as outbox:
        return ask(outbox, SystemClock())


def _checked(config: frame.Config) -> tuple[Settings, list[Document]]:
    """The settings and mappings as they are written, checked also against the live database where it answers."""
    try:
        settings = frame.load(config)
        found = _fitting(settings)
    except ConfigurationError as error:
        error.hint = "Nothing changed: what was in force stays in force. Correct it, and run it again."
        raise
    return settings, found


def _fitting(settings: Settings) -> list[Document]:
    """The mappings, when neither the files nor the live database, where it answers, say a mistake."""
    found, mistakes = mappings.read(settings)
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        wrong = mappings.verified(found, mis, known=mistakes)
        mistakes = [] if wrong is None else wrong.mistakes
    except RelayError as error:
        frame.notice(f"Not compared with the live database: {error}")
    finally:
        mis.close()
    if mappings.severe(mistakes):
        raise ConfigurationError(mistakes)
    return found


def ask(outbox: Outbox, clock: Clock) -> int:
    """Ask the running relay, and wait for what it says."""
    with outbox.begin() as tx:
        if not heartbeat.is_running(tx, clock.now()):
            frame.say("The files are good. No relay is running: they take effect when it starts.")
            return 0
        asked = reload.ask(tx, now=clock.now())
        act.record(tx, by=frame.person(), verb="reload", about=[], note="", now=clock.now())
    deadline = clock.monotonic() + _PATIENCE.total_seconds()
    while clock.monotonic() < deadline:
        with outbox.read() as tx:
            result = reload.answered(tx, asked)
        if result is not None:
            frame.say(result.text)
            return 0 if result.ok else 2
        clock.wait(threading.Event(), _LOOKS_EVERY)
    with outbox.begin() as tx:
        reload.withdraw(tx, asked)
    raise RelayError(
        f"The relay did not answer within {figure.length(_PATIENCE)}. What was in force stays in force.",
        hint="kiva-relay status",
    )
