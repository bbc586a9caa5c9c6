"""What the courier and the refresher work with, opened once by the relay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from kiva_relay import log
from kiva_relay.clock import Clock
from kiva_relay.config import settings as config
from kiva_relay.delivery.breaker import Destination
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.delivery.token import Tokens
from kiva_relay.outbox.database import FREE_BYTES, Outbox
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.witness import Witness
from kiva_relay.resource import window

_MEGABYTE = 1024 * 1024

_log = log.get("delivery")


@dataclass
class DeliveryContext:
    """What delivery works with. Its threads share `destination` and `tokens`, which lock for themselves."""

    outbox: Outbox
    settings: config.Settings
    clock: Clock
    client: Client
    tokens: Tokens
    destination: Destination
    lease: Lease
    witness: Witness
    started: float
    """What the monotonic clock showed when this process began."""

    not_settled_before: float = 0.0
    """Until the monotonic clock shows that, nobody can say how long ago a request was made."""

    kiva_time: KivaTime | None = None
    no_room: str = ""

    @property
    def started_at(self) -> datetime:
        """When this process began, by the hour as it is now: the clock may have been set since."""
        return self.clock.now() - timedelta(seconds=self.clock.monotonic() - self.started)

    def at_kiva(self) -> datetime:
        """The moment by which everything is decided that depends on a day."""
        return self.clock.now() if self.kiva_time is None else self.kiva_time.now()

    def report(self, *, ahead: timedelta = timedelta(0)) -> window.RepaymentReport:
        """The repayment report of this moment at Kiva, or so long after it."""
        return window.report(self.settings, self.at_kiva() + ahead)

    def reports(self) -> list[window.RepaymentReport]:
        """The reports that it may be time for: more than one where Kiva does not say the hour, and clocks differ."""
        moments = [self.clock.now()] if self.kiva_time is None else self.kiva_time.perhaps()
        found = (window.report(self.settings, moment) for moment in moments)
        # Of those that are alike in what they decide, the one that opens next is kept.
        ordered = sorted(found, key=lambda one: one.opens_next)
        return [*{(one.period, one.is_open): one for one in ordered}.values()]

    def day_at_kiva(self) -> date:
        """The day, where the institution is: a disbursal has the date that the branch wrote."""
        now = self.clock.now() if self.kiva_time is None else self.kiva_time.earliest()
        return now.astimezone(ZoneInfo(self.settings.mis.timezone)).date()

    def has_room(self) -> bool:
        """Is there room on the disks to record what comes back? `no_room` says where not; logged when it changes."""
        free = (
            ("outbox", self.outbox.free_bytes()),
            ("witness", shutil.disk_usage(self.witness.path.parent).free),
        )
        full = [(name, left) for name, left in free if left is not None and left < FREE_BYTES]
        said = self.no_room
        self.no_room = "" if not full else f"{full[0][1] // _MEGABYTE} MB left for the {full[0][0]}"
        if self.no_room and not said:
            needed = f"{FREE_BYTES // _MEGABYTE} MB"
            _log.error("The disk is almost full. Nothing is sent until there is room", left=self.no_room, needed=needed)
        elif said and not self.no_room:
            _log.info("There is room on the disk again")
        return not self.no_room
