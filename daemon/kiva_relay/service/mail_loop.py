"""The thread that sends mail, and tells a watcher from outside that the relay lives. Without `mail.host` it sleeps.

It looks when the hour of the mail has come, and when something was written or went wrong that somebody may have to be
told; not more often than once a minute, and never while nothing happens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kiva_relay import log
from kiva_relay.delivery import watcher
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.service.reload import InForce
from kiva_relay.service.schedule import Job

if TYPE_CHECKING:
    from kiva_relay.mail.postman import Postman

_A_DAY = 86_400.0
_AT_MOST_EVERY = 60.0
_HEARD_WITHIN = 60.0
"""Seconds."""

_log = log.get("mail")


class MailLoop:
    """Its jobs knock: `mail` at the hour of the mail, `alive` now and then where somebody watches from outside."""

    def __init__(self, context: DeliveryContext, in_force: InForce, *, at: Callable[[str], None]) -> None:
        self.wake = threading.Event()
        self.mail = Job("mail", clock=context.clock, wake=self.wake)
        self.alive = Job("alive", clock=context.clock, wake=self.wake)
        self._context, self._in_force, self._at = context, in_force, at
        self._postman: Postman | None = None
        self._news = threading.Event()
        self._heard: object = None
        self._stuck = False
        self._heard_at = self._looked_at = float("-inf")
        self._look_at = float("inf")
        self._is_well, self._was_said = False, True

    @property
    def jobs(self) -> tuple[Job, Job]:
        """What the schedule knocks for."""
        return self.mail, self.alive

    def hear(self, beat: Heartbeat, written: object) -> None:
        """Something may have to be told. Called by the thread that writes the heartbeat.

        `written`: equal to what it was before as long as nothing was written into the outbox.
        """
        if not self._in_force.configuration.settings.mail.is_on:
            return
        self._heard_at, self._stuck = self._context.clock.monotonic(), bool(beat.stuck)
        heard = (written, beat.no_room, dict(beat.stuck), dict(beat.stopped_streams))
        if heard != self._heard:
            self._heard = heard
            self._news.set()
            self.wake.set()

    def turn(self) -> float:
        """Send what is due; the seconds until it is worth looking again.

        Raises:
            Stolen: another relay took over.
            OutboxAway: the outbox does not answer.
        """
        if not self._in_force.configuration.settings.mail.is_on:
            return _A_DAY
        now = self._context.clock.monotonic()
        is_new = self._news.is_set() and now - self._looked_at >= _AT_MOST_EVERY
        if self.mail.asked or is_new or now >= self._look_at:
            self._go(now)
        if self.alive.asked:
            with self.alive.work():
                self._say_alive()
        return self._rest()

    def _go(self, now: float) -> None:
        if self._postman is None:
            from kiva_relay.mail.postman import Postman  # noqa: PLC0415 - with words and Babel: only where there is mail

            self._postman = Postman(self._context.outbox, clock=self._context.clock, at=self._at)
        self._news.clear()
        self._looked_at = now
        try:
            with self.mail.work():
                done = self._postman.round(self._in_force.configuration.settings)
        except Exception:
            self.mail.knock()
            raise
        self._is_well = done.is_well
        self._look_at = float("inf")
        if done.next_at is not None:
            left = (done.next_at - self._context.clock.now()).total_seconds()
            self._look_at = now + max(left, 1.0)

    def _rest(self) -> float:
        """Seconds until something is due for which nobody knocks."""
        now = self._context.clock.monotonic()
        new = self._looked_at + _AT_MOST_EVERY if self._news.is_set() else float("inf")
        return min(max(min(new, self._look_at) - now, 0.0), _A_DAY)

    def _say_alive(self) -> None:
        """Only while the relay works, and could tell somebody by mail if it did not."""
        url = self._in_force.configuration.settings.mail.alive_url
        lives = self._context.clock.monotonic() - self._heard_at < _HEARD_WITHIN and not self._stuck
        if url is None or not lives or not self._is_well:
            return
        try:
            status = watcher.tell(url, clock=self._context.clock)
            cause = "" if status in range(200, 300) else f"HTTP {status}"
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing of the relay depends on it
            cause = type(error).__name__
        if cause and self._was_said:  # the address is a secret
            _log.warning("Who watches the relay from outside was not reached", cause=cause)
        self._was_said = not cause
