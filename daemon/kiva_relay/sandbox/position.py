"""What Kiva says of the positions of one upload, loan by loan."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kiva_relay.sandbox import loan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kiva_relay.sandbox.loan import SandboxLoans

_EXPECTED = ("payingBack", "defaulted")


def problems(rows: Sequence[Mapping[str, Any]], loans: SandboxLoans) -> list[dict[str, Any]]:
    """What is wrong with single positions. The codes are invented: Kiva publishes none.

    Args:
        rows: Of the body's `repayments`, each with `loan_id` and `amount`.
        loans: The loans that Kiva has.
    """
    found: list[dict[str, Any]] = []
    met: set[str] = set()
    for row in rows:
        name = row["loan_id"]
        known = loans.named(name)
        if name in met:
            found.append(_problem(name, "error", "duplicate_loan", "The loan is in this upload already"))
        elif not any(one.status != loan.DRAFT for one in known):
            found.append(_problem(name, "error", "loan_not_found", "No loan with this loan id"))
        elif not any(one.status in _EXPECTED for one in known):
            found.append(_problem(name, "error", "not_expected", "No repayment is expected for this loan"))
        elif row["amount"] < 0:
            found.append(_problem(name, "error", "negative_amount", "The amount is negative"))
        elif all(0 < Decimal(one.price) < Decimal(str(row["amount"])) for one in known):
            found.append(_problem(name, "warning", "more_than_loan", "The amount exceeds the loan"))
        met.add(name)
    return found


def _problem(loan_id: str, severity: str, code: str, details: str) -> dict[str, Any]:
    return {"loan_id": loan_id, "details": details, "code": f"repayment.{code}", "severity": severity}
