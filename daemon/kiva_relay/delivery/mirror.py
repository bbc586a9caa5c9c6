"""Reads what Kiva says it has: `GET /loans`, every status, every page; and Kiva's lists.

Kiva's SDK, "fetch loans": always with `status`; no order is promised while paging, so loans are counted by their
Kiva id, and a status is complete when the distinct count equals `total_records` afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiva_relay import errors
from kiva_relay.config.kiva import Kiva
from kiva_relay.delivery.client import Answer, Client
from kiva_relay.delivery.outcome import either
from kiva_relay.delivery.token import Token
from kiva_relay.outbox.catalogue import KINDS
from kiva_relay.outbox.mirror import MirroredLoan

STATUSES = (
    "inactive", "reviewed", "issue", "issue_revising", "issue_approving", "fundRaising", "raised", "payingBack",
    "defaulted", "ended", "expired", "inactive_expired", "refunded", "deleted",
)  # fmt: skip
"""Every status that Kiva's SDK and its samples name, in the order of a loan's life: a loan that moves on while
the list is read is met twice rather than never, and the counts tell."""

PAGE = 300
_READINGS = 5
_OK = 200


class Incomplete(errors.RelayError):
    """The list of loans changed while it was read, or Kiva left something out. It is read again."""


class NotGiven(errors.RelayError):
    """Kiva did not give what was asked for; `answer` says how."""

    def __init__(self, answer: Answer, what: str) -> None:
        said = f"status {answer.status}" if answer.status is not None else answer.words
        super().__init__(f"{what} was not given: {said}")
        self.answer = answer


def loans(client: Client, kiva: Kiva, token: Token) -> list[MirroredLoan]:
    """Every loan of the partner, in every status.

    A status whose count has changed meanwhile is read again: a loan that moved back would else have been missed.

    Raises:
        Incomplete: the counts do not come to agree.
        NotGiven: Kiva refused, or did not answer.
    """
    by_status: dict[str, dict[str, MirroredLoan]] = {}
    changed = list(STATUSES)
    for _ in range(_READINGS):
        for status in changed:
            by_status[status] = _in_status(client, kiva, token, status)
        changed = [
            status
            for status, listed in by_status.items()
            if _total(next(_pages(client, kiva, token, status, limit=1))) != len(listed)
        ]
        if not changed:
            return list({loan.kiva_id: loan for listed in by_status.values() for loan in listed.values()}.values())
    raise Incomplete(f"the counts of {', '.join(changed)} changed while they were read, {_READINGS} times")


def lists(client: Client, kiva: Kiva, token: Token) -> dict[str, list[dict[str, Any]]]:
    """Kiva's four lists, by kind, as they come."""
    given = {}
    for kind in KINDS:
        answer = client.get(f"/v3/partner/{kiva.partner_id}/config/{kind}", token=token.text)
        said = answer.json
        if answer.status != _OK or not isinstance(said, dict) or not isinstance(said.get(kind), list):
            raise NotGiven(answer, f"config/{kind}")
        given[kind] = [item for item in said[kind] if isinstance(item, dict)]
    return given


def _in_status(client: Client, kiva: Kiva, token: Token, status: str) -> dict[str, MirroredLoan]:
    rows = [row for said in _pages(client, kiva, token, status) for row in said.get("data") or ()]
    return {loan.kiva_id: loan for loan in (_loan(row, status) for row in rows)}


def _total(said: dict[str, Any]) -> int:
    return int(either(said, "total_records", "totalRecords") or 0)


def _pages(client: Client, kiva: Kiva, token: Token, status: str, *, limit: int = PAGE) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        params: dict[str, str | int] = {"status": status, "offset": offset, "limit": limit}
        answer = client.get(f"/v3/partner/{kiva.partner_id}/loans", token=token.text, params=params)
        said = answer.json
        if answer.status != _OK or not isinstance(said, dict):
            raise NotGiven(answer, "the list of loans")
        yield said
        rows = said.get("data") or []
        offset += len(rows)
        if not rows or offset >= _total(said):
            return


def _loan(row: dict[str, Any], status: str) -> MirroredLoan:
    """Read leniently: both spellings, numbers or strings; names and places are left where they are."""
    amount = either(row, "loan_local_price", "loanLocalPrice")
    return MirroredLoan(
        kiva_id=str(either(row, "kiva_id", "kivaId", "uuid") or ""),
        loan_id=str(either(row, "internal_loan_id", "internalLoanId") or ""),
        client_id=str(either(row, "internal_client_id", "internalClientId") or ""),
        status=str(either(row, "status") or status),
        amount=None if amount is None else str(amount),
        currency=either(row, "loan_currency", "loanCurrency"),
    )
