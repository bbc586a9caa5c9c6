"""A relay around an outbox that has a history, without a service: the steps of its day, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from kiva_relay.account import standing, task
from kiva_relay.delivery.courier import Courier
from kiva_relay.outbox import heartbeat, listing, person, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Heartbeat, Reachability
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.service import heartbeat as beating
from testbed.rig import capturing, long_history
from testbed.rig.capturing import Rig
from testbed.rig.delivering import Machine

_FEW = 100


class Life:
    """A relay around an outbox whose past has `loans` loans, each with a draft, a journal and six positions.

    `resources`: of which it has a mapping.
    """

    def __init__(
        self, folder: Path, loans: int, outbox: Outbox, *, resources: Sequence[str] = tuple(RESOURCES)
    ) -> None:
        self.outbox = outbox
        self.machine = Machine(folder, self.outbox)
        (folder / "mis").mkdir()
        base = capturing.rig(folder / "mis", resources)
        base.outbox.close()
        self.rig = Rig(self.outbox, base.mis, base.settings, base.documents)
        self.rig.mis.reaches = 10**12
        self.rig.clock.moment = self.machine.clock.now()
        with self.outbox.begin() as tx:
            for one in self.rig.documents:
                watermark.begin(tx, one.name)
                watermark.end_scan(tx, watermark.watermarks(tx)[one.name], now=self.now)
        long_history.write(self.outbox, loans, before=self.now)
        self.capture = self.rig.capture()
        self.capture.cycle()
        self.rig.mis.open_loan()
        self.capture.cycle()

    @property
    def now(self) -> datetime:
        """The hour of its clock, which stands."""
        return self.machine.clock.now()

    def idle(self) -> None:
        """Look at a MIS in which nothing changed."""
        self.capture.cycle()

    def change(self) -> None:
        """One loan more, and all that are open are corrected."""
        self.rig.mis.open_loan()
        for loan in self.rig.mis.loans.values():
            loan["amount"] += 100
        self.rig.mis.commit += 1
        for key in self.rig.mis.loans:
            self.rig.mis.written["loan", key] = self.rig.mis.commit
        self.capture.cycle()

    def deliver(self) -> None:
        """Send what is due an hour later."""
        self.machine.clock.passes(3600)
        Courier(self.machine.context, stop=threading.Event()).deliver()

    def beat(self) -> None:
        """Write the heartbeat, the gauges and the account."""
        well = Reachability(last_good=self.now)
        streams = {one.name: one.resource for one in self.rig.documents}
        beat = Heartbeat(self.now - timedelta(days=9), "0.2.0", 1, self.now, mis=well, kiva=well, streams=streams)
        beating.publish(self.outbox, beat)
        beating.tell(self.outbox, beat, self.rig.settings)

    def tell(self) -> None:
        """All that `status` says."""
        with self.outbox.read() as tx:
            assert heartbeat.read(tx) is not None
            standing.gather(tx, self.rig.settings, now=self.now)

    def list(self) -> None:
        """What `outbox list` shows."""
        with self.outbox.read() as tx:
            assert listing.entries(tx, listing.Filter(states=listing.OPEN), limit=100).total < _FEW

    def review(self) -> None:
        """All that waits for the coordinator."""
        with self.outbox.read() as tx:
            task.tasks(tx, standing.gather(tx, self.rig.settings, now=self.now))

    def visit(self) -> None:
        """Somebody has the coordinator's page open."""
        with self.outbox.begin() as tx:
            person.put(tx, person.Person("awa", "coordinator", "en"), password="no hash", by="root", now=self.now)
            token = person.begin_session(tx, "awa", now=self.now)
        with self.outbox.read() as tx:
            assert person.session(tx, token, now=self.now) is not None


DAY: Mapping[str, Callable[[Life], None]] = {
    "a look at which nothing changed": Life.idle,
    "a change": Life.change,
    "a request": Life.deliver,
    "a heartbeat": Life.beat,
    "status": Life.tell,
    "outbox list": Life.list,
    "a visit to the page": Life.visit,
}
"""What must cost the same whatever was settled before."""
