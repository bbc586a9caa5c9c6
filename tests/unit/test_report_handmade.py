"""Files that people made by hand: whatever a spreadsheet made of ids and amounts is read, and the rest is named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from kiva_relay.errors import ConfigurationError
from kiva_relay.report import handmade


def amounts(tmp_path: Path, data: bytes | str) -> dict[str, Decimal]:
    file = tmp_path / "october.csv"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return {row.loan_id: row.amount for row in handmade.read(file).rows.values()}


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("clients", [True, False])
def test_whatever_a_spreadsheet_saves_is_read(
    tmp_path: Path, between: str, encoding: str, line_end: str, *, head: bool, clients: bool
) -> None:
    names, rows = ["Prêt", "Client", "Montant"], [["000412", "311", "150000"], ["É/7 ", "312", "0"]]
    lines = [names, *rows] if head else rows
    text = "".join(between.join(one if clients else [one[0], one[2]]) + line_end for one in lines)
    found = amounts(tmp_path, text.encode(encoding))
    assert found == {"000412": Decimal(150000), "É/7": Decimal(0)}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["61 204,50", "1 000,00"], ["61204.50", "1000"]),
        (["61\u00a0204,50"], ["61204.50"]),
        (["61\u202f204,5"], ["61204.5"]),
        (["61.204,50", "10,00"], ["61204.50", "10"]),
        (["61,204.50", "10.00"], ["61204.50", "10"]),
        (["61'204.50"], ["61204.50"]),
        (["61\u2019204.50"], ["61204.50"]),
        (["1,23,456.00"], ["123456"]),
        (["250.000", "1.250.000"], ["250000", "1250000"]),
        (["250,000"], ["250000"]),
        (["250.000", "12.5"], ["250", "12.5"]),
        (["1250.500", "75.000"], ["1250.5", "75"]),
        (["0.500", "75.000"], ["0.5", "75"]),
        (["125000.000000"], ["125000"]),
        (["250 000 XOF", "FCFA 75 000"], ["250000", "75000"]),
        (["S/ 1,500.00", "S/.20.50", "$3", "4 €", "5€"], ["1500", "20.5", "3", "4", "5"]),
        (["-5,50", "1,5", "\u22122,5"], ["-5.5", "1.5", "-2.5"]),
        (['"=""150"""', "'75"], ["150", "75"]),
    ],
)
def test_amounts_are_read_as_they_were_meant(tmp_path: Path, written: list[str], meant: list[str]) -> None:
    text = "".join(f"A{number};{amount}\n" for number, amount in enumerate(written))
    assert list(amounts(tmp_path, text).values()) == [Decimal(one) for one in meant]


@pytest.mark.parametrize(
    ("written", "loan_id"),
    [('"=""000412"""', "000412"), ("'000412", "000412"), ('"A;12"', "A;12"), (" 42 ", "42"), ("#7", "#7")],
)
def test_ids_are_read_as_they_were_meant(tmp_path: Path, written: str, loan_id: str) -> None:
    assert list(amounts(tmp_path, f"{written};150\nB;1\n")) == [loan_id, "B"]


def test_a_line_that_says_what_stands_between_is_no_loan(tmp_path: Path) -> None:
    assert amounts(tmp_path, "sep=;\r\n42;150,5\r\n") == {"42": Decimal("150.5")}


def test_empty_lines_and_empty_columns_are_passed_over(tmp_path: Path) -> None:
    assert amounts(tmp_path, "\n42;150;;\n;;;\n\n43;;;\n".replace("43;;;", "43;7;;")) == {
        "42": Decimal(150),
        "43": Decimal(7),
    }


def test_a_client_is_never_taken_for_an_amount(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        amounts(tmp_path, "loan;client;amount\n42;311;150\n43;312;\n")
    assert [(one.line, one.column) for one in wrong.value.mistakes] == [(3, 3)]


def test_the_same_amount_twice_does_no_harm(tmp_path: Path) -> None:
    assert amounts(tmp_path, "42,150\n42,150.00\n") == {"42": Decimal(150)}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("42;150\n43;12O\n", 2, 2, "loan 43: expected an amount, found “12O”"),
        ("42;150\n43;\n", 2, 2, "loan 43: expected an amount, found nothing"),
        ("42;150\n;7\n", 2, 1, "expected a loan id, found nothing"),
        ("42;150\n43;15 0\n", 2, 2, "found “15 0”"),
        ("42;61,204.50\n43;1,5\n", 2, 2, "found “1,5”"),
        ("42;150\n42;160\n", 2, 2, "loan 42 has 160 here and 150 in line 1"),
        ("42;150\n43;1E+05\n", 2, 2, "found “1E+05”"),
        ("42\n43\n", 1, 1, "expected 2 or 3 columns with a comma between them, found 1"),
        ("1;2;3;4\n", 1, 4, "expected 2 or 3 columns with a semicolon between them, found 4"),
        ("", 0, 0, "holds nothing"),
        ("loan;amount\n", 0, 0, "holds no loan"),
        ("000412;-\n43;150\n", 1, 2, "loan 000412: expected an amount, found “-”"),
        ("000412;311;n/a\n43;312;150\n", 1, 3, "loan 000412: expected an amount, found “n/a”"),
    ],
)
def test_what_cannot_be_told_is_named(tmp_path: Path, text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        amounts(tmp_path, text)
    (mistake,) = wrong.value.mistakes
    assert (mistake.line, mistake.column) == (line, column)
    assert message in mistake.message


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        amounts(tmp_path, "42;1a\n43;1b\n44;1c\n")
    assert [one.line for one in wrong.value.mistakes] == [1, 2, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"PK\x03\x04xlsx", "is a spreadsheet itself"), (b"a;b\n" + b"x;1\n" * 3_000_000, "is longer than 8 MB")],
)
def test_what_is_no_such_file_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        amounts(tmp_path, data)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        handmade.read(tmp_path / "none.csv")
