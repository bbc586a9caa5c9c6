from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiva_relay.resource import body

amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=3)
plain = st.recursive(
    st.text() | st.booleans() | st.integers(-(2**53), 2**53) | amounts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), plain, max_size=5))
def test_what_was_written_is_read_again(given_body: dict[str, Any]) -> None:
    data = body.encode(given_body)
    assert body.decode(data) == given_body
    assert body.encode(body.decode(data)) == data


def test_equal_bodies_are_equal_bytes() -> None:
    first = {"b": Decimal("123.40"), "a": date(2026, 1, 2)}
    assert body.encode(first) == b'{"a":"2026-01-02","b":123.40}'
    assert body.sha256(first) == body.sha256(dict(reversed(first.items())))


@pytest.mark.parametrize(
    ("amount", "written"),
    [("1E+5", "100000"), ("0.1", "0.1"), ("-0.00", "0.00"), ("1E-7", "0.0000001"), ("12345678901234567890.12", None)],
)
def test_money_is_written_in_plain_digits(amount: str, written: str | None) -> None:
    assert body.encode({"amount": Decimal(amount)}).decode() == f'{{"amount":{written or amount}}}'


def test_a_float_and_what_is_no_number_have_no_place_in_a_body() -> None:
    for wrong in (1.5, Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(TypeError):
            body.encode({"amount": wrong})


def test_letters_of_all_scripts_stay_themselves() -> None:
    assert json.loads(body.encode({"name": "Жаныл 'ოქრო' ស្រី 赤峰"}))["name"] == "Жаныл 'ოქრო' ស្រី 赤峰"
