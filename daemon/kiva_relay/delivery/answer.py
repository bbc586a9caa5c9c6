"""The one reader of what Kiva gives: each answer is a typed value, or NotUnderstood; nothing raises here.

Shapes: Kiva's SDK, "authentication", "fetch loans", and its lists; receipts are read in `receipt.py`. What is not
understood costs only itself: an item of a list is left out, counted and said.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kiva_relay.delivery import document, receipt
from kiva_relay.delivery.client import Answer
from kiva_relay.delivery.document import Document, NotUnderstood
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.mirror import MirroredLoan

_OK = 200
_NAME_LIMIT = 500
_AMOUNT_LIMIT = 40
_TOKEN_LIMIT = 16_384
_PARTNER_LIMIT = 40
_LONGEST_LIFE = 86_400.0

# ---------------------------------------------------------------- the token


@dataclass(frozen=True)
class GivenToken:
    """A token as it was given. `scopes` is None where Kiva names none; `lasts` are seconds, None when unknown."""

    text: str
    scopes: frozenset[str] | None
    partner_id: str | None
    lasts: float | None

    def __repr__(self) -> str:
        """Never the token itself."""
        return f"GivenToken(partner_id={self.partner_id!r}, lasts={self.lasts})"


_TOKEN = re.compile(r"[!-~]+")  # what may stand in a header


def token(answer: Answer) -> GivenToken | NotUnderstood:
    """A token: `{"access_token", "expires_in", "scope", "partnerId"}`."""
    said = document.read(answer)
    if answer.status != _OK or not isinstance(said, dict):
        return document.unread(said, "the answer is no object")
    found = document.of(said, "access_token")
    if not isinstance(found, str) or len(found) > _TOKEN_LIMIT or not _TOKEN.fullmatch(found):
        return NotUnderstood("access_token is no text that can be sent in a header")
    lasts = document.finite(document.of(said, "expires_in"))
    return GivenToken(
        text=found,
        scopes=_scopes(document.of(said, "scope", "scopes")),
        partner_id=_partner(said) or _partner(_inside(found)),
        lasts=min(lasts, _LONGEST_LIFE) if lasts is not None and lasts > 0 else None,
    )


def _scopes(value: Any) -> frozenset[str] | None:
    """Words with blanks between them (RFC 6749, 3.3), or a list of them; None when Kiva does not say."""
    if isinstance(value, list):
        return frozenset(word for each in value if isinstance(each, str) for word in each.split())
    return frozenset(value.replace(",", " ").split()) if isinstance(value, str) else None


def _partner(said: Document) -> str | None:
    value = document.of(said, "partnerId")
    found = document.identifier(value)
    return None if found is None or len(found) > _PARTNER_LIMIT else found.strip()


def _inside(token_: str) -> Document:
    """What a token says of itself where it is a JSON Web Token (RFC 7519); most are opaque, and say nothing."""
    parts = token_.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return {}
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return {}
    said = document.read(Answer(_OK, {}, claims, body_complete=True, read_whole=True))
    return said if isinstance(said, dict) else {}


# ---------------------------------------------------------------- the list of loans


@dataclass(frozen=True, slots=True)
class ListedLoan:
    """One item of `GET /loans`.

    `counts_as` tells it from others: its Kiva id, else its uuid; empty when it has neither. `loan` is None when its
    loan id cannot be read. `id_is_absent`: it has no key for a loan id, not even a null. `is_object`: it is one at all.
    """

    counts_as: str
    loan: MirroredLoan | None
    id_is_absent: bool = False
    is_object: bool = True

    @property
    def called(self) -> str:
        """Which item it is, for a person."""
        if not self.is_object:
            return "an item that is no object"
        return f"kiva_id {self.counts_as}" if self.counts_as else "an item without a kiva_id"


@dataclass(frozen=True)
class LoansPage:
    """One page of the loans in one status. `total` is how many Kiva says that there are on all pages."""

    total: int
    items: tuple[ListedLoan, ...]


def loans(answer: Answer, *, status: str) -> LoansPage | NotUnderstood:
    """A page of loans: `{"total_records": n, "data": [{"kiva_id", "uuid", "internal_loan_id", …}, …]}`."""
    said = document.read(answer)
    if answer.status != _OK or not isinstance(said, dict):
        return document.unread(said, "the answer is no object")
    total = document.whole(document.of(said, "total_records"))
    if total is None:
        return NotUnderstood("total_records is no number")
    if receipt.says_no(said):
        return NotUnderstood("it comes with an error")
    data = document.of(said, "data")
    if not isinstance(data, list) and not (data is None and total == 0):
        return NotUnderstood("data is no list")
    return LoansPage(total, tuple(_listed(item, status) for item in data or ()))


def _listed(item: Any, status: str) -> ListedLoan:
    """An item whose loan id reads serves whatever else is odd in it."""
    if not isinstance(item, dict):
        return ListedLoan("", None, is_object=False)
    kiva_id, uuid = (_own_id(document.of(item, name)) for name in ("kiva_id", "uuid"))
    counts_as = kiva_id or uuid
    loan_id = _loan_id(document.of(item, "internal_loan_id"))
    if loan_id is None:
        return ListedLoan(counts_as, None)
    amount = document.of(item, "loan_local_price")
    loan = MirroredLoan(
        kiva_id=counts_as or (f"loan {loan_id}" if loan_id else ""),
        loan_id=loan_id,
        client_id=document.identifier(document.of(item, "internal_client_id")) or "",
        # Words that are the same in a hundred thousand loans take their room once.
        status=sys.intern(_status(document.of(item, "status"), status)),
        amount=document.text(amount, _AMOUNT_LIMIT) if (document.finite(amount) or 0) > 0 else None,
        currency=sys.intern(_plain(document.of(item, "loan_currency"))) or None,
        uuid=uuid or None,
        status_detail=sys.intern(_plain(document.of(item, "status_detail"))) or None,
        delinquent=_flag(document.of(item, "delinquent")),
        borrower_count=document.whole(document.of(item, "borrower_count")),
        created_on=_day(document.of(item, "create_time")),
    )
    return ListedLoan(counts_as, loan, id_is_absent=not document.has(item, "internal_loan_id"))


def _day(value: Any) -> str | None:
    """The day in UTC of a number of seconds or milliseconds since 1970; None for all else: nothing is decided by it."""
    seconds = document.finite(value) or 0
    if seconds > _MILLISECONDS:
        seconds /= 1000
    if not _FIRST_DAY <= seconds < _MILLISECONDS:
        return None
    return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()


_FIRST_DAY, _MILLISECONDS = 1_000_000_000, 10_000_000_000
"""Seconds: Kiva began in 2005; what is beyond the second counts in thousandths."""


def _flag(value: Any) -> bool | None:
    """Yes or no; None for whatever is neither: nothing is decided by it."""
    return _FLAGS.get(str(value).strip().casefold()) if isinstance(value, (bool, int, str)) else None


_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _loan_id(value: Any) -> str | None:
    """The loan id; empty when there is none, so that it cannot be ours; None when it cannot be read."""
    if value is None or (isinstance(value, str) and value.strip() in ("", "0")) or (type(value) is int and value == 0):
        return ""
    return document.identifier(value)


def _own_id(value: Any) -> str:
    """An id of Kiva's; empty for null, 0 and whatever cannot be read."""
    found = document.identifier(value)
    return "" if found is None or found.strip() == "0" else found.strip()


