"""Loans that Fineract's own tests do not have, with the position that is right, or what a person is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from testbed.institution.ledger import Ledger, Transaction

LATE = date(2026, 12, 31)


@dataclass(frozen=True)
class Case:
    """`repaid` is the position at the cut-off; with `person` there is none, and that value is named."""

    ledger: Ledger
    repaid: Decimal | None = None
    person: str = ""
    cutoff: date = LATE


def _row(
    day: int, kind: int, amount: str, principal: str = "0", balance: str | None = None, **more: Any
) -> Transaction:
    at = date(2026, 1 + day // 100, day % 100)
    told: dict[str, Any] = {name: value if isinstance(value, bool) else Decimal(value) for name, value in more.items()}
    after = None if balance is None else Decimal(balance)
    return Transaction(at, kind, Decimal(amount), Decimal(principal), balance=after, **told)


def _case(name: str, repaid: str, *rows: Transaction, person: str = "", cutoff: date = LATE, status: int = 300) -> Case:
    return Case(Ledger(name, rows, status=status), Decimal(repaid), person=person, cutoff=cutoff)


LENT = _row(1, 1, "1000", balance="1000")
HALF = _row(10, 2, "520", "500", "500", interest="20")

CASES = [
    _case("nothing but a disbursement", "0", LENT),
    _case("credit balance refund with a principal part", "100",
          _row(1, 1, "500", balance="500"), _row(2, 2, "175", "175", "325"),
          _row(3, 20, "75", "75", "400")),
    _case("tranche out of an overpayment", "700",
          _row(1, 1, "500", balance="500"), _row(2, 2, "700", "500", "0", overpaid="200"),
          _row(3, 1, "400", balance="200", overpaid="200")),
    _case("tranche out of an overpayment that no row tells", "700",
          _row(1, 1, "500", balance="500"), _row(2, 2, "700", "500", "0"), _row(3, 1, "400", balance="200")),
    _case("overpaid and no second tranche", "500",
          _row(1, 1, "500", balance="500"), _row(2, 2, "700", "500", "0", overpaid="200")),
    _case("chargeback out of an overpayment, whole principal kept", "996",
          LENT, _row(2, 2, "1003", "1000", "0", overpaid="3"), _row(3, 25, "7", "7", "4", overpaid="3")),
    _case("refund of an active loan takes principal back", "370",
          LENT, HALF, _row(11, 18, "150", "130", "630", interest="20")),
    _case("refund of an active loan as Fineract's column has it", "370",
          LENT, HALF, _row(11, 18, "150", "130", "370", interest="20")),
    _case("transfer refund of what was overpaid", "1000",
          LENT, _row(2, 2, "1050", "1000", "0", overpaid="50"), _row(3, 16, "50", balance="0")),
    _case("charge-off, and a repayment after it", "700",
          LENT, HALF, _row(20, 27, "500", "500", "0"), _row(30, 2, "200", "200", "300")),
    _case("charge-off, and balances of 0 ever after", "700",
          LENT, HALF, _row(20, 27, "500", "500", "0"), _row(30, 2, "200", "200", "0")),
    _case("charge-off undone", "500", LENT, HALF, _row(20, 27, "500", "500", is_reversed=True)),
    _case("write-off is not repaid", "500", LENT, HALF, _row(20, 6, "500", "500", "0"), status=601),
    _case("recovery after a write-off", "620",
          LENT, HALF, _row(20, 6, "500", "500", "0"), _row(30, 8, "120"), status=601),
    _case("recovery with its parts", "600",
          LENT, HALF, _row(20, 6, "530", "500", "0", interest="30"),
          _row(30, 8, "120", "100", "0", interest="20"), status=601),
    _case("recoveries are capped by what was written off", "1000",
          LENT, HALF, _row(20, 6, "560", "500", "0", interest="60"), _row(30, 8, "560"), status=601),
    _case("write-off and recovery, both undone", "500",
          LENT, HALF, _row(20, 6, "500", "500", "0", is_reversed=True), _row(30, 8, "120", is_reversed=True)),
    _case("recovery before the write-off that is not in yet", "500",
          LENT, HALF, _row(220, 6, "500", "500", "0"), _row(230, 8, "120"), cutoff=date(2026, 2, 28), status=601),
    _case("every kind that credits the loan", "900", LENT,
          *(_row(2 + place, kind, "100", "100", str(900 - 100 * place))
            for place, kind in enumerate((21, 22, 23, 24, 26, 28, 31, 33, 2)))),
    _case("what moves nothing", "500", LENT, HALF,
          *(_row(11 + place, kind, "70", "70" if kind in (7, 12, 13, 14, 15, 29, 30, 38) else "0", "0")
            for place, kind in enumerate(
                (3, 4, 5, 7, 9, 10, 12, 13, 14, 15, 17, 29, 30, 32, 34, 36, 38)))),
    _case("buy-down fees and amortisations move nothing", "500", LENT, HALF,
          *(_row(11 + place, kind, "70", "0", "0") for place, kind in enumerate((36, 39, 40, 41, 42, 43)))),
    _case("waived interest", "500", LENT, HALF, _row(12, 4, "30", interest="30", balance="500")),
    _case("capitalised income is owed, not repaid", "200",
          LENT, _row(2, 35, "100", balance="1100"), _row(3, 2, "200", "200", "900")),
    _case("capitalised income taken back is credited", "50",
          LENT, _row(2, 35, "100", balance="1100"), _row(3, 37, "50", "50", "1050")),
    _case("income posting: Fineract's column is not the principal", "400",
          LENT, _row(2, 19, "10", interest="10", balance="1010"), _row(3, 2, "420", "400", "590", interest="20")),
    _case("replay: undone rows beside their copies", "600", LENT,
          _row(10, 2, "500", "480", "520", interest="20", is_reversed=True),
          _row(10, 2, "500", "500", "400"), _row(5, 2, "100", "100", "900")),
    _case("the same day, in another order than their ids", "250",
          _row(1, 28, "250", "250", "750"), LENT),
    _case("three of a day, the last in the middle", "350", LENT,
          _row(5, 25, "100", "100", "650"), _row(5, 2, "250", "250", "550"), _row(5, 2, "200", "200", "800")),
    _case("a row of nothing", "500", LENT, HALF, _row(12, 2, "0", "0", "500"), _row(12, 1, "0", balance="500")),
    _case("only fees were paid", "0", LENT, _row(2, 2, "20", fees="20", balance="1000")),
    _case("no balances at all", "500", _row(1, 1, "1000"), _row(10, 2, "520", "500", interest="20")),
    _case("taken over without its disbursement", "500", _row(1, 10, "5"), _row(10, 2, "520", "500", "500")),
    _case("what comes after the cut-off", "500", LENT, HALF, _row(301, 2, "500", "500", "0"),
          cutoff=date(2026, 2, 28)),
    _case("typed in later, dated before", "700", LENT, _row(20, 2, "500", "500", "300"), _row(5, 2, "200", "200", "800")),
    _case("a tranche after the cut-off", "500", _row(1, 1, "1000", balance="1000"), HALF,
          _row(301, 1, "1000", balance="1500"), cutoff=date(2026, 2, 28)),
    _case("rows and balance that differ", "0", LENT, _row(2, 2, "400", "400", "500"), person="100"),
    _case("rows and balance that differ the other way", "0", LENT, _row(2, 2, "400", "400", "700"), person="-100"),
    *(_case(f"a type that nobody knows: {kind}", "0", LENT, HALF, _row(11, kind, "5"), person=str(kind))
      for kind in (0, 11, 44, 45, 46, 47, 48, 999)),
    _case("a type that nobody knows, undone", "500", LENT, HALF, _row(11, 48, "5", is_reversed=True)),
    _case("a status that nobody knows", "0", LENT, HALF, status=603, person="603"),
    *(_case(f"a loan of status {status}", "500", LENT, HALF, status=status)
      for status in (100, 200, 300, 303, 304, 400, 500, 600, 601, 602, 700)),
]  # fmt: skip
