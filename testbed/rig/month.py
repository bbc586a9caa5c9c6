"""A month without a server: capture, an outbox in a file, Kiva's list, and a hand that sends what is due."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from kiva_relay.mapping import document as documents
from kiva_relay.outbox import meta, mirror, query, sending, table, watermark
from kiva_relay.outbox.entry import LATE, Entry
from kiva_relay.outbox.sending import EntryVerdict
from kiva_relay.outbox.state import Actor, State
from kiva_relay.report import current, decide
from kiva_relay.report.decide import LineAnswer
from kiva_relay.report.line import ReportLine
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream
from testbed.rig import capturing, outboxes
from testbed.rig.capturing import CREATED, Rig
from testbed.simulation.mis import SimulatedMis

OPENING = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
CLOSING = datetime(2026, 12, 10, 18, 0, tzinfo=UTC)
POSITION = """\
resource: repayment
identity: account
source: {table: loan, key: id, changed_at: changed, created_at: created, where: status = 'active'}
fields: {loan_id: account, client_id: client, amount: repaid}
checks: {principal: amount, currency: currency}
"""
WINDOW: Mapping[str, object] = {"when": "window", "cutoff": "end_of_previous_month", "timezone": "UTC"}


class BookOfPositions(SimulatedMis):
    """A MIS of loans alone, whose rows say what was lent, and in which currency."""

    def columns(self, source: str) -> dict[str, str]:
        return super().columns(source) | {"currency": "text"}

    def _content(self, stream: Stream, key: str) -> Content:
        row = self.loans.get(key)
        if row is None:
            return Content(key, in_scope=False, root=None)
        return Content(key, row["status"] == "active", dict(row))


@dataclass
class Month:
    """What happens in a month: the MIS is typed into, the relay looks, Kiva lists, persons decide."""

    rig: Rig
    sent: list[tuple[str, str]]
    """What Kiva took: loan id and amount, in that order."""

    def at(self, moment: datetime) -> None:
        """It is this moment, and the relay looks."""
        self.rig.clock.moment = moment
        self.look()

    def passes(self, **some: float) -> None:
        """Time passes, and the relay looks."""
        self.at(self.rig.clock.moment + timedelta(**some))

    def look(self) -> None:
        """One look at the MIS, as of a process that starts now; then another, for what the first one marked."""
        capture = self.rig.capture(at_kiva=self.rig.clock.now)
        for _ in range(3):
            capture.cycle()

    def lists(self, *loans: mirror.MirroredLoan) -> None:
        """Kiva's list is read: these loans and no others."""
        now = self.rig.clock.now()
        with self.rig.outbox.begin() as tx:
            refresh = mirror.begin_refresh(tx, now=now)
            mirror.keep(tx, refresh, mirror.others(tx, loans))
            mirror.drop(tx, refresh, mirror.lacking_in(tx, {loan.kiva_id for loan in loans})[0])
            mirror.end_refresh(tx, refresh, complete=True, listed=len(loans), detail=None, now=now)

    def lend(self, loan_id: str, *, lent: int = 500, repaid: int = 0, **more: object) -> None:
        """A loan in the MIS."""
        number = str(len(self.rig.mis.loans) + 1)
        self.rig.mis.loans[number] = {
            "id": int(number), "account": loan_id, "client": f"C-{loan_id}", "currency": "XOF", "status": "active",
            "amount": Decimal(lent), "repaid": Decimal(repaid), "created": CREATED, "changed": CREATED, **more,
        }  # fmt: skip
        self.types(loan_id)

    def types(self, loan_id: str, **columns: object) -> None:
        """A teller types into a loan."""
        mis = self.rig.mis
        key = next(key for key, row in mis.loans.items() if row["account"] == loan_id)
        mis.loans[key].update(
            {name: Decimal(value) if isinstance(value, int) else value for name, value in columns.items()}
        )
        mis._wrote("loan", key)

    def deletes(self, loan_id: str) -> None:
        """Somebody deletes a loan; a sweep finds that."""
        mis = self.rig.mis
        key = next(key for key, row in mis.loans.items() if row["account"] == loan_id)
        del mis.loans[key]
        with self.rig.outbox.begin() as tx:
            watermark.read_again(tx, table.captured.c.key == key)

    def deliver(self, *, outcome: str = "accepted") -> list[str]:
        """Send what is due, as the courier does; the loans that went."""
        now, went = self.rig.clock.now(), []
        with self.rig.outbox.begin() as tx:
            is_open = current.due(tx, self.rig.settings, now).is_open
            due = query.due(tx, "repayment", limit=250, now=now, origin=None if is_open else LATE)
            batch = sending.claim(
                tx, "repayment", due, fence=1, now=now, request=lambda bodies: ",".join(bodies).encode()
            )
        if batch is None:
            return []
        verdict = (
            EntryVerdict(State.DELIVERED)
            if outcome == "accepted"
            else EntryVerdict(State.IN_DOUBT, reason="answer_lost")
        )
        ending = outboxes.ACCEPTED if outcome == "accepted" else outboxes.LOST
        with self.rig.outbox.begin() as tx:
            sending.end(tx, batch, ending, {one.id: verdict for one in batch.entries}, by=Actor.COURIER, now=now)
        for entry in batch.entries:
            went.append(entry.loan_id)
            if outcome == "accepted":
                self.sent.append((entry.loan_id, str(entry.amount)))
        return went

    def lines(self, period: str = "2026-11") -> dict[str, ReportLine]:
        """The lines of a period, by the loan's number at Kiva."""
        with self.rig.outbox.read() as tx:
            found = current.lines_of(tx, self.rig.settings, period, self.rig.clock.now())
        return {one.kiva_id: one for one in found}

    def kinds(self, period: str = "2026-11") -> dict[str, tuple[str, str]]:
        """By the loan's number at Kiva, the kind and the cause of its line."""
        return {kiva_id: (one.kind.value, one.cause) for kiva_id, one in self.lines(period).items()}

    def decides(
        self, line: ReportLine, verb: Any, value: str | None = None, *, late: bool = False, period: str = "2026-11"
    ) -> int:
        """A person decides about a line as it was seen."""
        with self.rig.outbox.begin() as tx:
            return decide.decide(
                tx,
                self.rig.settings,
                line,
                LineAnswer(verb, value, "why", late),
                period=period,
                by="awa",
                now=self.rig.clock.now(),
            )

    def entries(self, identity: str) -> list[Entry]:
        """All versions of a loan's position, newest first."""
        return self.rig.versions("repayment", identity)


