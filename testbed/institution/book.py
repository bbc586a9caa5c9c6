"""A plausible institution's book: clients, groups, and two years of loans, Kiva's and others'."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from testbed.institution import fineract
from testbed.institution.branch import KIVA_FUND
from testbed.institution.institution import Institution
from testbed.institution.portfolio import Portfolio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from psycopg import Connection

    from testbed.institution.fineract import Row

# In the order of their foreign keys.
_COUNTED = [
    "m_office",
    "m_image",
    "m_staff",
    "m_appuser",
    "m_organisation_currency",
    "m_fund",
    "m_code",
    "m_code_value",
    "m_client",
    "m_group_level",
    "m_group",
    "m_product_loan",
    "glim_accounts",
    "m_loan",
    "m_loan_repayment_schedule",
    "m_loan_transaction",
    "m_loan_transaction_relation",
    "m_note",
]
_KEYED = ("m_group_client", "r_enum_value", "x_registered_table", "dt_kiva")


@dataclass(frozen=True)
class Book:
    """What was made: the fund that Kiva finances, where the photos are, and how many rows each table has."""

    fund_id: int
    photos: Path
    today: date
    rows: dict[str, int]


def seed(connection: Connection, photos: Path, *, today: date, clients: int = 3000, seed: int = 1) -> Book:
    """Fill an empty Fineract-shaped database (`fineract.create`), in one transaction.

    Args:
        connection: to that database.
        photos: a folder for the borrowers' photos; made when missing.
        today: the institution's business day. Everything happened before it.
        clients: how many; there are about as many loans.
        seed: the same seed and day make the same book.
    """
    rng = Random(seed)
    institution = Institution(rng, photos, today)
    institution.organise()
    institution.admit(clients)
    rows = Portfolio(rng, institution, today).lend()
    copy(connection, rows)
    return Book(KIVA_FUND, photos, today, {table: len(of_table) for table, of_table in rows.items()})


def copy(connection: Connection, rows: Mapping[str, Sequence[Row]]) -> None:
    """Load the rows of an institution, by table, in one transaction."""
    with connection.transaction():
        for table in (*_COUNTED, *_KEYED):
            fineract.copy(connection, table, rows.get(table, ()))
        fineract.count_on(connection, _COUNTED)
        connection.execute("ANALYZE")
