"""Applications in the MIS: entered, approved, corrected, rejected, disbursed; all inside a transaction.

A schedule is never mended: Fineract deletes all its rows and inserts new ones, with new ids.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from testbed.institution import fineract, loan
from testbed.institution.fineract import Kind, Money, Status
from testbed.institution.loan import Terms
from testbed.institution.schedule import ZERO, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from decimal import Decimal

    from psycopg import Connection

    from testbed.institution.fineract import Row
    from testbed.institution.loan import Stamp
    from testbed.institution.schedule import Instalment


def apply(connection: Connection, terms: Terms, *, stamp: Stamp) -> int:
    """Enter an application; returns the loan's id, which is also its number."""
    passing = uuid.uuid4().hex[:19]  # Fineract numbers a loan only when its id is known
    row = loan.application(terms, account_no=passing) | stamp.created
    loan_id = fineract.insert(connection, "m_loan", row)
    fineract.update(connection, "m_loan", loan_id, {"account_no": f"{loan_id:09}"})
    _schedule(connection, loan_id, terms.plan(), stamp)
    return loan_id


def apply_together(
    connection: Connection, terms: Terms, amounts: Sequence[tuple[int, Decimal]], *, stamp: Stamp
) -> list[int]:
    """Enter one application of a group (GLIM) that becomes a loan for each (client, amount)."""
    glim = {
        "group_id": terms.group_id,
        "account_number": uuid.uuid4().hex[:19],
        "principal_amount": sum(amount for _, amount in amounts),
        "child_accounts_count": len(amounts),
        "loan_status_id": int(Status.SUBMITTED),
    }
    glim_id = fineract.insert(connection, "glim_accounts", glim)
    loans = []
    for client, amount in amounts:
        own = replace(terms, client_id=client, glim_id=glim_id, principal=amount, proposed=amount)
        loans.append(apply(connection, own, stamp=stamp))
    number = f"{loans[0]:09}"
    fineract.update(connection, "glim_accounts", glim_id, {"account_number": number})
    for running, loan_id in enumerate(loans, 1):
        fineract.update(connection, "m_loan", loan_id, {"account_no": f"{number}{running}"})
    return loans


def approve(connection: Connection, loan_id: int, *, on: date, stamp: Stamp) -> None:
    """Approve an application as it stands."""
    _move(connection, loan_id, loan.approved(on, stamp.user), stamp)


def correct(connection: Connection, old: Row, terms: Terms, *, stamp: Stamp) -> None:
    """Approve other terms than those of the row `old`: approval undone, changed, approved again."""
    loan_id = int(old["id"])
    kept = ("account_no", "loan_status_id", "principal_amount_proposed", "version", "loan_counter")
    changed = loan.application(terms, account_no="")
    _move(connection, loan_id, {name: value for name, value in changed.items() if name not in kept}, stamp)
    _reschedule(connection, loan_id, terms.plan(), stamp)
    if terms.glim_id is not None:
        difference = terms.principal - old["principal_amount"]
        connection.execute(
            "UPDATE glim_accounts SET principal_amount = principal_amount + %s WHERE id = %s",
            [difference, terms.glim_id],
        )


def reject(connection: Connection, loan_id: int, *, on: date, stamp: Stamp) -> None:
    """Reject an application."""
    rejected = {
        "loan_status_id": int(Status.REJECTED),
        "rejectedon_date": on,
        "rejectedon_userid": stamp.user,
    }
    _move(connection, loan_id, rejected, stamp)


def disburse(connection: Connection, old: Row, *, on: date, today: date, office_id: int, stamp: Stamp) -> None:
    """Pay out the approved loan of the row `old`; on another day than expected its schedule is made anew."""
    loan_id, terms = int(old["id"]), terms_of(old)
    lines = terms.plan(on)
    if on != terms.expected:
        _reschedule(connection, loan_id, lines, stamp)
    row = loan.transaction(
        loan_id,
        office_id,
        Money.DISBURSEMENT,
        on=on,
        submitted=today,
        amount=terms.principal,
        split=Split(ZERO, ZERO, ZERO, terms.principal),
    )
    fineract.insert(connection, "m_loan_transaction", row | stamp.created)
    _move(connection, loan_id, loan.disbursed(on, stamp.user, lines), stamp)


def follow_children(connection: Connection, glim_id: int, status: Status) -> None:
    """Move an application of a group when none of its loans is in another state. It carries no stamp."""
    # Locked first: two tellers may approve the last two members at the same time.
    connection.execute("SELECT FROM glim_accounts WHERE id = %s FOR UPDATE", [glim_id])
    connection.execute(
        """
        UPDATE glim_accounts g SET loan_status_id = %(status)s
        WHERE id = %(glim)s AND NOT EXISTS (
            SELECT FROM m_loan l WHERE l.glim_id = g.id AND l.loan_status_id <> %(status)s)
        """,
        {"glim": glim_id, "status": int(status)},
    )


def terms_of(row: Row) -> Terms:
    """The terms of a loan, out of its row."""
    return Terms(
        kind=Kind(row["loan_type_enum"]),
        client_id=row["client_id"],
        group_id=row["group_id"],
        glim_id=row["glim_id"],
        product_id=row["product_id"],
        fund_id=row["fund_id"],
        officer_id=row["loan_officer_id"],
        purpose_id=row["loanpurpose_cv_id"],
        currency=row["currency_code"],
        digits=row["currency_digits"],
        proposed=row["principal_amount_proposed"],
        principal=row["principal_amount"],
        monthly_rate=row["nominal_interest_rate_per_period"] / 100,
        count=row["number_of_repayments"],
        submitted=row["submittedon_date"],
        expected=row["expected_disbursedon_date"],
    )


def _move(connection: Connection, loan_id: int, row: Row, stamp: Stamp) -> None:
    fineract.update(connection, "m_loan", loan_id, row | stamp.modified)
    connection.execute("UPDATE m_loan SET version = version + 1 WHERE id = %s", [loan_id])


def _reschedule(connection: Connection, loan_id: int, lines: Sequence[Instalment], stamp: Stamp) -> None:
    connection.execute("DELETE FROM m_loan_repayment_schedule WHERE loan_id = %s", [loan_id])
    _schedule(connection, loan_id, lines, stamp)


def _schedule(connection: Connection, loan_id: int, lines: Sequence[Instalment], stamp: Stamp) -> None:
    for line in lines:
        row = loan.instalment(loan_id, line) | stamp.created
        fineract.insert(connection, "m_loan_repayment_schedule", row)