def begin(folder: Path, **changes: Mapping[str, object]) -> Month:
    """A relay that has run since October, with an empty MIS, before November's report opens."""
    given = {"repayments": WINDOW, "mis": {"timezone": "UTC"}} | changes
    rig = capturing.rig(folder, ["repayment"], **given)
    rig.settings = rig.settings.model_copy(update={"resources": ("repayment",)})
    (folder / "mappings").mkdir()
    (folder / "mappings" / "repayment.yaml").write_text(POSITION, encoding="utf-8")
    rig.documents = documents.load([folder / "mappings"], parameters={}, resources=("repayment",))
    rig.mis = BookOfPositions(random.Random(1), ("repayment",))
    rig.clock.moment = OPENING - timedelta(days=2)
    with rig.outbox.begin() as tx:
        meta.FIRST_START.put(tx, rig.clock.moment - timedelta(days=40))
    return Month(rig, [])


def listed(loan_id: str, kiva_id: str = "", *, lent: int | None = 500, **changes: Any) -> mirror.MirroredLoan:
    """A loan that is being paid back, as Kiva lists it; its number is made of its id."""
    amount = None if lent is None else str(Decimal(lent))
    given = {"status": "payingBack", "amount": amount, "currency": "XOF", "client_id": ""} | changes
    return mirror.MirroredLoan(kiva_id or f"K{loan_id}", loan_id, **given)
