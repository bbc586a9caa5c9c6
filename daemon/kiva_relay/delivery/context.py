"""What the courier and the refresher work with, opened once by the relay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, datetime
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
    started_at: datetime
    kiva_time: KivaTime | None = None
    no_room: str = ""

    def at_kiva(self) -> datetime:
        """The moment by which everything is decided that depends on a day."""
        return self.clock.now() if self.kiva_time is None else self.kiva_time.now()

    def day_at_kiva(self) -> date:
        """That day, where the institution is: a disbursal has the date that the branch wrote."""
        return self.at_kiva().astimezone(ZoneInfo(self.settings.mis.timezone)).date()

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
