"""What PA2 looks at when a person publishes a draft, and not before."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from kiva_relay.sandbox import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OLDEST = timedelta(days=30)
_FURTHEST = timedelta(days=90)


def refusals(body: Mapping[str, Any], *, today: date) -> tuple[str, ...]:
    """Why PA2 would not publish a draft, as sentences.

    What is only missing (description, photo, …) is no reason: the coordinator fills it in. `body` has the
    shape that `sandbox.body.loan_draft` lets through.
    """
    return (*_group(body), *_lists(body), *_money(body), *_days(body, today))


def _group(body: Mapping[str, Any]) -> Iterator[str]:
    entreps = body.get("entreps") or []
    of_group = [name for name in ("internal_loan_id", "internal_client_id", "group_name") if body.get(name)]
    if not entreps:
        yield "entreps: a loan needs a borrower"
    elif len(entreps) == 1 and of_group and not body.get("group_name"):
        yield f"{of_group[0]}: not on an individual loan"
    elif len(entreps) > 1 and len(of_group) < len(("internal_loan_id", "internal_client_id", "group_name")):
        yield "internal_loan_id, internal_client_id, group_name: a group loan needs all three"
    pictured = body.get("not_pictured")
    if pictured is not None and len(pictured) != len(entreps):
        yield f"not_pictured: {len(pictured)} for {len(entreps)} borrowers"


def _lists(body: Mapping[str, Any]) -> Iterator[str]:
    for field, name, key in (
        ("activity_id", "activities", "activity_id"),
        ("theme_type_id", "themes", "theme_type_id"),
        ("location", "locations", "full_name"),
        ("currency", "locales", "currency"),
        ("description_language_id", "locales", "language_id"),
    ):
        if body.get(field) is not None and body[field] not in catalogue.values(name, key):
            yield f"{field}: {body[field]!r} is not among Kiva's {name}"


def _money(body: Mapping[str, Any]) -> Iterator[str]:
    amounts = [entrep.get("amount") or 0 for entrep in body.get("entreps") or []]
    if any(amount <= 0 for amount in amounts):
        yield "entreps: every amount must be more than 0"
    principal = sum(row.get("principal") or 0 for row in body.get("schedule") or [])
    # Sums of JSON numbers are floats here; a cent is the smallest unit of any currency that Kiva lends in.
    if body.get("schedule") and abs(principal - sum(amounts)) >= 0.01:  # noqa: PLR2004 - the cent just named
        yield f"schedule: principal adds up to {principal:.2f}, the loan is {sum(amounts):.2f}"


def _days(body: Mapping[str, Any], today: date) -> Iterator[str]:
    if not body.get("disburse_time"):
        return
    disbursed = date.fromisoformat(body["disburse_time"])
    if today - disbursed >= _OLDEST:
        yield f"disburse_time: {disbursed} is {(today - disbursed).days} days ago; PA2 takes less than 30"
    if disbursed - today > _FURTHEST:
        yield f"disburse_time: {disbursed} is more than 90 days ahead"
