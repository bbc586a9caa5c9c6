"""What Kiva bills for a loan that is left out: by the schedule that was posted, else by the MIS's."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kiva_relay.report import line, price
from kiva_relay.report.line import Price, ReportLine, ReportLineKind
from kiva_relay.report.price import OpenAmount

REPAID, OUTSTANDING = "cumulative_principal", "principal_outstanding"
POSTED = [("2026-10", Decimal(41666)), ("2026-11", Decimal("20000.50")), ("2026-11", Decimal(21667))]


def amount(written: str | None) -> Decimal | None:
    return None if written is None else Decimal(written)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (OpenAmount(POSTED, Decimal(1), Decimal(125000)), Price(Decimal("41667.50"), Decimal(125000), "posted")),
        (OpenAmount(None, Decimal(41667), Decimal(125000)), Price(Decimal(41667), Decimal(125000), "mis")),
        (OpenAmount(None, None, Decimal(125000)), Price(None, Decimal(125000), "unknown")),
        (OpenAmount(), Price(None, None, "unknown")),
        # Nearly paid off: not more than what is open.
        (OpenAmount(POSTED, None, Decimal(10000)), Price(Decimal(10000), Decimal(10000), "posted")),
        (OpenAmount(None, Decimal(41667), Decimal(0)), Price(Decimal(0), Decimal(0), "mis")),
        (OpenAmount(None, Decimal(41667)), Price(Decimal(41667), None, "mis")),
        # A month without an instalment costs nothing.
        (OpenAmount([("2027-01", Decimal(5))], Decimal(7), Decimal(9)), Price(Decimal(0), Decimal(9), "posted")),
    ],
)
def test_the_price_says_by_which_schedule(known: OpenAmount, expected: Price) -> None:
    assert price.price(known, period="2026-11") == expected


@pytest.mark.parametrize(
    ("basis", "lent", "at_kiva_lent", "position", "before", "still_open"),
    [
        (REPAID, "250000", "240000", "125000", "100000", "125000"),
        (REPAID, "250000", None, "260000", None, "0"),
        (REPAID, None, "240000", "125000", None, "115000"),
        # The MIS gives nothing: what Kiva took before is what was repaid.
        (REPAID, None, "240000", None, "100000", "140000"),
        (REPAID, None, "240000", None, None, "240000"),
        (REPAID, None, None, "125000", None, None),
        # On the other basis the amount itself is what is open.
        (OUTSTANDING, "250000", None, "30000", None, "30000"),
        (OUTSTANDING, None, None, None, "30000", "30000"),
        (OUTSTANDING, None, "240000", None, None, "240000"),
    ],
)
def test_what_is_still_open(  # noqa: PLR0917 - what is known of a loan
    basis: str,
    lent: str | None,
    at_kiva_lent: str | None,
    position: str | None,
    before: str | None,
    still_open: str | None,
) -> None:
    one = ReportLine(
        "k1",
        "A",
        ReportLineKind.DECIDE,
        lent=amount(lent),
        lent_at_kiva=amount(at_kiva_lent),
        position=amount(position),
        before=amount(before),
    )
    assert price.still_open(one, basis) == amount(still_open)


def test_an_amount_in_another_currency_says_nothing_of_what_is_open_at_kiva() -> None:
    one = ReportLine(
        "k1",
        "A",
        ReportLineKind.DECIDE,
        line.OTHER_CURRENCY,
        lent=Decimal(250000),
        position=Decimal(125000),
        lent_at_kiva=Decimal(400),
        before=Decimal(100),
    )
    assert price.still_open(one, REPAID) == Decimal(300)


def test_a_schedule_is_read_out_of_a_draft() -> None:
    draft = {
        "schedule": [
            {"date": "2026-10-31", "principal": 5, "interest": 1},
            {"date": "2026-11-01", "principal": Decimal("7.5")},
        ]
    }
    assert price.schedule(draft) == [("2026-10", Decimal(5)), ("2026-11", Decimal("7.5"))]


@pytest.mark.parametrize(
    "draft",
    [
        {},
        {"schedule": []},
        {"schedule": "12 months"},
        {"schedule": [{"date": "2026-11-30"}]},
        {"schedule": [{"date": "soon", "principal": 5}]},
        {"schedule": [{"date": "2026-11-30", "principal": "5"}]},
        {"schedule": [None]},
    ],
)
def test_a_schedule_that_does_not_read_is_none(draft: dict[str, Any]) -> None:
    assert price.schedule(draft) is None
