"""Where each loan stands that Kiva expects in the report of a period: in exactly one line. Pure: values out of values.

A line is computed from Kiva's list outward: an empty outbox and eleven expected loans give eleven lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol


class ReportLineKind(StrEnum):
    """The lines, in the order in which they are shown: first what a person has to look at."""

    DECIDE = "decide"  # a person; the cause: FELL …
    MISSING = "missing"  # the MIS does not give it; the cause: NOT_IN_MIS …
    REFUSED_BY_KIVA = "refused_by_kiva"
    WARNED = "warned"  # Kiva took the call and named a problem of the whole of it
    CLOSED_WRONG = "closed_wrong"  # Kiva holds another amount than the MIS says, and the report is closed
    CLOSED_WITHOUT = "closed_without"  # the report closed, and nothing was reported
    CLOSED_UNKNOWN = "closed_unknown"  # the report closed, and nobody knows what Kiva holds
    OLDER_AMOUNT = "older_amount"  # Kiva holds an older amount of this period; the newer one is on its way or in doubt
    ON_ITS_WAY = "on_its_way"
    LEFT_OUT = "left_out"  # by a person
    ACCEPTED = "accepted"


# Why a person has to decide.
FELL = "position_fell"  # below what the last closed period took
EXCEEDS_LENT = "position_exceeds_principal"  # more than the MIS lent
EXCEEDS_KIVA = "position_exceeds_kiva"  # more than Kiva lists as lent
OTHER_CURRENCY = "other_currency"
ID_TWICE = "id_shared_at_kiva"  # two loans of Kiva's have this id
IN_OTHER_CASE = "perhaps_at_kiva"  # the id differs in upper and lower case only
ANSWERED_BEFORE = (
    "answered_before"  # a person decided, and an amount has changed since; `params["answered"]` is the answer
)
BASIS_CHANGED = "basis_changed"
HELD = "held"  # a hold keeps it; `params["reason"]` says which

# What else keeps a line on its way, or made it what it is.
DECIDED = "decided"  # by a person; the relay puts it into force
IN_DOUBT = "in_doubt"  # the answer was lost; it is sent again
SWITCHED_OFF = "sending_switched_off"
BY_A_PERSON = "person"
LATE = "late"  # sent after the report had closed
NOT_SENT = "window_closed"  # the report closed before it was sent, or before the newer amount was

# Why a loan is missing.
NOT_IN_MIS = "not_in_mis"
OUT_OF_SCOPE = "out_of_scope"
GONE = "gone"
REFUSED_BY_US = "refused"  # `params["reasons"]`: [{code, field, params}]
NOT_READ_YET = "not_read_yet"


NEEDS_A_PERSON = frozenset(
    {
        ReportLineKind.DECIDE,
        ReportLineKind.MISSING,
        ReportLineKind.REFUSED_BY_KIVA,
        ReportLineKind.WARNED,
        ReportLineKind.CLOSED_WRONG,
        ReportLineKind.CLOSED_WITHOUT,
        ReportLineKind.CLOSED_UNKNOWN,
    }
)
"""The lines at which a person has to look."""


@dataclass(frozen=True, slots=True)
class Price:
    """What Kiva bills for this period if the loan is not reported, in the loan's currency: an estimate.

    Attributes:
        amount: None: unknown.
        at_most: what is still open; said where the amount is unknown.
        by: the schedule that it is estimated by: `posted` to Kiva, the `mis`'s own, or `unknown`.
    """

    amount: Decimal | None
    at_most: Decimal | None
    by: str


_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One loan that Kiva expects.

    Attributes:
        kiva_id, loan_id, client_id, status, currency, lent_at_kiva: as Kiva lists it.
        kind, cause, params: where it stands; codes and values, no sentence.
        entry: the number of its present entry of this period; None where there is none.
        identity: the MIS's own id of the loan; None where the MIS has none.
        position: the amount that the MIS gives now, on the agreed basis; None: none.
        at_kiva: what Kiva took last in this period; None: nothing.
        before: what Kiva took last in a closed period; None: nothing.
        likely: the answer that is probably right: an amount, or with MISSING the MIS's id in `params["likely_id"]`.
        lent: the principal, by the MIS.
        price: what leaving it out costs.
        decided: the number of the decision in force about it; None: there is none.
    """

    kiva_id: str
    loan_id: str
    kind: ReportLineKind
    cause: str = ""
    params: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    client_id: str = ""
    status: str = ""
    currency: str | None = None
    lent_at_kiva: Decimal | None = None
    entry: int | None = None
    identity: str | None = None
    position: Decimal | None = None
    at_kiva: Decimal | None = None
    before: Decimal | None = None
    likely: Decimal | None = None
    lent: Decimal | None = None
    price: Price | None = None
    decided: int | None = None

    @property
    def seen(self) -> str:
        """What a person saw who decides about it; a decision that names another is answered "this has changed"."""
        parts = (self.kind.value, self.cause, self.decided, self.entry, *map(_text, self._amounts), self.currency)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    @property
    def amounts(self) -> dict[str, str | None]:
        """What a decision about it binds to, and what else was there to see, as text."""
        names = ("position", "lent_at_kiva", "at_kiva", "before", "lent")
        return {**dict(zip(names, map(_text, self._amounts), strict=True)), "currency": self.currency}

    @property
    def _amounts(self) -> tuple[Decimal | None, ...]:
        return (self.position, self.lent_at_kiva, self.at_kiva, self.before, self.lent)

    @property
    def needs_a_person(self) -> bool:
        """Has somebody to look at it?"""
        return self.kind in NEEDS_A_PERSON

    @property
    def number(self) -> str:
        """What a person calls it by: the number of its entry, else `k` and the loan's number at Kiva."""
        return f"k{self.kiva_id}" if self.entry is None else str(self.entry)


class LoanAmounts(Protocol):
    """Where a loan stands, and its amounts, as of `ReportLine`: what is said of a loan beside thousands of others."""

    @property
    def kiva_id(self) -> str: ...  # noqa: D102 - as of `ReportLine`
    @property
    def loan_id(self) -> str: ...  # noqa: D102 - as of `ReportLine`
    @property
    def kind(self) -> ReportLineKind: ...  # noqa: D102 - as of `ReportLine`
    @property
    def cause(self) -> str: ...  # noqa: D102 - as of `ReportLine`
    @property
    def currency(self) -> str | None: ...  # noqa: D102 - as of `ReportLine`
    @property
    def position(self) -> Decimal | None: ...  # noqa: D102 - as of `ReportLine`
    @property
    def at_kiva(self) -> Decimal | None: ...  # noqa: D102 - as of `ReportLine`
    @property
    def lent(self) -> Decimal | None: ...  # noqa: D102 - as of `ReportLine`
    @property
    def lent_at_kiva(self) -> Decimal | None: ...  # noqa: D102 - as of `ReportLine`


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def plain(amount: Decimal) -> str:
    """An amount as text, the same however many zeros it was written with."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
