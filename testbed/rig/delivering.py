"""One machine that delivers: its outbox and witness over several lives of the relay, around a scripted Kiva."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiva_relay.delivery import start
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.outbox import hold, query, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.recovery import Taken
from kiva_relay.outbox.witness import Witness
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.scripted_kiva import ScriptedKiva

LOAN = "000000871"


class ProcessEnded(BaseException):
    """Nothing of the process is left; what is in the outbox and in the witness stays."""


class Machine:
    """A relay that was started, and has read Kiva's list whole."""

    def __init__(self, folder: Path, outbox: Outbox, *more: str) -> None:
        self.clock, self.outbox, self.kiva = scripted_kiva.clock(), outbox, ScriptedKiva()
        self.context: DeliveryContext = scripted_kiva.context(folder, outbox, self.kiva, self.clock, *more)
        self.start()
        self.refresher = Refresher(self.context)
        assert self.look(), "the list is read whole"

    def start(self) -> Taken | None:
        """What a start does first."""
        return start.recover(self.context)

    def look(self) -> bool:
        """One look of the refresher, a second later."""
        self.clock.passes(1)
        return self.refresher.look()

    def owe(self, resource: str = "loan_draft", identity: str = LOAN, **changes: Any) -> None:
        """Put down what is owed; it is due."""
        more: dict[str, Any] = {"period": "2026-11"} if resource == "repayment" else {}
        owed = outboxes.owed(identity, **({"resource": resource, "stream": resource} | more | changes))
        with self.outbox.begin() as tx:
            store.owe(tx, owed, now=self.clock.now())

    def send(self, *, ends_at: str = "") -> int:
        """Send what is due, by a new courier; how many requests were made. The process may end at a step."""
        self.clock.passes(1)
        try:
            return Courier(self.context, stop=threading.Event(), at=_ends(ends_at)).deliver()
        except ProcessEnded:
            return 0

    def lose_witness(self) -> None:
        """Its file is deleted; the next start makes a new one."""
        kiva, path = self.context.settings.kiva, self.context.witness.path
        self.context.witness.close()
        path.unlink()
        self.context.witness = Witness(path, api_url=kiva.api_url, partner_id=kiva.partner_id)

    def entry(self, resource: str = "loan_draft", identity: str = LOAN) -> Entry:
        """The newest version."""
        with self.outbox.read() as tx:
            found = query.stand(tx, resource, identity).newest
        assert found is not None
        return found

    def holds(self) -> dict[str, Any]:
        """The parameters of what is held, by what and why."""
        with self.outbox.read() as tx:
            return {f"{held.what}: {held.reason}": held.params for held in hold.in_force(tx)}


def _ends(ends_at: str) -> Callable[[str], None]:
    def at(step: str) -> None:
        if step == ends_at:
            raise ProcessEnded

    return at
