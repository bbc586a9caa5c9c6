"""An amount as a person types it, and as a page keeps it on one line."""

from __future__ import annotations

import pytest

from kiva_relay.errors import UsageError
from kiva_relay.report import amount
from kiva_relay.words import unbroken

READ = [
    ("", "XOF", ""),
    (" 150000 ", "XOF", "150000"),
    ("150 000", "XOF", "150000"),
    ("150\u00a0000\u00a0XOF", "XOF", "150000"),
    ("150.000", "XOF", "150000"),
    ("1.500.000", "XOF", "1500000"),
    ("1,500,000", "XOF", "1500000"),
    ("1 500.50", "PEN", "1500.50"),
    ("1 500,5 pen", "PEN", "1500.5"),
    ("1.500,50", "PEN", "1500.50"),
    ("1,500.50", "PEN", "1500.50"),
    ("1.500", "PEN", "1500"),
    ("1.500", "JOD", "1.500"),
    ("0.5", "USD", "0.5"),
    ("1500.50", None, "1500.50"),
]


@pytest.mark.parametrize(("written", "currency", "meant"), READ)
def test_it_is_read_as_it_was_meant(written: str, currency: str | None, meant: str) -> None:
    assert amount.read(written, currency) == meant


@pytest.mark.parametrize(
    ("written", "currency"),
    [
        ("1.500", None),
        ("1,500", "JOD"),
        ("0.500", "PEN"),
        ("1.50.000", "PEN"),
        ("1,5,00", "PEN"),
        ("1.500,", "PEN"),
        ("12 34", "PEN"),
        ("1 500,500", "PEN"),
        ("-5", "PEN"),
        ("1e5", "PEN"),
        ("abc", "PEN"),
        ("150 000 USD", "PEN"),
        ("१५०", "NPR"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_not_read(written: str, currency: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        amount.read(written, currency)
    assert refused.value.code == "amount_unreadable"


@pytest.mark.parametrize(
    ("written", "currency", "hint"),
    [
        ("150.000", "XOF", "--value 150000    or: --value 150"),
        ("150,000", "XOF", "--value 150000    or: --value 150"),
        ("1.500", "PEN", "--value 1500    or: --value 1.5"),
        ("1,500", "JOD", "--value 1500    or: --value 1.5"),
        ("1.525", None, "--value 1525    or: --value 01.525"),
        ("150 000", "XOF", "--value 150000"),
        ("150000 XOF", "XOF", "--value 150000"),
        ("1.500,50", "PEN", "--value 1500.50"),
        ("1.500.000", "XOF", "--value 1500000"),
    ],
)
def test_a_command_takes_nothing_that_can_be_meant_in_two_ways(written: str, currency: str | None, hint: str) -> None:
    """`report decide --value 150.000` reported 150 for 150000."""
    with pytest.raises(UsageError) as refused:
        amount.must_be_plain(written, currency)
    assert refused.value.hint == hint
    for plain in hint.replace("--value", "").split("or:"):
        amount.must_be_plain(plain.strip(), currency)


@pytest.mark.parametrize("written", ["150000", "1500.50", "0", "0.500", "1500.525", "-5", "many", "", "NaN"])
def test_what_is_plain_is_left_to_whoever_decides(written: str) -> None:
    amount.must_be_plain(written, "XOF")
    amount.must_be_plain("1.525", "JOD")


def test_no_line_ends_within_an_amount_or_before_a_mark() -> None:
    shown = '<p title="1 500 XOF">n° 33 : 41 667 XOF et 2 500.00 PEN, « oui » ? 7 XOF</p>'
    assert unbroken.kept(shown) == (
        '<p title="1 500 XOF">n°_33_: 41_667_XOF et 2_500.00_PEN, «_oui_»_? 7_XOF</p>'.replace("_", "\u00a0")
    )


def test_what_a_form_carries_back_keeps_its_blanks() -> None:
    shown = '<input value="KV 412 000"><button name="do" value="value 1 500">Send 1 500</button>'
    assert unbroken.kept(shown) == shown.replace("Send 1 500", "Send 1\u00a0500")


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ("ven. 4 déc. 2026", "ven. 4~déc. 2026"),
        ("le 1er décembre", "le 1er~décembre"),
        ("jueves 10 de diciembre, 18:00", "jueves 10~de~diciembre, 18:00"),
        ("Fri 4 Dec", "Fri 4~Dec"),
        ("000000902 (n.º 10)", "000000902~(n.º~10)"),
        ("3 drafts", "3 drafts"),
        ("10 de ellos", "10 de ellos"),
    ],
)
def test_a_day_and_a_number_stay_on_their_line(shown: str, kept: str) -> None:
    assert unbroken.text(shown).replace("\u00a0", "~") == kept
