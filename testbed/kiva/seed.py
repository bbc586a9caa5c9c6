"""Loans that Kiva had before the relay came."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kiva_relay.sandbox.loan import DRAFT, SandboxLoan

if TYPE_CHECKING:
    from collections.abc import Mapping


def seeded(fields: Mapping[str, Any], *, kiva_id: int, at: datetime) -> SandboxLoan:
    """A loan that Kiva had before; only `internal_loan_id` is needed.

    Raises:
        ValueError: A field is unknown, or `internal_loan_id` is missing.
    """
    given = dict(fields)
    unknown = sorted(given.keys() - _SEEDABLE)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_SEEDABLE))}")
    if not isinstance(given.get("internal_loan_id"), str):
        raise ValueError("internal_loan_id: expected text")  # noqa: TRY004 - answered with 400, like any wrong value
    if given.get("status") == DRAFT:
        raise ValueError("status: a draft comes by POST /v3/partner/…/loan_draft only")
    age = timedelta(seconds=given.pop("age", 0))
    defaults: dict[str, Any] = {
        "kiva_id": kiva_id,
        "uuid": str(uuid.uuid4()),
        "internal_client_id": "",
        "name": "",
        "location": "",
        "price": "0.00",
        "currency": "",
        "borrower_count": 1,
        "status": "payingBack",
        "since": at - age,
        "created": at - age,
    }
    return SandboxLoan(**(defaults | given))


_SEEDABLE = frozenset((
    "kiva_id", "uuid", "internal_loan_id", "internal_client_id", "name", "location", "price", "currency",
    "borrower_count", "status", "delinquent", "age",
))  # fmt: skip
