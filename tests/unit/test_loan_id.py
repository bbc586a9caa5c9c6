"""Which spellings of an id mean one loan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiva_relay.resource import loan_id


@pytest.mark.parametrize(
    "written",
    [
        "KV/0001 ",
        " KV/0001",
        "KV/0001\t",
        "KV/0001\u00a0",
        "KV/0001\r\n",
        "KV\u200b/0001",
        "\ufeffKV/0001",
        "KV/\u202e0001",
        "KV/00\u00ad01",
        "KV/0001\ufe0f",
        "KV/0001\u3164",
    ],
)
def test_what_nobody_sees_distinguishes_no_ids(written: str) -> None:
    assert loan_id.key(written) == "KV/0001"


def test_a_letter_is_the_same_however_it_is_composed() -> None:
    assert loan_id.key("N\u0303-1") == loan_id.key("\u00d1-1") == loan_id.key("N\u200b\u0303-1")


@pytest.mark.parametrize("other", ["KV/001", "KV 0001", "kv/0001", "KV/0001/2", "KV//0001"])
def test_what_is_seen_distinguishes_them(other: str) -> None:
    assert loan_id.key(other) != loan_id.key("KV/0001")


def test_a_key_has_one_key() -> None:
    for written in ("KV/0001 ", " \u00d1-1", "a b"):
        assert loan_id.key(loan_id.key(written)) == loan_id.key(written)


def test_case_does_not_matter_when_they_are_looked_for() -> None:
    assert loan_id.fold("KV/0001 ") == loan_id.fold("kv/0001")
    assert loan_id.fold("STRASSE") == loan_id.fold("straße")


@pytest.mark.parametrize(
    ("one", "other"),
    [("KV/93", "000000093"), ("93", "000000093"), ("kv-12 34", "12/34"), ("M-2", "M2"), ("L 7", "l7"), ("000", "0")],
)
def test_ids_that_are_alike_are_found_by_a_mark_that_both_have(one: str, other: str) -> None:
    assert loan_id.alike(one, other)
    assert set(loan_id.marks(one)) & set(loan_id.marks(other))


@given(*[st.text(alphabet="0129kK/- é", max_size=6)] * 2)
def test_no_two_ids_are_alike_without_such_a_mark(one: str, other: str) -> None:
    shared = set(loan_id.marks(one)) & set(loan_id.marks(other))
    assert shared or not loan_id.alike(one, other)


def test_an_id_without_letters_has_no_mark() -> None:
    assert loan_id.marks(" / ") == loan_id.marks("") == ()
