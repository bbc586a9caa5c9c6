"""What the MIS said of each loan during the demo. The judge asks it whether what Kiva got was ever true.

A draft cannot be changed at Kiva, so what was true when it was sent may be another thing an hour later. Each change
that a teller makes is written down here inside the teller's own transaction.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any

from kiva_relay.sandbox import catalogue
from testbed.institution.branch import BRANCHES, PURPOSES
from testbed.institution.fineract import Kind
from testbed.judge.expected import Borrower, ExpectedDraft

Facets = dict[str, Hashable]
"""A draft as a few values that change together: borrowers, money, day, place, activity."""

_LOCATIONS = {branch.name: branch.location for branch in BRANCHES}
_TOGETHER = (Kind.GROUP, Kind.GLIM)


class History:
    """All values that each facet of each draft had. Tellers write from their threads."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, set[Hashable]]] = {}
        self._lock = threading.Lock()

    def note(self, drafts: Mapping[str, ExpectedDraft]) -> None:
        """Add what the MIS says now."""
        with self._lock:
            for identity, draft in drafts.items():
                said = self._said.setdefault(identity, {})
                for name, value in facets(draft).items():
                    said.setdefault(name, set()).add(value)

    def knows(self, identity: str) -> bool:
        """Was this loan ever one that Kiva should get?"""
        return identity in self._said

    def untrue(self, identity: str, body: Mapping[str, Any]) -> list[str]:
        """The facets of a posted body that the MIS never had."""
        said = self._said.get(identity, {})
        return [name for name, value in posted(body).items() if value not in said.get(name, ())]


def facets(draft: ExpectedDraft) -> Facets:
    """A draft as the MIS has it."""
    together = draft.kind in _TOGETHER
    people = sorted(draft.borrowers, key=lambda one: one.client_no)
    # A loan to a whole group has no amounts and no loan numbers of its members.
    whole = draft.kind == Kind.GROUP
    return {
        "borrowers": tuple((one.client_no, "" if whole else one.loan_no, *_name(one)) for one in people),
        "money": (
            draft.currency,
            _exact(draft.principal),
            () if whole else tuple(_exact(one.amount or 0) for one in people),
            _exact(draft.schedule_principal),
            _exact(draft.schedule_interest),
            draft.instalments,
        ),
        "days": (draft.disbursal.isoformat(), *(day.isoformat() for day in draft.due_days)),
        "place": _LOCATIONS.get(draft.office),
        "activity": _activity(draft.purpose),
        "group": draft.identity if together else None,
    }


def posted(body: Mapping[str, Any]) -> Facets:
    """A draft as Kiva got it. Nothing here goes through the relay's own code."""
    group = body.get("internal_loan_id")
    people = sorted(body.get("entreps", ()), key=lambda one: str(one.get("client_id")))
    whole = group is not None and all(str(one.get("loan_id")).startswith(f"{group}/") for one in people)
    schedule = body.get("schedule", ())
    amounts = [_exact(one.get("amount", 0)) for one in people]
    return {
        "borrowers": tuple(
            (
                one.get("client_id"),
                "" if whole else one.get("loan_id"),
                _plain(one.get("first_name")),
                _plain(one.get("last_name")),
                one.get("gender") or "",
            )
            for one in people
        ),
        "money": (
            body.get("currency"),
            sum(amounts, Decimal(0)),
            () if whole else tuple(amounts),
            sum((_exact(one["principal"]) for one in schedule), Decimal(0)),
            sum((_exact(one["interest"]) for one in schedule), Decimal(0)),
            len(schedule),
        ),
        "days": (body.get("disburse_time"), *sorted({one.get("date") for one in schedule})),
        "place": body.get("location"),
        "activity": body.get("activity_id"),
        "group": group,
    }


def identity_of(body: Mapping[str, Any]) -> str:
    """The id by which Kiva knows the loan of a draft."""
    entreps = body.get("entreps") or [{}]
    return str(body.get("internal_loan_id") or entreps[0].get("loan_id") or "")


def _name(one: Borrower) -> tuple[str, str, str]:
    return _plain(one.firstname or one.display_name), _plain(one.lastname), (one.gender or "").lower()


def _plain(text: str | None) -> str:
    return unicodedata.normalize("NFC", " ".join((text or "").split()))


def _exact(number: Decimal | float | str) -> Decimal:
    return Decimal(str(number)).normalize()


def _activity(purpose: str | None) -> Hashable:
    name = PURPOSES.get(purpose or "")
    found = (item["activity_id"] for item in catalogue.lists()["activities"] if item["activity"] == name)
    return next(found, None)
