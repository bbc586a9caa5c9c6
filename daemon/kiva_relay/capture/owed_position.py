"""What the MIS owes Kiva of a position, decided for one loan: from values, a person's decision among them.

A position is owed only for a loan from which Kiva expects a report, while the report is open, and in Kiva's own
spelling of the ids. A decision is one of the things by which that is decided, so capture, reload and sweep come to
the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.entry import LATE, Owed, OwedPosition
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.report.line import plain
from kiva_relay.report.place import LEFT_OUT
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.resource.repayment import THREE_COLUMNS

if TYPE_CHECKING:
    from kiva_relay.capture.context import CaptureContext
    from kiva_relay.capture.owed import KeyFacts, MappedKey

NOT_EXPECTED = "not_expected"
ANSWERED_BEFORE = "answered_before"
"""Why a position waits of which a person decided when an amount was another one."""


def meant(identity: str, listed: Iterable[MirroredLoan]) -> MirroredLoan | None:
    """Of the loans that Kiva lists under the ids of one of the MIS's, the one that is meant; None: it lists none."""
    # Where Kiva has the loan under the MIS's own id too, that one is meant, unless only the other is being paid back.
    return min(
        listed,
        key=lambda one: (one.status not in mirror.EXPECTED, spelled.key(one.loan_id) != identity),
        default=None,
    )


def is_the_same(one: MirroredLoan, loan: MirroredLoan) -> bool:
    """Does Kiva expect a report from it, under the same id as from the other?"""
    return one.status in mirror.EXPECTED and spelled.key(one.loan_id) == spelled.key(loan.loan_id)


@dataclass(frozen=True)
class PositionCase:
    """All that decides about one position: the look, the row and what is known of it, and the loan at Kiva."""

    look: CaptureContext
    row: MappedKey
    facts: KeyFacts
    loan: MirroredLoan

    @property
    def known(self) -> OwedPosition:
        """What is kept of it beside its amount."""
        bounds = {name: plain(value) for name, value in self.row.mapped.bounds.items()}
        basis = self.look.settings.repayments.basis
        return OwedPosition(basis, lent=bounds.get("principal"), scheduled=bounds.get("scheduled"))

    def body(self, amount: Decimal | None = None) -> json_body.Body:
        """The body as sent: the MIS's own in Kiva's spelling; with another amount, also where the mapping has none."""
        mapped = self.row.mapped
        body = dict(mapped.body or {}) | {"loan_id": self.loan.loan_id}
        if mapped.body is None and self.look.settings.kiva.columns == THREE_COLUMNS:
            body["client_id"] = mapped.client_id
        if "client_id" in body and self.loan.client_id:
            body["client_id"] = self.loan.client_id
        if amount is not None:
            body["amount"] = amount
        return body

    def reasons(self, body: json_body.Body) -> tuple[tuple[refusal.Refusal, ...], str | None]:
        """Why it must not go; and what a person is asked first."""
        settings, loan = self.look.settings, self.loan
        found = RESOURCES["repayment"].check(
            body,
            CheckFacts(
                today=self.look.today,
                columns=settings.kiva.columns,
                basis=settings.repayments.basis,
                principal=self.row.mapped.bounds.get("principal"),
                previous=self.facts.previous,
                lent_at_kiva=None if loan.amount is None else Decimal(loan.amount),
                currency_at_kiva=loan.currency,
                currency=self.row.mapped.currency or self.facts.currency,
                twins=max(len(self.facts.listed), 1),
            ),
        )
        hard = tuple(reason for reason in found if reason.code not in refusal.PERSON_DECIDES)
        return hard, next((reason.code for reason in found if reason.code in refusal.PERSON_DECIDES), None)

    def binds(self, decision: Decision, owed: Owed) -> bool:
        """Is a decision about the amounts of now?"""
        position, lent = (None if text is None else plain(Decimal(text)) for text in (owed.amount, self.loan.amount))
        return decision.binds(position, lent, self.loan.currency)

    def due(self, owed: Owed) -> datetime:
        """What a poll brings goes with the night's; what was asked for, at once."""
        seen, goes = self.row.seen, self.look.report.goes
        asked = self.look.origin == "report" or seen is None or seen.again
        return owed.due_at if asked or goes is None else max(owed.due_at, goes)


def decide(look: CaptureContext, owed: Owed, row: MappedKey, facts: KeyFacts) -> Owed | str:
    """A position as it is owed; or why nothing is owed of the loan."""
    loan = meant(row.identity, facts.at_kiva.values())
    if loan is None or loan.status not in mirror.EXPECTED:
        return NOT_EXPECTED
    case = PositionCase(look, row, facts, loan)
    decision = facts.decision
    if decision is not None and not case.binds(decision, owed):
        decision = None
    late = decision is not None and decision.late and look.takes_late
    if not look.report.is_open and not late:
        return NOT_EXPECTED
    if decision is not None and decision.verb == "leave_out":
        return LEFT_OUT
    owed = dataclasses.replace(
        owed,
        loan_id=loan.loan_id,
        period=look.report.period,
        position=case.known,
        due_at=owed.due_at if decision is not None else case.due(owed),
        origin=LATE if late else owed.origin,
    )
    return _as_mapped(case, owed) if decision is None else _as_decided(case, owed, decision)


def _as_mapped(case: PositionCase, owed: Owed) -> Owed:
    """What the MIS gives; where there is something to ask, it waits."""
    if case.row.mapped.body is None or owed.body is None:
        return owed
    body = case.body()
    hard, asks = case.reasons(body)
    if hard:
        return dataclasses.replace(owed, body=None, body_sha256=None, refusals=hard, waits=None)
    answered = case.facts.decision
    if asks is None and answered is not None and answered.verb in ("leave_out", "value"):
        asks = ANSWERED_BEFORE
    return _written(owed, body, waits=asks or owed.waits)


def _as_decided(case: PositionCase, owed: Owed, decision: Decision) -> Owed:
    """What a person decided, about just these amounts."""
    amount = None
    if decision.verb == "keep":
        amount = case.facts.previous
    elif decision.verb == "value":
        amount = Decimal(decision.value or 0)
    is_mapped = case.row.mapped.body is not None
    if (amount is None and (not is_mapped or decision.verb == "keep")) or (is_mapped and owed.body is None):
        return _as_mapped(case, owed)
    body = case.body(amount)
    hard, _asks = case.reasons(body)
    if hard:
        return dataclasses.replace(owed, body=None, body_sha256=None, refusals=hard, waits=None)
    known = dataclasses.replace(case.known, mis=None if amount is None else owed.amount or "", decided=True)
    if amount is not None:
        owed = dataclasses.replace(owed, amount=f"{amount:f}")
    return _written(dataclasses.replace(owed, position=known), body, waits=None)


def _written(owed: Owed, body: json_body.Body, *, waits: str | None) -> Owed:
    return dataclasses.replace(
        owed,
        body=json_body.encode(body).decode(),
        body_sha256=json_body.sha256(body),
        refusals=(),
        waits=waits,
    )
