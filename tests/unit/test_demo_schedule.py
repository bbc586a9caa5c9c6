from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from testbed.institution import loan, schedule
from testbed.institution.schedule import Movement

START = date(2026, 1, 31)

plans = st.builds(
    lambda units, count, digits: schedule.plan(
        Decimal(units).scaleb(-digits), monthly_rate=Decimal("0.018"), count=count, start=START, digits=digits
    ),
    st.integers(100, 10**9),
    st.integers(1, 24),
    st.sampled_from((0, 2, 3)),
)
movements = st.lists(
    st.builds(
        lambda day, amount, back: Movement(START + timedelta(day), Decimal(amount), back=back),
        st.integers(1, 700),
        st.integers(1, 10**7),
        st.booleans(),
    ),
    max_size=12,
)


@given(st.integers(100, 10**9), st.integers(1, 24), st.sampled_from((0, 2, 3)))
def test_the_principal_of_a_schedule_adds_up_to_the_loan(units: int, count: int, digits: int) -> None:
    amount = Decimal(units).scaleb(-digits)
    lines = schedule.plan(amount, monthly_rate=Decimal("0.018"), count=count, start=START, digits=digits)
    assert sum(line.principal for line in lines) == amount
    assert [line.due for line in lines] == sorted({line.due for line in lines})


@given(plans, movements)
def test_every_cent_that_came_in_is_somewhere(lines: list[schedule.Instalment], money: list[Movement]) -> None:
    splits = schedule.replay(lines, money)
    for movement, split in zip(money, splits, strict=True):
        if movement.back:
            assert Decimal(0) <= split.principal <= movement.amount
        else:
            assert split.principal + split.interest + split.overpaid == movement.amount
    repaid = sum(-split.principal if m.back else split.principal for m, split in zip(money, splits, strict=True))
    derived = loan.sums(lines)
    assert derived["principal_repaid_derived"] == repaid
    assert derived["principal_outstanding_derived"] == sum(line.principal for line in lines) - repaid


def test_a_month_after_the_last_of_january_is_the_last_of_february() -> None:
    assert [schedule.months_after(START, n) for n in (1, 2, 13)] == [
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2027, 2, 28),
    ]
