"""Rows of a loan as Fineract writes them: application, schedule, money, and the sums derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.institution import schedule
from testbed.institution.fineract import Kind, Money, Row, Status
from testbed.institution.schedule import ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from decimal import Decimal

    from testbed.institution.schedule import Instalment, Split


@dataclass(frozen=True)
class Stamp:
    """Who wrote a row, and when by the clock of the application server: before the row is written."""

    user: int
    at: datetime

    @property
    def created(self) -> Row:
        """The four columns of a new row."""
        return {"created_by": self.user, "created_on_utc": self.at, **self.modified}

    @property
    def modified(self) -> Row:
        """The two columns of a changed row."""
        return {"last_modified_by": self.user, "last_modified_on_utc": self.at}


@dataclass(frozen=True)
class Terms:
    """What somebody applied for: `proposed` was asked, `principal` is granted."""

    kind: Kind
    client_id: int | None
    group_id: int | None
    glim_id: int | None
    product_id: int
    fund_id: int | None
    officer_id: int
    purpose_id: int | None
    currency: str
    digits: int
    proposed: Decimal
    principal: Decimal
    monthly_rate: Decimal
    count: int
    submitted: date
    expected: date

    def plan(self, start: date | None = None) -> list[Instalment]:
        """The schedule, from the expected day or from `start`."""
        return schedule.plan(
            self.principal,
            monthly_rate=self.monthly_rate,
            count=self.count,
            start=start or self.expected,
            digits=self.digits,
        )


def application(terms: Terms, *, account_no: str) -> Row:
    """`m_loan` of an application that was submitted; no stamps."""
    return {
        "account_no": account_no,
        "client_id": terms.client_id,
        "group_id": terms.group_id,
        "glim_id": terms.glim_id,
        "product_id": terms.product_id,
        "fund_id": terms.fund_id,
        "loan_officer_id": terms.officer_id,
        "loanpurpose_cv_id": terms.purpose_id,
        "loan_status_id": int(Status.SUBMITTED),
        "loan_type_enum": int(terms.kind),
        "currency_code": terms.currency,
        "currency_digits": terms.digits,
        "currency_multiplesof": 1,
        "principal_amount_proposed": terms.proposed,
        "principal_amount": terms.principal,
        "approved_principal": terms.principal,
        "net_disbursal_amount": terms.principal,
        "nominal_interest_rate_per_period": terms.monthly_rate * 100,
        "interest_period_frequency_enum": 2,
        "annual_nominal_interest_rate": terms.monthly_rate * 1200,
        "interest_method_enum": 0,
        "term_frequency": terms.count,
        "repay_every": 1,
        "repayment_period_frequency_enum": 2,
        "number_of_repayments": terms.count,
        "amortization_method_enum": 0,
        "submittedon_date": terms.submitted,
        "expected_disbursedon_date": terms.expected,
        "expected_maturedon_date": schedule.months_after(terms.expected, terms.count),
        "maturedon_date": schedule.months_after(terms.expected, terms.count),
        "loan_transaction_strategy_code": "mifos-standard-strategy",
        "loan_transaction_strategy_name": "Penalties, Fees, Interest, Principal order",
        "loan_counter": None if terms.client_id is None else 1,
        "version": 1,
    }


def approved(on: date, user: int) -> Row:
    """What approval sets."""
    return {"loan_status_id": int(Status.APPROVED), "approvedon_date": on, "approvedon_userid": user}


def disbursed(on: date, user: int, lines: Sequence[Instalment]) -> Row:
    """What disbursal sets, beside the sums."""
    return {
        "loan_status_id": int(Status.ACTIVE),
        "disbursedon_date": on,
        "disbursedon_userid": user,
        "expected_maturedon_date": lines[-1].due,
        "maturedon_date": lines[-1].due,
        **sums(lines),
    }


def sums(lines: Sequence[Instalment], *, overpaid: Decimal = ZERO) -> Row:
    """The `*_derived` columns of a loan that was disbursed."""
    principal, interest = sum((n.principal for n in lines), ZERO), sum((n.interest for n in lines), ZERO)
    repaid, earned = sum((n.principal_paid for n in lines), ZERO), sum((n.interest_paid for n in lines), ZERO)
    gone = [line for line in lines if line.written_off]
    lost = sum((n.principal - n.principal_paid for n in gone), ZERO)
    forgone = sum((n.interest - n.interest_paid for n in gone), ZERO)
    return {
        "principal_disbursed_derived": principal,
        "principal_repaid_derived": repaid,
        "principal_writtenoff_derived": lost,
        "principal_outstanding_derived": principal - repaid - lost,
        "interest_charged_derived": interest,
        "interest_repaid_derived": earned,
        "interest_writtenoff_derived": forgone,
        "interest_outstanding_derived": interest - earned - forgone,
        "total_expected_repayment_derived": principal + interest,
        "total_repayment_derived": repaid + earned,
        "total_expected_costofloan_derived": interest,
        "total_costofloan_derived": earned,
        "total_writtenoff_derived": lost + forgone,
        "total_outstanding_derived": principal + interest - repaid - earned - lost - forgone,
        "total_overpaid_derived": overpaid or None,
    }


def standing(lines: Sequence[Instalment], *, overpaid: Decimal, on: date, user: int) -> Row:
    """Active, closed or overpaid, as the money says; `on` is the day of the last movement."""
    if overpaid:
        status = Status.OVERPAID
    elif any(line.outstanding for line in lines):
        status = Status.ACTIVE
    else:
        status = Status.CLOSED
    closed = status is Status.CLOSED
    return {
        "loan_status_id": int(status),
        "closedon_date": on if closed else None,
        "closedon_userid": user if closed else None,
        "overpaidon_date": on if overpaid else None,
    }


def instalment(loan_id: int, line: Instalment) -> Row:
    """`m_loan_repayment_schedule`; no stamps. Zero amounts are NULL, as Fineract has them."""
    return {
        "loan_id": loan_id,
        "fromdate": line.fromdate,
        "duedate": line.due,
        "installment": line.number,
        "principal_amount": line.principal or None,
        "interest_amount": line.interest or None,
        **paid(line),
    }


def paid(line: Instalment) -> Row:
    """The columns of an instalment that move when money comes in."""
    return {
        "principal_completed_derived": line.principal_paid or None,
        "interest_completed_derived": line.interest_paid or None,
        "principal_writtenoff_derived": (line.written_off and line.principal - line.principal_paid) or None,
        "interest_writtenoff_derived": (line.written_off and line.interest - line.interest_paid) or None,
        "completed_derived": line.written_off or not line.outstanding,
        "obligations_met_on_date": None if line.outstanding else line.met_on,
    }


def transaction(
    loan_id: int,
    office_id: int,
    kind: Money,
    *,
    on: date,
    submitted: date,
    amount: Decimal,
    split: Split | None,
) -> Row:
    """`m_loan_transaction`; no stamps. A disbursement and a recovery have no `split`."""
    return {
        "loan_id": loan_id,
        "office_id": office_id,
        "is_reversed": False,
        "external_id": None,
        "transaction_type_enum": int(kind),
        "transaction_date": on,
        "amount": amount,
        **portions(split),
        "outstanding_loan_balance_derived": split.balance if split else None,
        "submitted_on_date": submitted,
        "manually_adjusted_or_reversed": False,
        "reversed_on_date": None,
    }


def portions(split: Split | None) -> Row:
    """How an amount was split; NULL when zero."""
    return {
        "principal_portion_derived": (split and split.principal) or None,
        "interest_portion_derived": (split and split.interest) or None,
        "overpayment_portion_derived": (split and split.overpaid) or None,
    }
