"""The Kiva Coordinator, played: comes every few seconds and publishes the drafts that wait in PA2."""

from __future__ import annotations

from datetime import datetime, timedelta

from kiva_relay.clock import Clock
from testbed.kiva.control import Sandbox

_COMES_EVERY = timedelta(seconds=4)
_LETS_LIE = timedelta(seconds=4)
"""What is younger is still a draft when the relay looks: the control in its proof that another one is missing."""


class Coordinator:
    """Publishes by visits, as a person does; lenders fund the loans a little later (`stage`)."""

    def __init__(self, sandbox: Sandbox, *, clock: Clock) -> None:
        self._sandbox, self._clock = sandbox, clock
        self._comes_at = clock.now()
        self.published = 0

    def tick(self, *, at_once: bool = False) -> None:
        """Publish what has waited long enough, if it is time for a visit; `at_once`: publish everything now."""
        now = self._clock.now()
        if now < self._comes_at and not at_once:
            return
        self._comes_at = now + _COMES_EVERY
        drafts = [
            loan["internal_loan_id"]
            for loan in self._sandbox.loans(status="draft")
            if not loan["refused"] and (at_once or now - datetime.fromisoformat(loan["created"]) >= _LETS_LIE)
        ]
        if drafts:
            self.published += int(self._sandbox.publish(*drafts)["published"])
