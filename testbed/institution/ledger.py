"""Loans in a Fineract-shaped database whose transactions are given row by row, with Fineract's balance after each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import psycopg.rows

from testbed.institution import fineract
from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Kind

REPAY_LIKE = frozenset({2, 21, 22, 23, 24, 26, 28, 31, 33, 37})
GIVE_BACK = frozenset({20, 25})
LEND = frozenset({1, 35})

# Ids above those of a seeded database.
_FIRST = 900_000


@dataclass(frozen=True)
class Transaction:
    """One row; `overpaid` is None where it is not told, `balance` where Fineract keeps none."""

    day: date
    type: int
    amount: Decimal
    principal: Decimal = Decimal(0)
    interest: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    penalties: Decimal = Decimal(0)
    overpaid: Decimal | None = None
    balance: Decimal | None = None
    is_reversed: bool = False

    @property
    def moves(self) -> bool:
        """Whether Fineract's balance after it is what is owed."""
        return not self.is_reversed and self.type in REPAY_LIKE | GIVE_BACK | LEND


@dataclass(frozen=True)
class Ledger:
    """The transactions of one loan; `tells_reversals`: whether its rows say which of them were undone."""

    name: str
    rows: tuple[Transaction, ...]
    tells_reversals: bool = True
    status: int = 300

    @property
    def lent(self) -> Decimal:
        """What was lent, in all."""
        return sum((row.amount for row in self.rows if row.type in LEND and not row.is_reversed), Decimal(0))

    @property
    def repaid(self) -> Decimal:
        """The position: what was lent less the balance after the last row that moves principal."""
        balances = [row.balance for row in self.rows if row.moves]
        return self.lent - (balances[-1] or Decimal(0)) if balances else Decimal(0)

    def breaks(self) -> Transaction | None:
        """The first row whose balance does not follow from the one before it: rows are missing, or were undone."""
        before = Decimal(0)
        for row in self.rows:
            if not row.moves or row.balance is None:
                continue
            if row.type in LEND:
                follows = before <= row.balance <= before + row.amount
            elif row.type in GIVE_BACK:
                follows = before <= row.balance <= before + row.principal
            else:
                follows = row.balance == max(before - row.principal, Decimal(0))
            if not follows:
                return row
            before = row.balance
        return None


def read(path: Path) -> list[Ledger]:
    """The tables of a file as `tests/data/fineract-transactions.csv`, in its order."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    tables: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)
    return [
        Ledger(name, tuple(map(_transaction, given)), tells_reversals=given[0]["reversed"] != "?")
        for name, given in tables.items()
    ]


def _transaction(row: Mapping[str, str]) -> Transaction:
    amounts = {name: Decimal(row[name] or 0) for name in ("amount", "principal", "interest", "fees", "penalties")}
    return Transaction(
        date.fromisoformat(row["day"]),
        int(row["type"]),
        **amounts,
        overpaid=None if row["overpaid"] == "?" else Decimal(row["overpaid"]),
        balance=Decimal(row["balance"]),
        is_reversed=row["reversed"] == "1",
    )


def load(connection: psycopg.Connection[Any], ledgers: Sequence[Ledger], *, like: int) -> None:
    """Each of them as a loan of one person, and once more as the loan of the only member of a group application.

    Args:
        connection: to a seeded database; what loans it had for Kiva are another fund's now.
        ledgers: their names become the loans' account numbers, `T0`, `T1` … in their order (`G0` … of applications).
        like: the loan whose other columns they have.
    """
    connection.execute("UPDATE m_loan SET fund_id = NULL")
    group = connection.execute("SELECT min(id) FROM m_group").fetchone()
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        model = cursor.execute("SELECT * FROM m_loan WHERE id = %s", [like]).fetchone()
    assert group is not None
    assert model is not None
    applications: list[dict[str, Any]] = []
    loans: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(ledgers):
        glim = {"id": _FIRST + number, "account_number": f"G{number}", "group_id": group[0], "child_accounts_count": 1}
        applications.append(glim)
        for kind in (Kind.INDIVIDUAL, Kind.GLIM):
            alone = kind is Kind.INDIVIDUAL
            loans.append(
                {
                    **model,
                    "id": _FIRST + len(loans),
                    "account_no": f"T{number}" if alone else f"G{number}-1",
                    "external_id": None,
                    "loan_type_enum": int(kind),
                    "glim_id": None if alone else glim["id"],
                    "fund_id": KIVA_FUND,
                    "loan_status_id": one.status,
                    "disbursedon_date": one.rows[0].day,
                    "currency_digits": 2,
                    "principal_disbursed_derived": one.lent,
                }
            )
            rows += [_row(loans[-1]["id"], place, each) for place, each in enumerate(one.rows)]
    fineract.copy(connection, "glim_accounts", applications)
    fineract.copy(connection, "m_loan", loans)
    fineract.copy(connection, "m_loan_transaction", rows)


def _row(loan: int, place: int, one: Transaction) -> dict[str, Any]:
    typed = datetime.combine(one.day, datetime.min.time(), UTC) + timedelta(minutes=place)
    return {
        "loan_id": loan,
        "office_id": 1,
        "is_reversed": one.is_reversed,
        "transaction_type_enum": one.type,
        "transaction_date": one.day,
        "amount": one.amount,
        "principal_portion_derived": one.principal or None,
        "interest_portion_derived": one.interest or None,
        "fee_charges_portion_derived": one.fees or None,
        "penalty_charges_portion_derived": one.penalties or None,
        "overpayment_portion_derived": one.overpaid or None,
        "outstanding_loan_balance_derived": one.balance,
        "submitted_on_date": one.day,
        "created_by": 1,
        "last_modified_by": 1,
        "created_on_utc": typed,
        "last_modified_on_utc": typed,
    }
