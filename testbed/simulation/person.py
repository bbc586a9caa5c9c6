"""The people of a simulated history: a coordinator who publishes, and a person who settles what the relay asks.

She looks at what PA2 really shows, and says the truth; she waits until nothing can arrive any more.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import hold, query, settlement, table, warned_call
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.resource import body as json_body
from kiva_relay.resource.refusal import PERSON_DECIDES

if TYPE_CHECKING:
    from testbed.simulation.run import History


class Person:
    """Who is asked."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.patience = 30
        self.released = False

    def publishes(self) -> None:
        """A draft becomes a loan, or a loan is paid out."""
        history = self._history
        loans = [loan for loan in history.kiva.loans.values() if loan.status in ("inactive", "fundRaising")]
        if loans:
            loan = history.dice.choice(loans)
            loan.status = "fundRaising" if loan.status == "inactive" else "payingBack"
            history.tell(f"the coordinator: {loan.loan_id} is {loan.status}")

    def settles(self) -> None:
        """One thing that waits for her, or now and then a draft that she deletes."""
        history = self._history
        waiting = [entry for entry in self._entries() if self._asked(entry)]
        delivered = [e for e in self._entries() if e.state is State.DELIVERED and e.resource == "loan_draft"]
        if delivered and history.dice.random() < 0.1 and self._quiet():
            self._delete(history.dice.choice(delivered))
        elif waiting:
            self._settle(history.dice.choice(waiting))

    def settle_all(self) -> None:
        """Everything that waits for her, and the holds."""
        history = self._history
        with history.outbox.begin() as tx:
            for held in hold.in_force(tx):
                hold.release(tx, held.what, by="amina", note="looked", now=history.clock.now())
                self.released = True
                history.tell(f"amina releases {held.what} ({held.reason})")
        for entry in self._entries():
            if self._asked(entry):
                self._settle(entry)

    def _entries(self) -> list[Entry]:
        with self._history.outbox.read() as tx:
            return [of(row) for row in tx.execute(sa.select(table.entry).order_by(table.entry.c.id))]

    def _asked(self, entry: Entry) -> bool:
        if entry.state is State.WAITING:
            return entry.reason in PERSON_DECIDES and entry.waits_for is None
        if entry.state is State.REFUSED:
            return entry.body is not None
        if entry.evidence == "warned":
            return self._quiet() and entry.id in self._warned()
        if entry.state is not State.IN_DOUBT:
            return False
        if entry.repeats_itself:
            return False
        history = self._history
        with history.outbox.read() as tx:
            sent = query.last_sent(tx, entry)
        waited = history.hour.now() - (entry.changed_at if sent is None else sent.ended_at)
        return waited > timedelta(minutes=15 + self.patience) and self._quiet()

    def _warned(self) -> set[int]:
        with self._history.outbox.read() as tx:
            return {entry.id for call in warned_call.calls(tx) for entry in call.entries}

    def _quiet(self) -> bool:
        """Can nothing arrive any more that PA2 does not show yet?"""
        return not self._history.kiva.under_way() and "courier" not in self._history.busy

    def _settle(self, entry: Entry) -> None:
        history = self._history
        verb: settlement.Verb = "resend"
        if (entry.state is State.IN_DOUBT or entry.evidence == "warned") and self.at_kiva(entry):
            verb = "delivered"
        try:
            with history.outbox.begin() as tx:
                fresh = query.find(tx, entry.id)
                if fresh is None or fresh.row_version != entry.row_version:
                    return
                settlement.settle(tx, fresh, verb, by="amina", note="PA2", now=history.clock.now())
        except errors.UsageError as error:
            history.tell(f"amina is told: {error}")
        else:
            history.tell(f"amina: {entry.resource} {entry.identity} v{entry.version} --{verb}")

    def _delete(self, entry: Entry) -> None:
        """A draft is deleted in PA2, and she says so."""
        history = self._history
        mine = [loan for loan in history.kiva.loans.values() if loan.loan_id == entry.loan_id]
        if any(loan.status != "inactive" for loan in mine) or not mine:
            return
        try:
            with history.outbox.begin() as tx:
                fresh = query.find(tx, entry.id)
                if fresh is None or fresh.row_version != entry.row_version:
                    return
                settlement.settle(tx, fresh, "resend", by="amina", note="deleted", now=history.clock.now())
                for loan in mine:
                    loan.status = "deleted"
        except errors.UsageError as error:
            history.tell(f"amina is told: {error}")
        except BaseException:
            for loan in mine:  # her word was lost with the process: as if she had not done it yet
                loan.status = "inactive"
            raise
        else:
            history.tell(f"amina deletes draft {entry.identity} in PA2")

    def at_kiva(self, entry: Entry) -> bool:
        """Does PA2 show it?"""
        kiva = self._history.kiva
        if entry.resource == "loan_draft":
            return any(loan.loan_id == entry.loan_id and loan.status != "deleted" for loan in kiva.loans.values())
        if entry.resource == "journal":
            return any(record.resource == "journal" and record.body["body"] == f"news {entry.identity}"
                       for record in kiva.ledger)  # fmt: skip
        taken = [record for record in kiva.ledger if (record.resource, record.loan_id) == ("repayment", entry.loan_id)]
        said = json_body.decode((entry.body or "{}").encode())
        return bool(taken) and Decimal(str(taken[-1].body["amount"])) == said.get("amount")
