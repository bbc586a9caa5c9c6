"""Why something was not sent, so that a branch can act on it: what is wrong, and who puts it right.

`resource/refusal.py` says the same to the administrator, with the place in the mapping and what to type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation

from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import personal
from kiva_relay.words.language import Language

_AMOUNTS = {
    "amount_not_positive": ("value",),
    "amount_negative": ("value",),
    "schedule_sum": ("found", "expected"),
    "instalment_negative": ("value",),
    "position_fell": ("before", "value"),
    "position_exceeds_principal": ("value", "principal"),
    "position_exceeds_kiva": ("value", "lent"),
    "answered_before": ("value",),
}
_DAYS = ("date", "lent", "before", "publish_by")
_CALLED = {"image_encoded": "photo", "image_url": "photo", "internal_client_id": "client_id"}
_CALLED |= {"internal_loan_id": "loan_id", "identity": "loan_id"}
_BORROWER = re.compile(r"entreps\[(\d+)\]")


def sentence(said: Refusal, language: Language, *, currency: str | None = None) -> str:
    """A reason in words; an unknown code (a newer version's) as it is. Names, stories and photos are not shown."""
    code = f"refusal.{said.code}"
    if not language.knows(code):
        return said.code
    # What was deleted of a reason is left out, and what a newer version does not store.
    given = dict.fromkeys(language.blanks(code), personal.HIDDEN) | {"field": field(said.field, language)}
    return language.say(code, **(given | dict(_params(personal.safe(said), language, currency))))


def field(path: str, language: Language) -> str:
    """What a place in a body is called: `first name (borrower 3)`; one that has no name here as it is."""
    name = personal.last(path)
    code = f"refusal.field.{_CALLED.get(name, name)}"
    label = language.say(code) if language.knows(code) else name or "?"
    borrower = _BORROWER.match(path)
    if borrower is None or borrower[1] == "0":
        return label
    return language.say("refusal.member", field=label, n=int(borrower[1]) + 1)


def _params(said: Refusal, language: Language, currency: str | None) -> Iterator[tuple[str, str]]:
    """Amounts and days as the language writes them."""
    for name, value in said.params.items():
        if name == "nearest":
            yield name, value or language.say("refusal.none")
        elif name in _AMOUNTS.get(said.code, ()):
            yield name, _figure(value, language, currency)
        elif name in _DAYS:
            yield name, _day(value, language)
        else:
            yield name, value


def _figure(written: str, language: Language, currency: str | None) -> str:
    try:
        return language.figure(Decimal(written), currency)
    except InvalidOperation:
        return written


def _day(written: str, language: Language) -> str:
    try:
        return language.day(date.fromisoformat(written))
    except ValueError:
        return written
