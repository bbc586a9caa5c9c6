"""What the outbox and Kiva's list say about one key: read in the transaction that will write what is owed for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from sqlalchemy.engine import Connection

from kiva_relay.capture import another_row, owed
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyFacts, MappedKey
from kiva_relay.outbox import adoption, mirror, query, watermark
from kiva_relay.outbox.state import State


def read(tx: Connection, look: CaptureContext, row: MappedKey) -> KeyFacts:
    """All that `owed.decide` needs to know about a mapped key; what it need not know is not asked for."""
    resource, identity = look.document.resource, row.mapped.identity
    if identity is None:
        return of_kiva(tx, look, row, KeyFacts())
    sent = None
    if not another_row.is_surely_the_same(row.seen, row.mapped):
        sent = query.was_sent(tx, resource, identity)
    other_key = watermark.same_identity(tx, resource, identity, other_than=row.key)
    facts = of_kiva(tx, look, row, KeyFacts(sent=sent, other_key=other_key))
    if resource == "repayment" and facts.at_kiva and row.mapped.body is not None:
        facts = replace(facts, previous=_previous(tx, identity, look.report.period))
    return facts


def of_kiva(tx: Connection, look: CaptureContext, row: MappedKey, facts: KeyFacts) -> KeyFacts:
    """The same facts, with what Kiva lists."""
    resource = look.document.resource
    if resource == "journal" and row.mapped.body is None:
        return facts
    ids = owed.ids_to_look_up(look, row, facts)
    if resource == "loan_draft":
        found = adoption.found(tx, {row.identity: ids}).get(row.identity)
        perhaps = found is None and adoption.perhaps(tx, ids)
        return replace(facts, adopted=None if found is None else found.receipt, perhaps=perhaps)
    at_kiva = mirror.by_loan_id(tx, ids)
    return replace(facts, at_kiva=at_kiva, perhaps=not at_kiva and adoption.perhaps(tx, ids))


def _previous(tx: Connection, identity: str, period: str) -> Decimal | None:
    """The position that Kiva took last in an earlier period: one of this period is simply replaced."""
    known = query.versions(tx, "repayment", identity)
    delivered = (entry for entry in known if entry.state is State.DELIVERED and entry.period != period)
    last = next(delivered, None)
    return Decimal(last.amount) if last is not None and last.amount is not None else None
