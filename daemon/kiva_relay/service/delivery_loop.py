"""The two threads that talk to Kiva: one sends, one only reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from kiva_relay.delivery import start
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import sending
from kiva_relay.service.reload import InForce
from kiva_relay.service.schedule import Job

_COURIER_RESTS = 0.25
_REFRESHER_RESTS = 0.5


class CourierLoop:
    """Sends what is due, some requests a turn."""

    def __init__(
        self, context: DeliveryContext, in_force: InForce, *, stop: threading.Event, at: Callable[[str], None]
    ) -> None:
        self.wake = threading.Event()
        self._context, self._in_force = replace(context), in_force
        self._courier = Courier(self._context, stop=stop, at=at)
        self._broken_off = False

    @property
    def no_room(self) -> str:
        """Which disk is full; empty when none is."""
        return self._context.no_room

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
        return 0.0 if sent else _COURIER_RESTS

    def _recover(self) -> None:
        """A turn that was broken off may have left an attempt open, which nobody waits for: as at a start."""
        with self._context.outbox.read() as tx:
            left_open = sending.open_batches(tx)
        if left_open:
            start.recover(self._context)


class RefresherLoop:
    """Reads Kiva's lists when the job `lists` asks for it, and settles by evidence what is in doubt."""

    def __init__(
        self,
        context: DeliveryContext,
        in_force: InForce,
        *,
        at: Callable[[str], None],
        asked: Callable[[], None] = lambda: None,
    ) -> None:
        self.wake = threading.Event()
        self.lists = Job("lists", clock=context.clock, wake=self.wake)
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
        try:
            read = self._refresher.look()
        except Exception as error:
            if self.lists.under_way:
                self.lists.end(type(error).__name__)
                self.lists.knock()
            raise
        if read and self.lists.under_way:
            self.lists.end()
        return _REFRESHER_RESTS
