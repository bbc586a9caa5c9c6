"""The two threads that talk to Kiva: one sends, one only reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from kiva_relay.delivery import start
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import WAITS_FOR, Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import sending
from kiva_relay.service.reload import InForce
from kiva_relay.service.schedule import Job

_RESTS = 2.0
_RESTS_LONG = 10.0
"""Seconds. What capture writes, and what Kiva answers, wakes the courier; a lost answer wakes the refresher; what
somebody else writes into the outbox wakes both. Only what is due and may not go is looked at more often."""


class CourierLoop:
    """Sends what is due, some requests a turn. `wake` is set when capture wrote something, and when Kiva answered.

    `doubts` is called when an answer was lost.
    """

    def __init__(
        self,
        context: DeliveryContext,
        in_force: InForce,
        *,
        wake: threading.Event,
        doubts: Callable[[], None],
        stop: threading.Event,
        at: Callable[[str], None],
    ) -> None:
        self.wake, self._doubts = wake, doubts
        self._context, self._in_force = replace(context), in_force
        self._courier = Courier(self._context, stop=stop, at=at)
        self._broken_off = False

    @property
    def no_room(self) -> str:
        """Which disk is full; empty when none is."""
        return self._context.no_room

    def leave(self, *, leaves: bool) -> None:
        """Claim nothing more; or, where nobody takes over, go on."""
        self._courier.leaves = leaves
        self.wake.set()

    def turn(self) -> float:
        """Send some of what is due; the seconds to wait for more.

        Raises:
            Stolen: another relay took over.
            OutboxAway: the outbox does not answer.
        """
        self._context.settings = self._in_force.configuration.settings
        if self._broken_off:
            self._recover()
        self._broken_off = True
        sent = self._courier.round()
        self._broken_off = False
        if self._courier.lost:
            self._courier.lost = False
            self._doubts()
        if sent:
            return 0.0
        pause = self._context.destination.pause(*WAITS_FOR).total_seconds()
        rest = self._rest()
        return min(pause, rest) if pause > 0 else rest

    def _rest(self) -> float:
        """Seconds until something may have become due that nobody tells of."""
        if self._courier.next_due is None:
            return _RESTS_LONG
        left = (self._courier.next_due - self._context.clock.now()).total_seconds()
        return min(left, _RESTS_LONG) if left > 0 else _RESTS

    def _recover(self) -> None:
        """A turn that was broken off may have left an attempt open, which nobody waits for: as at a start."""
        with self._context.outbox.read() as tx:
            left_open = sending.open_batches(tx)
        if left_open:
            start.recover(self._context)


class RefresherLoop:
    """Reads Kiva's lists when the job `lists` asks for it, and before a report; settles by evidence what is in doubt.

    `answered` is called after Kiva answered something harmless: what waited for that may go.
    """

    def __init__(
        self,
        context: DeliveryContext,
        in_force: InForce,
        *,
        at: Callable[[str], None],
        asked: Callable[[], None] = lambda: None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self.wake, self._answered = threading.Event(), answered
        self.lists = Job("lists", clock=context.clock, wake=self.wake)
        self.report = Job("report", clock=context.clock, wake=self.wake)
        self._context, self._in_force = replace(context), in_force
        self._refresher = Refresher(self._context, at=at, asked=asked)

    def turn(self) -> float:
        """Look once; the seconds to wait until the next look.

        Raises:
            OutboxAway: the outbox does not answer.
        """
        self._context.settings = self._in_force.configuration.settings
        if self.lists.asked and not self.lists.under_way:
            self.lists.begin()
            self._refresher.ask()
        if self.report.asked:
            with self.report.work():
                self._refresher.look_ahead()
        before = self._context.destination.answers
        try:
            read = self._refresher.look()
        except Exception as error:
            if self.lists.under_way:
                self.lists.end(type(error).__name__)
                self.lists.knock()
            raise
        if read and self.lists.under_way:
            self.lists.end()
        if self._context.destination.answers != before:
            self._answered()
        return _RESTS_LONG if self._refresher.is_calm else _RESTS
