"""What comes from elsewhere is shown, and a terminal or a spreadsheet never obeys it."""

from __future__ import annotations

import io
import json

import pytest

from kiva_relay import cli, log
from kiva_relay.cli import frame, words
from kiva_relay.errors import UsageError
from kiva_relay.terminal import visible

FOREIGN = [
    *("\x1b[2J\x1b[31mOK", "\x9b31m", "a\x07b", "\x00", "\x7f", "\rOK", "\u202e1000", "\u2066x\u2069", "\u200b"),
    *("KV\u200d1", "\ufeffKV", "\u2028", "\u3164", "\U000e0041", "\u0085", "\x1b]8;;http://x\x1b\\"),
]
HARMLESS = ["KV/0001", "Ndèye Thiès", "ሰላም", "日本", "1\u00a0000 XOF", "\u202f250"]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_nothing_that_is_printed_is_obeyed(foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame.say(f"Loan {foreign}")
    frame.notice(f"Loan {foreign}")
    frame.verdict("HELD", f"Loan {foreign}\nand {foreign}")
    frame.table(("loan", foreign), [[foreign, words.quoted(foreign)]])
    cli._complain(f"Loan {foreign}", foreign)
    printed = "".join(capsys.readouterr())
    assert printed
    assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]
    assert not set(printed) & set("\u3164")


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_that_does_no_harm_is_shown_as_it_is(text: str) -> None:
    assert visible.text(text) == text


def test_a_line_end_inside_of_an_id_makes_no_line() -> None:
    assert visible.text("KV-1\nOK   all is well") == r"KV-1\nOK   all is well"


@pytest.mark.parametrize("foreign", FOREIGN)
def test_json_says_exactly_the_same_and_is_not_obeyed_either(foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame.print_json({foreign: [foreign, "é"]})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {foreign: [foreign, "é"]}
    assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_nor_is_what_is_logged(foreign: str, format: str) -> None:  # noqa: A002 - as log.configure calls it
    stream = io.StringIO()
    log.configure("json" if format == "json" else "text", stream=stream)
    try:
        log.get("here").info(f"said {foreign}", loan=foreign, loans=[foreign, foreign])
    finally:
        log.configure()
    (line,) = stream.getvalue().splitlines()
    assert not [sign for sign in line if not sign.isprintable()]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        *(("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0")),
        *(("-1+1", "'-1+1"), ("-12.50", "-12.50"), (-12, "-12"), ("+22177", "'+22177"), (" =1", "' =1")),
        *(("\t=1", r"'\t=1"), ("\r=1", r"'\r=1"), ("＝1", "'＝1"), ("KV-1", "KV-1"), (None, ""), ("", "")),
    ],
)
def test_no_cell_of_a_csv_is_a_formula(cell: object, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    frame.print_csv(["a"], [[cell, "x"]])
    assert capsys.readouterr().out.splitlines()[1].rpartition(",")[0].strip('"') == written


def test_a_name_of_a_file_is_foreign_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--config", "/nowhere/\x1b[31m.yaml"]) == UsageError.exit_code
    assert "\x1b" not in capsys.readouterr().err
