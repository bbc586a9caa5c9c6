"""The report as a file for PA2: ids and amounts stand in it exactly, and what is not in it is known."""

from __future__ import annotations

import csv as standard
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from kiva_relay.report import csv, line
from kiva_relay.report.csv import CsvReport
from kiva_relay.report.line import ReportLine, ReportLineKind

NEEDS_CARE = [
    "000000412",
    "LOAN/12/2024",
    "A,12",
    'the "old" one',
    "42 ",
    " 42",
    "KV;93",
    "É-7",
    "=1+1",
    "+221771234567",
    "-5",
    "@loan",
    "'7",
    "1E5",
    "12345678901234567890",
    "2/3",
]


def a_line(
    loan_id: str, amount: str | None = "150000", kind: ReportLineKind = ReportLineKind.ON_ITS_WAY, **more: Any
) -> ReportLine:
    position = None if amount is None else Decimal(amount)
    return ReportLine(kiva_id=f"k-{loan_id}", loan_id=loan_id, kind=kind, position=position, **more)


def write(lines: list[ReportLine], columns: int = 2) -> tuple[str, CsvReport]:
    into = io.StringIO(newline="")
    file = csv.write(lines, into, columns=columns)
    return into.getvalue(), file


def read(text: str) -> list[list[str]]:
    return list(standard.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("columns", [2, 3])
def test_ids_stand_as_kiva_spells_them(columns: int) -> None:
    head, *rows = read(write([a_line(one, client_id=f"c{one}") for one in NEEDS_CARE], columns)[0])
    assert head == (["loan_id", "amount"] if columns == 2 else ["loan_id", "client_id", "amount"])
    assert [row[0] for row in rows] == NEEDS_CARE
    assert all(row[-1] == "150000" for row in rows)
    if columns == 3:
        assert [row[1] for row in rows] == [f"c{one}" for one in NEEDS_CARE]


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "0"),
        ("-0.00", "0.00"),
        ("1250000", "1250000"),
        ("1E+6", "1000000"),
        ("61204.50", "61204.50"),
        ("0.05", "0.05"),
    ],
)
def test_an_amount_has_a_point_and_nothing_else(amount: str, written: str) -> None:
    assert read(write([a_line("42", amount)])[0])[1] == ["42", written]


def test_what_a_spreadsheet_would_change_is_named() -> None:
    _, file = write([a_line(one) for one in NEEDS_CARE])
    assert set(NEEDS_CARE) - set(file.changed_by_spreadsheets) == {
        "LOAN/12/2024",
        "A,12",
        'the "old" one',
        "42 ",
        " 42",
        "KV;93",
        "É-7",
        "'7",
    }


GOES = {ReportLineKind.ACCEPTED, ReportLineKind.ON_ITS_WAY, ReportLineKind.OLDER_AMOUNT, ReportLineKind.WARNED}


@pytest.mark.parametrize("kind", ReportLineKind)
def test_only_what_would_be_sent_is_in_it(kind: ReportLineKind) -> None:
    _, file = write([a_line("42", kind=kind, cause=line.FELL if kind is ReportLineKind.DECIDE else "")])
    assert (file.lines, file.loans) == (1, kind in GOES)
    assert file.left_out == ({} if kind in GOES else {kind: ["42"]})


def test_what_a_hold_keeps_is_in_it_and_is_said() -> None:
    _, file = write([a_line("42", kind=ReportLineKind.DECIDE, cause=line.HELD, params={"reason": "first_report"})])
    assert (file.loans, file.held) == (1, {"first_report": 1})


def test_a_loan_without_an_amount_is_never_a_zero() -> None:
    text, file = write([a_line("42", None), a_line("43", "0")])
    assert read(text)[1:] == [["43", "0"]]
    assert file.left_out == {ReportLineKind.ON_ITS_WAY: ["42"]}


def test_a_loan_without_a_client_is_said_where_pa2_takes_three_columns() -> None:
    lines = [a_line("42", client_id="7"), a_line("43")]
    assert write(lines, 3)[1].without_client == ["43"]
    assert write(lines, 2)[1].without_client == []


def test_where_there_is_no_line_there_is_no_file() -> None:
    """A file of column names alone would be uploaded, and nobody would be reported."""
    assert write([]) == ("", CsvReport())


def test_a_long_report_is_written_in_parts() -> None:
    asked: list[int] = []

    def clients(part: Sequence[ReportLine]) -> dict[str, str]:
        asked.append(len(part))
        return {f"own-{one.loan_id}": f"c{one.loan_id}" for one in part}

    lines = (a_line(str(number), identity=f"own-{number}") for number in range(1, 1_202))
    into = io.StringIO(newline="")
    file = csv.write(lines, into, columns=3, clients=clients)
    _, *rows = read(into.getvalue())
    assert (file.lines, file.loans, file.without_client, max(asked)) == (1_201, 1_201, [], 500)
    assert [row[1] for row in rows] == [f"c{number}" for number in range(1, 1_202)]
