"""A repayment: the position of one loan at the cut-off, never a movement."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kiva_relay.resource import field
from kiva_relay.resource.body import Body
from kiva_relay.resource.field import ID_LIMIT, CheckFacts, Field
from kiva_relay.resource.refusal import Refusal

PATH = "repayments"
OUTSTANDING = "principal_outstanding"

# PA2's upload format with a column for the client's id.
THREE_COLUMNS = 3

FIELDS = (
    Field("loan_id", "text", "The loan's id, as Kiva knows it.", required=True, limit=ID_LIMIT),
    Field("client_id", "text", "The client's id. Sent on PA2's three-column format only.", limit=ID_LIMIT),
    Field(
        "amount",
        "amount",
        "The principal repaid up to the cut-off, in the loan's currency. "
        "It becomes the principal outstanding when that is the basis.",
        required=True,
    ),
)


def check(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """What must not go into the report without a person. `body` is as sent: on the basis of `facts`."""
    amount = body.get("amount")
    if amount is None and facts.basis == OUTSTANDING and facts.principal is None:
        return [Refusal("principal_unknown", "amount")]
    found = field.problems(FIELDS, body)
    if not field.fits("amount", amount):
        return found
    sent = Decimal(amount or 0)
    return found + _against_kiva(facts) + _bounds(_repaid(sent, facts), facts) + _exceeds_kiva(sent, facts)


def warn(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """Nothing: what a person has to look at in a position keeps it from being sent."""
    del body, facts
    return []


def shown(body: Mapping[str, Any]) -> tuple[str, str]:
    """The loan id and the client id that PA2 shows; empty where the body has none."""
    return str(body.get("loan_id") or ""), str(body.get("client_id") or "")


def complete(body: Body, facts: CheckFacts) -> Body:
    """The body as sent: on the basis agreed with Kiva, and with the client's id on three columns only."""
    sent = dict(body)
    if facts.columns != THREE_COLUMNS:
        sent.pop("client_id", None)
    if facts.basis == OUTSTANDING and "amount" in sent:
        repaid = sent.pop("amount")
        if facts.principal is not None and field.fits("amount", repaid):
            sent["amount"] = _scaled(facts.principal - repaid, repaid)
    return sent


def _scaled(amount: Decimal, like: Decimal | int) -> Decimal:
    # The principal comes with the column's digits, the amount with the currency's: the latter are sent.
    exponent = Decimal(like).as_tuple().exponent
    return amount.quantize(Decimal(1).scaleb(exponent)) if isinstance(exponent, int) and exponent <= 0 else amount


def _repaid(amount: Decimal, facts: CheckFacts) -> Decimal:
    if facts.basis == OUTSTANDING and facts.principal is not None:
        return facts.principal - amount
    return amount


def _against_kiva(facts: CheckFacts) -> list[Refusal]:
    """Is it the loan that Kiva means?"""
    found = []
    if facts.twins > 1:
        found.append(Refusal("id_shared_at_kiva", "loan_id", {"number": str(facts.twins)}))
    if facts.currency and facts.currency_at_kiva and facts.currency.upper() != facts.currency_at_kiva.upper():
        params = {"value": facts.currency, "kiva": facts.currency_at_kiva}
        found.append(Refusal("other_currency", "amount", params))
    return found


def _exceeds_kiva(sent: Decimal, facts: CheckFacts) -> list[Refusal]:
    """More than Kiva has lent can be neither repaid nor outstanding."""
    amount = max(sent, _repaid(sent, facts))
    if facts.lent_at_kiva is None or amount <= facts.lent_at_kiva:
        return []
    return [Refusal("position_exceeds_kiva", "amount", {"value": f"{amount:f}", "lent": f"{facts.lent_at_kiva:f}"})]


def _bounds(repaid: Decimal, facts: CheckFacts) -> list[Refusal]:
    found = []
    if repaid < 0:
        found.append(Refusal("amount_negative", "amount", {"value": f"{repaid:f}"}))
    if facts.principal is not None and repaid > facts.principal:
        params = {"value": f"{repaid:f}", "principal": f"{facts.principal:f}"}
        found.append(Refusal("position_exceeds_principal", "amount", params))
    if facts.previous is not None and repaid < _repaid(facts.previous, facts):
        params = {"before": f"{_repaid(facts.previous, facts):f}", "value": f"{repaid:f}"}
        found.append(Refusal("position_fell", "amount", params))
    return found