def _plain(value: Any) -> str:
    return (document.identifier(value) or "").strip() if isinstance(value, str) else ""


def _status(value: Any, asked: str) -> str:
    """A status as Kiva says it; that which was asked for where it is missing, or differs in case only."""
    said = _plain(value)
    return asked if said.casefold() in ("", asked.casefold()) else said


# ---------------------------------------------------------------- Kiva's own lists


@dataclass(frozen=True)
class KivaList:
    """One of Kiva's lists. `items` have the keys of Kiva's SDK; `left_out` counts those that were not understood."""

    kind: str
    items: tuple[Mapping[str, int | str], ...]
    left_out: int


def list_of(answer: Answer, kind: str) -> KivaList | NotUnderstood:
    """`GET …/config/{kind}`: activities, locales, locations or themes."""
    said = document.read(answer)
    if answer.status != _OK or not isinstance(said, dict):
        return document.unread(said, "the answer is no object")
    given = document.of(said, kind)
    if not isinstance(given, list):
        return NotUnderstood(f"{kind} is no list")
    if receipt.says_no(said):
        return NotUnderstood("it comes with an error")
    understood = [_ITEMS[kind](item) for item in given if isinstance(item, dict)]
    items = tuple(item for item in understood if item is not None)
    if given and not items:
        return NotUnderstood(f"no item of {kind} is understood")
    return KivaList(kind, items, left_out=len(given) - len(items))


def _numbered(number: str, name: str) -> Callable[[Document], dict[str, int | str] | None]:
    def item(said: Document) -> dict[str, int | str] | None:
        key, words = document.whole(document.of(said, number)), _name(said, name)
        return {number: key, name: words} if key and words else None

    return item


def _location(said: Document) -> dict[str, int | str] | None:
    found: dict[str, int | str] = {name: _name(said, name) for name in ("country", "location", "full_name")}
    return {name: words for name, words in found.items() if words} if found["full_name"] else None


def _locale(said: Document) -> dict[str, int | str] | None:
    """A currency, or a language with its number; one without the other serves for what it has."""
    names = ("currency", "language_code", "language_name")
    found: dict[str, int | str] = {name: words for name in names if (words := _name(said, name))}
    number = document.whole(document.of(said, "language_id"))
    if number and ("language_code" in found or "language_name" in found):
        found["language_id"] = number
    return found if "currency" in found or "language_id" in found else None


def _name(said: Document, name: str) -> str:
    value = document.of(said, name)
    found = document.text(value, len(value)).strip() if isinstance(value, str) else ""
    return "" if len(found) > _NAME_LIMIT or "\N{REPLACEMENT CHARACTER}" in found else found


_ITEMS: Mapping[str, Callable[[Document], dict[str, int | str] | None]] = {
    "activities": _numbered("activity_id", "activity"),
    "themes": _numbered("theme_type_id", "theme_type"),
    "locations": _location,
    "locales": _locale,
}
