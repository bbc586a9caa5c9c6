"""A journal: news of a borrower that somebody wrote for Kiva's lenders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kiva_relay.resource import contact, field
from kiva_relay.resource.body import Body
from kiva_relay.resource.field import ID_LIMIT, CheckFacts, Field
from kiva_relay.resource.refusal import Refusal
from kiva_relay.resource.repayment import THREE_COLUMNS

PATH = "journals"

FIELDS = (
    Field("internal_loan_id", "text", "The loan's id, as Kiva knows it.", required=True, limit=ID_LIMIT),
    Field("internal_client_id", "text", "The client's id. Sent on PA2's three-column format only.", limit=ID_LIMIT),
    Field("subject", "text", "The headline.", required=True),
    Field("body", "text", "The news itself.", required=True),
    Field("image_url", "text", "Where a photo can be fetched."),
)


def check(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """What Kiva would not take."""
    found = field.problems(FIELDS, body)
    return found + [each for name, text in _texts(body) for each in contact.refusals(text, name, facts.contacts)]


def warn(body: Mapping[str, Any], facts: CheckFacts) -> list[Refusal]:
    """What is sent, and a person should look at before it is published."""
    del facts
    return [each for name, text in _texts(body) for each in contact.warnings(text, name)]


def _texts(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("subject", "body"):
        if isinstance(body.get(name), str):
            yield name, body[name]


def shown(body: Mapping[str, Any]) -> tuple[str, str]:
    """The loan id and the client id that PA2 shows; empty where the body has none."""
    return str(body.get("internal_loan_id") or ""), str(body.get("internal_client_id") or "")


def complete(body: Body, facts: CheckFacts) -> Body:
    """The body as sent: with the client's id on three columns only."""
    if facts.columns == THREE_COLUMNS:
        return body
    return {name: value for name, value in body.items() if name != "internal_client_id"}
