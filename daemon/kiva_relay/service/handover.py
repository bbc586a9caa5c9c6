"""The lease goes to the machine that is preferred: who stands by there asks, and the holder hands it over.

Both look at `lease.prefer` of their own, so two machines that disagree hand nothing over.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from kiva_relay import errors, log
from kiva_relay.clock import Clock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.token import Tokens
from kiva_relay.outbox import binding, lease, preference, sending
from kiva_relay.outbox.database import Outbox
from kiva_relay.service import opening

LOOKS_EVERY = timedelta(seconds=30)
"""So often who asks looks whether it could work."""

_GOOD_FOR = LOOKS_EVERY * 3
_TOKEN_EVERY = timedelta(minutes=10)
"""Kiva's token server is asked less often than the MIS."""

_log = log.get("relay")


class Candidate:
    """A relay that stands by. It asks where its machine is preferred to the holder's, and MIS and Kiva answer here."""

    def __init__(self, outbox: Outbox, settings: Settings, *, clock: Clock) -> None:
        self._outbox, self._settings, self._clock = outbox, settings, clock
        self._own = lease.this_machine()
        self._look: threading.Thread | None = None
        self._look_at = self._ask_at = self._token_at = self._good_until = float("-inf")
        self._says = ""

    def turn(self, holder: str) -> None:
        """Ask, if it is time; `holder` is the machine that holds the lease, "" where nobody knows.

        Raises:
            OutboxAway: the outbox does not answer.
        """
        if not holder or self._own not in preference.before(self._settings.lease.prefer, holder):
            return
        now = self._clock.monotonic()
        if now >= self._look_at and not (self._look and self._look.is_alive()):
            self._look_at = now + LOOKS_EVERY.total_seconds()
            # Of its own: a server that does not answer must not keep this one from taking over.
            self._look = threading.Thread(target=self._look_around, name="candidate", daemon=True)
            self._look.start()
        if self._ask_at <= now < self._good_until:
            self._ask_at = now + lease.renew_every().total_seconds() / 2
            preference.ask(self._outbox, self._own)

    def _look_around(self) -> None:
        try:
            self._must_work()
        except Exception as error:  # noqa: BLE001 - whatever MIS and Kiva answer, standing by goes on
            self._good_until = float("-inf")
            cause = str(error) if isinstance(error, errors.RelayError) else type(error).__name__
            self._say("This machine is preferred, and does not ask for the lease: it could not work", cause)
        else:
            self._good_until = self._clock.monotonic() + _GOOD_FOR.total_seconds()
            self._say("This machine is preferred, and asks for the lease", "")

    def _must_work(self) -> None:
        """The right MIS answers, and Kiva gives a token.

        Raises:
            RelayError: one of them does not.
        """
        mis = opening.open_mis(self._settings, clock=self._clock)
        try:
            identity = mis.identity()
        finally:
            mis.close()
        with self._outbox.read() as tx:
            binding.check_mis(tx, identity, self._settings)
        if self._clock.monotonic() < self._token_at:
            return
        client = Client(self._settings.kiva, clock=self._clock)
        try:
            Tokens(client, self._settings.kiva, clock=self._clock).current()
        finally:
            client.close()
        self._token_at = self._clock.monotonic() + _TOKEN_EVERY.total_seconds()

    def _say(self, words: str, cause: str) -> None:
        """Once, until it is otherwise."""
        if words != self._says:
            self._says = words
            _log.info(words, machine=self._own, cause=cause or None)


class Handover:
    """What the holder knows of those that ask. `begun`: when it got the lease, by the monotonic clock.

    Its thread renews the lease as well: what it writes is written beside whoever writes, and waits for nobody.
    """

    def __init__(self, outbox: Outbox, settings: Settings, *, clock: Clock, begun: float) -> None:
        self._outbox, self._clock, self._begun = outbox, clock, begun
        self._own = lease.this_machine()
        self._named = self._own in settings.lease.prefer
        self._preferred = preference.before(settings.lease.prefer, self._own)
        self._words: dict[str, str] = {}
        self._stayed = False
        self.to = ""

    def look(self) -> str:
        """To which machine it is to be handed over, "" to none; asked at each renewal of the lease.

        Raises:
            OutboxAway: the outbox does not answer.
        """
        held_for = timedelta(seconds=self._clock.monotonic() - self._begun)
        if self._named and not self._stayed and held_for >= preference.STAY:
            with self._outbox.begin(alone=False, quiet=True) as tx:
                preference.stayed(tx, self._own)
            self._stayed = True
        if not self._preferred:
            return ""
        with self._outbox.read() as tx:
            words, known = preference.asking(tx, self._preferred), preference.HANDED_OVER.get(tx)
        alive = [one for one, word in words.items() if word != self._words.get(one, word)]
        self._words = words
        to = next((one for one in alive if held_for >= preference.stay(known, one)), "")
        if to and to != self.to:
            _log.info("A preferred machine asks for the lease. It gets it between two requests", machine=to)
        self.to = to
        return to

    def done(self) -> bool:
        """Note it down, if no attempt is open; false when one is: then it is tried again.

        Raises:
            OutboxAway: the outbox does not answer.
        """
        with self._outbox.begin(alone=False, quiet=True) as tx:
            if sending.open_batches(tx):
                return False
            preference.hand_over(tx, self.to)
        return True
