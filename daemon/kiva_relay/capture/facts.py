"""What the outbox and Kiva's list say about one key: read in the transaction that will write what is owed for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from sqlalchemy.engine import Connection

from kiva_relay.capture import another_row, owed, owed_position
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyFacts, MappedKey
from kiva_relay.outbox import adoption, decision, duplicate, mirror, position, query, watermark
from kiva_relay.outbox.duplicate import Wanted
from kiva_relay.report import facts as report_facts
from kiva_relay.resource import loan_draft


def read(tx: Connection, look: CaptureContext, row: MappedKey) -> KeyFacts:
    """All that `owed.decide` needs to know about a mapped key; what it need not know is not asked for."""
    resource, identity = look.document.resource, row.mapped.identity
    if identity is None:
        return of_kiva(tx, look, row, KeyFacts())
    sent = None
    if not another_row.is_surely_the_same(row.seen, row.mapped):
        sent = query.was_sent(tx, resource, identity)
    itself = (look.document.name, row.key)
    other_row = watermark.same_identity(tx, resource, identity, other_than=itself, streams=look.streams)
    facts = of_kiva(tx, look, row, KeyFacts(sent=sent, other_row=other_row))
    if resource == "loan_draft" and facts.adopted is None and not facts.perhaps:
        return replace(facts, twins=_twins(tx, look, row))
    loan = next(iter(facts.listed), None)
    if resource != "repayment" or loan is None:
        return facts
    return replace(
        facts,
        previous=_previous(tx, look, row, loan.loan_id),
        decision=decision.newest(look.decisions, facts.listed),
        currency=query.currency_of_draft(tx, loan.loan_id) if loan.currency else None,
    )


def _twins(tx: Connection, look: CaptureContext, row: MappedKey) -> tuple[str, ...]:
    """The loans about which a person has to be asked whether a draft is one of them."""
    mapped, body = row.mapped, row.mapped.body
    if body is None or mapped.refusals:
        return ()
    amount, currency = owed.money(body)
    ids = tuple(loan_draft.loan_ids(body))
    publish_by = loan_draft.publish_by(body)
    wanted = Wanted(row.identity, mapped.loan_id, mapped.client_id, amount, currency, publish_by, ids)
    return duplicate.asked(tx, wanted, now=look.now)


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
    if resource == "repayment":
        at_kiva = mirror.by_key(listed := mirror.under(tx, ids))
        loan = owed_position.meant(row.identity, at_kiva.values())
        same = () if loan is None else [one for one in listed if owed_position.is_the_same(one, loan)]
        return replace(facts, at_kiva=at_kiva, listed=tuple(same))
    at_kiva = mirror.by_loan_id(tx, ids)
    return replace(facts, at_kiva=at_kiva, perhaps=not at_kiva and adoption.perhaps(tx, ids))


def _previous(tx: Connection, look: CaptureContext, row: MappedKey, loan_id: str) -> Decimal | None:
    """The position that Kiva took last in an earlier period, on the basis of now: one of this period is replaced."""
    last = position.last_of_another_period(tx, row.identity, loan_id, look.report.period)
    if last is None:
        return None
    principal = row.mapped.bounds.get("principal")
    lent = last.lent if last.lent is not None else None if principal is None else str(principal)
    return report_facts.on_basis(last.amount, last.basis, lent, look.settings.repayments.basis)
