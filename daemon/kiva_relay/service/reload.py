"""Edited files: what is in force against what is written, and a reload asked for through the outbox.

An edit takes effect by a command: an editor writes in place, and a mapping that is cut at a line still loads. So the
relay only notices that files differ from those in force. `kiva-relay reload`, another process, asks by a row in the
outbox and waits for the answer there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import errors, log, meter
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import configuration
from kiva_relay.mapping.configuration import Configuration, digests
from kiva_relay.outbox import meta
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.meta import ReloadResult
from kiva_relay.service import opening

NEED_A_RESTART = ("kiva", "mis", "outbox", "lease", "metrics", "log", "stop_grace")
"""Settings that are read once, when the relay starts."""

_log = log.get("relay")


@dataclass(frozen=True)
class Request:
    """What asks for a reload: `asked` is the request of the outbox, empty when there is none.

    `by_person`: somebody gave a command; else a saved edit was noticed.
    """

    asked: str
    by_person: bool


def ask(tx: Connection, *, now: datetime) -> str:
    """Ask the running relay to reload; what its answer will refer to."""
    asked = now.isoformat()
    meta.RELOAD_WANTED.put(tx, asked)
    return asked


def wanted(cx: Connection) -> str | None:
    """The request that waits for its answer."""
    return meta.RELOAD_WANTED.get(cx)


def withdraw(tx: Connection, asked: str) -> None:
    """Take back a request that nobody answered."""
    if wanted(tx) == asked:
        meta.RELOAD_WANTED.remove(tx)


def answer(tx: Connection, result: ReloadResult) -> None:
    """Say what became of it."""
    meta.RELOAD_RESULT.put(tx, result)
    if result.asked:
        withdraw(tx, result.asked)


def answered(tx: Connection, asked: str) -> ReloadResult | None:
    """The answer to a request, once there is one; that to a later request, of somebody else, answers it too."""
    result = meta.RELOAD_RESULT.get(tx)
    if result is None or not result.asked:
        return None
    return result if datetime.fromisoformat(result.asked) >= datetime.fromisoformat(asked) else None


def kept(old: config.Settings, new: config.Settings) -> tuple[config.Settings, list[str]]:
    """The new settings with the old ones where only a restart helps, and the names of those that differ."""
    differ = [name for name in NEED_A_RESTART if getattr(old, name) != getattr(new, name)]
    return new.model_copy(update={name: getattr(old, name) for name in differ}), differ


@dataclass
class InForce:
    """The configuration in force. A loop reads it once a turn; a reload replaces it, by one assignment."""

    configuration: Configuration


def edited(configuration: Configuration) -> tuple[str, ...]:
    """Names of the files that differ from those in force, or are new, or gone."""
    now, then = digests(configuration.settings), configuration.files
    return tuple(sorted({file.name for file in now.keys() | then.keys() if now.get(file) != then.get(file)}))


class Reloader:
    """Puts edited files into force: asked by a signal, by `kiva-relay reload`, or by a saved edit. For one thread."""

    def __init__(
        self,
        in_force: InForce,
        outbox: Outbox,
        *,
        clock: Clock,
        signalled: threading.Event,
        read_settings: Callable[[], config.Settings],
    ) -> None:
        self._in_force, self._outbox, self._clock = in_force, outbox, clock
        self._signalled, self._read_settings = signalled, read_settings
        self._seen = self._refused = in_force.configuration.files

    def due(self, *, asks_outbox: bool = True) -> Request | None:
        """What asks for a reload now; None when nothing does. `asks_outbox`: something was written into the outbox.

        Raises:
            OutboxAway: the outbox cannot be read.
        """
        asked = None
        if asks_outbox:
            with self._outbox.glance() as cx:
                asked = wanted(cx)
        saved = self._in_force.configuration.settings.reload == "on_save" and self._settled()
        if asked is None and not self._signalled.is_set() and not saved:
            return None
        by_person = asked is not None or self._signalled.is_set()
        self._signalled.clear()
        return Request(asked or "", by_person=by_person)

    def reload(self, request: Request) -> ReloadResult:
        """Read the files, and put them into force if they hold no mistake; what became of it, to be answered."""
        old = self._in_force.configuration
        try:
            new = configuration.read(self._read_settings)
            edits = [document for document in new.documents if document.fingerprint not in old.fingerprints.values()]
            opening.must_fit(old.settings, edits, clock=self._clock)
            if not request.by_person:
                _must_all_be_there(old, new)
        except errors.UsageError as error:
            self._refused = digests(old.settings)
            meter.config_reload_failures.inc()
            text = str(error)
            _log.error("The edited files hold mistakes; what was in force stays in force", mistakes=text)
            return ReloadResult(self._clock.now(), ok=False, text=text, asked=request.asked)
        settings, need_a_restart = kept(old.settings, new.settings)
        self._in_force.configuration = replace(new, settings=settings)
        self._seen = self._refused = new.files
        if request.by_person:
            self._take_row_security_as_it_is()
        text = _in_words(old, new, need_a_restart)
        return ReloadResult(self._clock.now(), ok=True, text=text, asked=request.asked)

    def _take_row_security_as_it_is(self) -> None:
        """What a policy of the MIS hides from now on was seen by the person who gives the command."""
        with contextlib.suppress(errors.OutboxAway), self._outbox.begin() as tx:
            meta.ROW_SECURITY.remove(tx)

    def answer(self, result: ReloadResult) -> None:
        """Tell who asked. An outbox that is away has no answer; who asked gives up by himself."""
        with contextlib.suppress(errors.OutboxAway), self._outbox.begin() as tx:
            answer(tx, result)

    def _settled(self) -> bool:
        """Was something edited, and does it stay as it is since the last look? What was refused counts once."""
        in_force = self._in_force.configuration
        now = digests(in_force.settings)
        settled = now == self._seen and now not in (in_force.files, self._refused)
        self._seen = now
        return settled


def _must_all_be_there(old: Configuration, new: Configuration) -> None:
    """A file that vanished while somebody saves is no decision; a mapping goes out of force by a command."""
    gone = old.fingerprints.keys() - new.fingerprints.keys()
    if gone:
        raise errors.UsageError(
            f"Gone from the disk: {', '.join(sorted(gone))}. A mapping is taken out of force by `reload` only."
        )


def _in_words(old: Configuration, new: Configuration, need_a_restart: list[str]) -> str:
    before, after = old.fingerprints, new.fingerprints
    changed = sorted(name for name in before.keys() | after if before.get(name) != after.get(name))
    _log.info("reloaded", mappings=len(after), changed=changed, need_a_restart=need_a_restart)
    text = f"In force: {errors.counted(len(after), 'mapping')}; changed: {', '.join(changed) or 'none'}."
    if gone := sorted(before.keys() - after):
        text += f"\nNo longer read: {', '.join(gone)}. What they made stays as it is; nothing was withdrawn."
    if need_a_restart:
        text += (
            f"\nNot in force yet: {', '.join(need_a_restart)}. These are read when the relay starts:"
            "\n  sudo systemctl restart kiva-relay"
        )
    return text
