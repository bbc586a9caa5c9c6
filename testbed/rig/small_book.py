"""A small book of the demo's MIS, for tests."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import psycopg

from testbed.institution import book, fineract

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.institution.book import Book

TODAY = date(2026, 11, 16)
CUTOFF = TODAY.replace(day=1) - timedelta(1)

DERIVED_IS_WRONG = """
    SELECT l.id FROM m_loan l LEFT JOIN (
        SELECT loan_id, sum(CASE WHEN transaction_type_enum IN (18, 25) THEN -1 ELSE 1 END
                            * coalesce(principal_portion_derived, 0)) AS repaid
        FROM m_loan_transaction WHERE NOT is_reversed
        AND transaction_type_enum IN (2, 21, 22, 23, 24, 26, 28, 31, 33, 18, 25) GROUP BY loan_id
    ) t ON t.loan_id = l.id LEFT JOIN (
        SELECT loan_id, count(*) AS lines, sum(principal_amount) AS principal,
               coalesce(sum(principal_completed_derived), 0) AS repaid
        FROM m_loan_repayment_schedule GROUP BY loan_id
    ) s ON s.loan_id = l.id
    WHERE coalesce(t.repaid, 0) <> l.principal_repaid_derived OR s.repaid IS DISTINCT FROM l.principal_repaid_derived
    OR s.principal IS DISTINCT FROM l.principal_amount OR s.lines IS DISTINCT FROM l.number_of_repayments
    OR l.principal_outstanding_derived + l.principal_repaid_derived + l.principal_writtenoff_derived
       <> l.principal_disbursed_derived
"""
"""Loans whose sums do not follow from their transactions and their schedule: there must be none."""


def fill(url: str, photos: Path, *, clients: int = 400, seed: int = 1) -> Book:
    """Make the tables in an empty database, and a book in them."""
    with psycopg.connect(url) as connection:
        fineract.create(connection)
        return book.seed(connection, photos, today=TODAY, clients=clients, seed=seed)
