"""What each month came to: SQL over the institution's transactions against what Kiva's stand-in took.

It knows nothing of the outbox, and nothing of the product but the names of Kiva's fields (`resource/`).
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from testbed.kiva.control import Sandbox
from testbed.year.mis import Mis
from testbed.year.months import Month

EXPECTED = ("payingBack", "defaulted")

FUND = 2
"""`m_fund.id` of the fund that Kiva finances."""

# Added up from the parts of each row, by the types that repay (2, 21 … 37) and that take back (18, 20, 25). A recovery
# counts up to what was written off, of its loan. Neither a charge-off nor income that was capitalised is repaid.
_POSITIONS = """
SELECT identity, fund, is_lent, SUM(lent) AS lent, SUM(repaid) AS repaid, MIN(currency) AS currency, MIN(digits) AS digits,
       MAX(odd) AS odd
FROM (
  SELECT CASE WHEN l.loan_type_enum = 4 THEN g.account_number ELSE l.account_no END AS identity, l.id,
         MAX(l.fund_id) AS fund, MAX(CASE WHEN l.disbursedon_date IS NULL THEN 0 ELSE 1 END) AS is_lent,
         MAX(l.principal_disbursed_derived) AS lent, MAX(l.currency_code) AS currency, MAX(l.currency_digits) AS digits,
         COALESCE(SUM(CASE WHEN t.transaction_type_enum IN (2, 21, 22, 23, 24, 26, 28, 31, 33, 37)
                           THEN COALESCE(t.principal_portion_derived, 0)
                           WHEN t.transaction_type_enum IN (18, 20, 25)
                           THEN -COALESCE(t.principal_portion_derived, 0) ELSE 0 END), 0)
         + CASE WHEN COALESCE(SUM(CASE WHEN t.transaction_type_enum = 8 THEN t.amount END), 0)
                     < COALESCE(SUM(CASE WHEN t.transaction_type_enum = 6 THEN t.principal_portion_derived END), 0)
                THEN COALESCE(SUM(CASE WHEN t.transaction_type_enum = 8 THEN t.amount END), 0)
                ELSE COALESCE(SUM(CASE WHEN t.transaction_type_enum = 6 THEN t.principal_portion_derived END), 0) END
           AS repaid,
         MAX(CASE WHEN t.transaction_type_enum NOT IN (1, 2, 6, 8, 27, 35) THEN 1 ELSE 0 END) AS odd
  FROM m_loan l LEFT JOIN glim_accounts g ON g.id = l.glim_id
  LEFT JOIN m_loan_transaction t ON t.loan_id = l.id AND t.is_reversed = false AND t.transaction_date <= :cutoff
  GROUP BY l.id, l.loan_type_enum, g.account_number, l.account_no
) p
GROUP BY identity, fund, is_lent
"""


@dataclass(frozen=True)
class MisLoan:
    """What the institution has under an id: the position at the cut-off, and what was lent.

    `tells_what_is_owed`: what Kiva gets is what is still owed, not what was repaid.
    """

    identity: str
    in_fund: bool
    is_lent: bool
    lent: Decimal
    repaid: Decimal
    currency: str
    tells_what_is_owed: bool = False

    @property
    def is_reported(self) -> bool:
        """Is it one of those that the mappings cover?"""
        return self.in_fund and self.is_lent

    @property
    def position(self) -> Decimal:
        """The amount that Kiva gets."""
        return self.on_basis(self.repaid)

    def on_basis(self, amount: Decimal) -> Decimal:
        """What was repaid as Kiva gets it; and what Kiva got as it was repaid."""
        return self.lent - amount if self.tells_what_is_owed else amount


@dataclass(frozen=True)
class KivaLoan:
    """A loan that Kiva lists."""

    kiva_id: str
    loan_id: str
    client_id: str
    status: str
    price: Decimal
    currency: str


@dataclass(frozen=True)
class Booking:
    """An amount that Kiva took for a loan: in which upload, and when."""

    amount: Decimal
    at: datetime
    upload: str
    is_error: bool


@dataclass
class Scene:
    """Everything that a judge may look at, at one moment."""

    mis: dict[str, list[MisLoan]]
    expected: list[KivaLoan]
    bookings: dict[str, list[Booking]]
    wrongs: list[str] = field(default_factory=list)


def key(written: str) -> str:
    """By which an id is the same: without blanks at its ends, composed."""
    return unicodedata.normalize("NFC", written).strip()


def scene(mis: Mis, kiva: Sandbox, month: Month, *, tells_what_is_owed: bool = False) -> Scene:
    """Look at both sides."""
    found: dict[str, list[MisLoan]] = defaultdict(list)
    for row in mis.ask(_POSITIONS, cutoff=month.cutoff):
        if row["odd"]:
            raise AssertionError(f"the judge does not know a type of transaction of {row['identity']}")
        one = MisLoan(
            identity=row["identity"],
            in_fund=row["fund"] == FUND,
            is_lent=bool(row["is_lent"]),
            lent=Decimal(row["lent"]),
            repaid=Decimal(row["repaid"]),
            currency=row["currency"],
            tells_what_is_owed=tells_what_is_owed,
        )
        found[key(one.identity)].append(one)
    expected = [
        KivaLoan(
            kiva_id=str(one["kiva_id"]),
            loan_id=one["internal_loan_id"],
            client_id=one["internal_client_id"],
            status=one["status"],
            price=Decimal(one["price"]),
            currency=one["currency"],
        )
        for one in kiva.loans()
        if one["status"] in EXPECTED
    ]
    return Scene(dict(found), expected, bookings(kiva.ledger(resource="repayment")))


def bookings(ledger: Iterable[Mapping[str, Any]]) -> dict[str, list[Booking]]:
    """What Kiva took, by its spelling of the id, oldest first."""
    found: dict[str, list[Booking]] = defaultdict(list)
    for record in ledger:
        at = datetime.fromisoformat(record["time"])
        errors = {one["loan_id"] for one in record["receipt"].get("problems", ()) if one["severity"] == "error"}
        upload = str(record["receipt"].get("upload_id", ""))
        for row in record["body"]["repayments"]:
            amount = Decimal(str(row["amount"]))
            found[row["loan_id"]].append(Booking(amount, at, upload, row["loan_id"] in errors))
    return found


def held(booked: Sequence[Booking], month: Month, *, also_late: bool = False) -> Decimal | None:
    """What Kiva holds for the report of a month: the last that it took while the window was open, or since then."""
    within = [one for one in booked if month.opens <= one.at and not one.is_error]
    found = [one.amount for one in within if also_late or one.at < month.closes]
    return found[-1] if found else None


def before(booked: Sequence[Booking], month: Month) -> Decimal | None:
    """What Kiva took last for an earlier report."""
    earlier = [one.amount for one in booked if one.at < month.opens and not one.is_error]
    return earlier[-1] if earlier else None
