"""Seven kinds of answers as Kiva gives them: what a fuzzer garbles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kiva_relay.delivery import answer as answers
from kiva_relay.delivery import receipt
from kiva_relay.delivery.client import Answer

API = "https://partner-api.k1.kiva.org"
UUID = "3f8a0e5c-9c1d-4a4b-8d2e-0b7f6a5c4d3e"
_SAID = {"code": "api.success", "message": "Found"}


@dataclass(frozen=True)
class SampleKind:
    """One kind of answer. `said` are good ones, `reads` are the readers that take it, `resource` what its receipt is for."""

    name: str
    said: tuple[Any, ...]
    reads: tuple[Callable[[Answer], Any], ...]
    resource: str = ""


def _receipt(resource: str) -> Callable[[Answer], Any]:
    return partial(receipt.read, resource=resource, api_url=API)


_PROBLEM = {"loan_id": "L1", "severity": "error", "code": "E7", "details": "closed"}

_KINDS = (
    SampleKind(
        "token",
        (
            {
                "access_token": "0b7f6a5c",
                "token_type": "bearer",
                "expires_in": 43199,
                "scope": "read:loans create:loan_draft create:repayment create:journal_update",
                "iss": "https://auth.k1.kiva.org",
                "partnerId": "123",
                "jti": "9c1d4a4b",
            },
            {"access_token": "e30.eyJwYXJ0bmVySWQiOiIxMjMifQ.c2ln", "expires_in": 60.5, "scope": ["read:loans"]},
        ),
        (answers.token,),
    ),
    SampleKind(
        "loans",
        (
            {
                "total_records": 2,
                "data": [
                    {
                        "kiva_id": 9001,
                        "uuid": UUID,
                        "internal_loan_id": "LOAN/12/2024",
                        "internal_client_id": "C-7",
                        "partner_id": 123,
                        "name": "Ada",
                        "status": "payingBack",
                        "loan_local_price": "1500.00",
                        "loan_currency": "KES",
                        "delinquent": False,
                        "create_time": 1767225600,
                    },
                    {"kivaId": "9002", "internalLoanId": None, "status": "issue", "fundedAmount": 5.5},
                ],
            },
            {"totalRecords": "0", "data": []},
        ),
        (partial(answers.loans, status="payingBack"),),
    ),
    SampleKind(
        "lists",
        (
            {
                "activities": [{"activity_id": 1, "activity": "Retail"}, {"activityId": "79", "activity": "Bakery"}],
                **_SAID,
            },
            {"themes": [{"theme_type_id": 48, "theme_type": "General"}], **_SAID},
            {"locations": [{"country": "Kenya", "location": "Kisumu", "full_name": "Kisumu: Kenya"}], **_SAID},
            {
                "locales": [
                    {"currency": "KES", "language_code": "en", "language_name": "English", "language_id": 1},
                    {"currency": "XOF"},
                ],
                **_SAID,
            },
        ),
        tuple(partial(answers.list_of, kind=kind) for kind in ("activities", "themes", "locations", "locales")),
    ),
    SampleKind(
        "loan_draft",
        ({**_SAID, "loan_draft_uuid": UUID}, {"loanDraftUuid": UUID}),
        (_receipt("loan_draft"),),
        "loan_draft",
    ),
    SampleKind(
        "repayment",
        (
            {**_SAID, "upload_id": 88121, "problems": []},
            [{"uploadId": "88121", "problems": [_PROBLEM, {**_PROBLEM, "severity": "warning"}]}],
        ),
        (_receipt("repayment"),),
        "repayment",
    ),
    SampleKind(
        "journal",
        (
            {**_SAID, "archive_id": 5, "confirm_url": "https://www.kiva.org/pa2/5"},
            [{"archiveId": "a5", "confirmUrl": "https://partner-api.k1.kiva.org/c/5"}],
        ),
        (_receipt("journal"),),
        "journal",
    ),
    SampleKind(
        "errors",
        (
            {"code": "api.error", "message": "no"},
            {"error": "invalid_scope", "error_description": "no"},
            {"upload_id": 7, "problems": _PROBLEM},
            {"code": "error", "message": "no", "loan_draft_uuid": ""},
        ),
        (receipt.error, _receipt("repayment"), _receipt("loan_draft"), _receipt("journal")),
    ),
)

KINDS: Mapping[str, SampleKind] = {kind.name: kind for kind in _KINDS}

NOES: tuple[Any, ...] = (
    *KINDS["errors"].said,
    *(
        {**said, "code": "api.error"}
        for kind in _KINDS
        if kind.resource
        for said in kind.said
        if isinstance(said, dict)
    ),
    *({**said, "success": False} for kind in _KINDS if kind.resource for said in kind.said if isinstance(said, dict)),
)
"""What Kiva says when it took nothing; some of it has all the signs of a receipt beside its no."""
