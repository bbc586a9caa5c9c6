"""A branch at work, fast: repayments, loans, corrections and notes, each committed, and what was ever true of each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from testbed.institution.branch import KIVA_FUND
from testbed.institution.teller import Teller

_PAYING = """
    SELECT account_no FROM m_loan
    WHERE fund_id = %s AND loan_status_id = 300 AND loan_type_enum IN (1, 3) AND principal_outstanding_derived > 5000
    ORDER BY id LIMIT %s
"""
_REPAY = """
    INSERT INTO m_loan_transaction (loan_id, office_id, is_reversed, transaction_type_enum, transaction_date, amount,
        principal_portion_derived, submitted_on_date, created_by, created_on_utc, last_modified_by,
        last_modified_on_utc)
    SELECT id, 1, false, 2, current_date, 1, 1, current_date, 1, now(), 1, now() FROM m_loan WHERE account_no = %s
"""
_NOTE = """
    INSERT INTO m_note (loan_id, client_id, note_type_enum, note, created_by, created_on_utc, last_modified_by,
        last_modified_on_utc) SELECT id, client_id, 200, %s, 1, now(), 1, now() FROM m_loan WHERE account_no = %s
"""
_REPAY_ALL = """
    INSERT INTO m_loan_transaction (loan_id, office_id, is_reversed, transaction_type_enum, transaction_date, amount,
        principal_portion_derived, submitted_on_date, created_by, created_on_utc, last_modified_by,
        last_modified_on_utc)
    SELECT id, 1, false, 2, current_date, 1, 1, current_date, 1, now(), 1, now() FROM m_loan WHERE account_no = ANY(%s)
"""
# Rows of our own have no balance. The others stay as they are, in new versions.
_RAISE_ALL = """
    UPDATE m_loan_transaction SET last_modified_on_utc = now(), principal_portion_derived = principal_portion_derived
        + CASE WHEN transaction_type_enum = 2 AND outstanding_loan_balance_derived IS NULL THEN 1 ELSE 0 END,
        amount = amount
        + CASE WHEN transaction_type_enum = 2 AND outstanding_loan_balance_derived IS NULL THEN 1 ELSE 0 END
"""
_CORRECT_ALL = """
    UPDATE m_loan_repayment_schedule SET last_modified_on_utc = now(), interest_amount = CASE WHEN installment = 1
        AND loan_id IN (SELECT id FROM m_loan WHERE account_no = ANY(%s)) THEN %s ELSE interest_amount END
"""
_CORRECT = """
    UPDATE m_loan_repayment_schedule SET interest_amount = %s, last_modified_on_utc = now()
    WHERE installment = 1 AND loan_id = (SELECT id FROM m_loan WHERE account_no = %s)
"""
_ALIKE = """
    SELECT 1 FROM m_loan a JOIN m_loan b ON b.client_id = a.client_id AND b.principal_amount = a.principal_amount
        AND b.id <> a.id WHERE a.account_no = %s
"""


@dataclass
class Branch:
    """Writes, and remembers. Used by one thread.

    `paying` loans get repayments: their position only grows. `drafts` has every interest of the first instalment
    that each new loan ever had, in order; `notes` the loan of each text that was marked for Kiva. `changes` counts
    committed rows by kind.
    """

    connection: psycopg.Connection[Any]
    photos: Path
    seed: int = 1
    loans: int = 60
    paying: list[str] = field(default_factory=list)
    drafts: dict[str, list[Decimal]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._number = 0
        self.reconnect(self.connection)
        self.paying = [row[0] for row in self.connection.execute(_PAYING, [KIVA_FUND, self.loans])]

    def reconnect(self, connection: psycopg.Connection[Any]) -> None:
        """Go on by this connection: the server was away."""
        if connection is not self.connection:
            self.connection.close()
        self.connection = connection
        self._teller = Teller(connection, self._dice, today=date.today(), photos=self.photos, kiva_share=1.0)

    def work(self) -> None:
        """One transaction of some kind; one in fifty of them is rolled back, and never was."""
        often: dict[Callable[[], None], int] = {
            self.repay: 88,
            self.tell: 5,
            self.remark: 3,
            self.grant: 2,
            self.correct: 2,
        }
        if self._dice.random() < 0.02:
            with self.connection.transaction(force_rollback=True):
                self.connection.execute(_REPAY, [self._dice.choice(self.paying)])
            return
        self._dice.choices(list(often), list(often.values()))[0]()

    def repay(self) -> None:
        """One unit of principal of one to three loans, in one transaction."""
        loans = self._dice.sample(self.paying, self._dice.choice([1, 1, 1, 3]))
        with self.connection.transaction():
            for loan in loans:
                self.connection.execute(_REPAY, [loan])
        self.changes["transaction"] += len(loans)

    def grant(self) -> None:
        """A new loan of one person, entered and approved.

        None is of the client and amount of another: the relay asks a person about it, and here nobody answers.
        """
        first, granted = Decimal(self._next()), False
        with self.connection.transaction():
            act = self._teller.grant_individual()
            if act is None:
                return
            if self.connection.execute(_ALIKE, [act.identity]).fetchone() is not None:
                raise psycopg.Rollback
            self.connection.execute(_CORRECT, [first, act.identity])
            granted = True
        if not granted:
            return
        self.drafts[act.identity] = [first]
        self.changes["loan"] += 1

    def correct(self) -> None:
        """Another interest of a new loan: before it was sent it replaces it, after that it is a divergence."""
        if not self.drafts:
            return
        loan, interest = self._dice.choice(list(self.drafts)[-20:]), Decimal(self._next())
        self.connection.execute(_CORRECT, [interest, loan])
        self.drafts[loan].append(interest)
        self.changes["schedule"] += 1

    def repay_all(self, by: psycopg.Connection[Any]) -> None:
        """One unit of principal of every paying loan, in a transaction that is open."""
        by.execute(_REPAY_ALL, [self.paying])

    def raise_all(self) -> None:
        """Every transaction of every loan is written again, and each repayment of ours is one unit more."""
        with self.connection.transaction():
            self.connection.execute(_RAISE_ALL)
        self.changes["transaction"] += len(self.paying)

    def correct_all(self, *, before: str = "", after: str = "") -> None:
        """The whole table of schedules is written again, with another interest for each new loan.

        `before` and `after` are SQL of the same transaction.
        """
        interest = Decimal(self._next())
        with self.connection.transaction():
            for sql in filter(None, before.split(";")):
                self.connection.execute(sql.encode())
            self.connection.execute(_CORRECT_ALL, [[*self.drafts], interest])
            for sql in filter(None, after.split(";")):
                self.connection.execute(sql.encode())
        for versions in self.drafts.values():
            versions.append(interest)
        self.changes["schedule"] += len(self.drafts)

    def tell(self) -> None:
        """A note for Kiva's lenders."""
        loan, text = self._dice.choice([*self.paying, *list(self.drafts)[-5:]]), f"Story {self._next()} of a good year."
        self.connection.execute(_NOTE, [f"KIVA: {text}", loan])
        self.notes[text] = loan
        self.changes["note"] += 1

    def remark(self) -> None:
        """A note that is nobody else's business."""
        loan = self._dice.choice(self.paying)
        self.connection.execute(_NOTE, [f"Remark {self._next()}: asks for delay, do not call before noon", loan])
        self.changes["note"] += 1

    def _next(self) -> int:
        self._number += 1
        return self._number
