"""Lines that YAML cannot read, as people write them: the one that is wrong is named, and what to write instead is good."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.config import mistake_report, shipped
from kiva_relay.errors import Mistake
from kiva_relay.mapping import document

FOLDER = shipped.folder("mappings") / "fineract"
TEXT = (FOLDER / "loan_draft.individual.yaml").read_text("utf-8")

CLIENT = "  client:   {table: m_client, match: {id: client_id}, changed_at: last_modified_on_utc}"
GENDER = "  gender:   {table: m_code_value, match: {id: client.gender_cv_id}, optional: true}"
AMOUNT = "      amount:     {from: principal_amount, money: currency_digits}"
CURRENCY = "  currency:      currency_code"
INTEREST = "      interest:  (interest_amount or 0) | money(root.currency_digits)"
LOCATION = "  location:      {from: office.name, translate: locations.csv, lookup: locations}"

# What stood there, what she wrote, column of the mistake, a part of what is said, what to write.
LINES = [
    (CLIENT, CLIENT[:-1], 13, "{ is opened and not closed", CLIENT.strip().replace(":   {", ": {")),
    (CLIENT, CLIENT + "}", 88, "} closes nothing", CLIENT.strip()),
    (GENDER, " " + GENDER, 4, "begins 3 blanks in", "begin the line with 2 blanks"),
    (CURRENCY, CURRENCY[1:], 2, "begins 1 blanks in", "begin the line with 2 blanks"),
    (AMOUNT, AMOUNT[1:], 6, "begins 5 blanks in", "begin the line with 6 blanks"),
    (AMOUNT, " " + AMOUNT, 8, "begins 7 blanks in", "begin the line with 6 blanks"),
    (AMOUNT, "\t\t\t" + AMOUNT.strip(), 1, "a tab", "begin the line with 6 blanks"),
    (CURRENCY, "\u00a0\u00a0" + CURRENCY.strip(), 1, "U+00A0", "begin the line with 2 blanks"),
    ("identity: account_no", "identity:account_no", 1, "a blank is missing", "identity: account_no"),
    ("identity: account_no", "identity account_no", 1, '":" is missing', "identity: account_no"),
    ("identity: account_no", "identity: 'account_no", 11, "not closed", "identity: 'account_no'"),
    ("identity: account_no", 'identity: "account_no', 11, "not closed", 'identity: "account_no"'),
    ("{from: client.lastname, trim", '{from: "client.lastname, trim', 26, "not closed", 'close the " on this line'),
    (INTEREST, "      int", 7, "was the file cut here?", "complete the line, or delete it"),
    (LOCATION, "  location: Thiès: Senegal", 18, 'second ":"', 'location: {text: "Thiès: Senegal"}'),
    (
        LOCATION,
        "  location: {text: Thiès: Senegal, lookup: locations}",
        25,
        'second ":"',
        'location: {text: "Thiès: Senegal", lookup: locations}',
    ),
    (CURRENCY, f"{CURRENCY}\n  loanuse: @seeds", 12, "'@'", 'loanuse: {text: "@seeds"}'),
    (CURRENCY, f"{CURRENCY}\n{CURRENCY}", 3, "is written twice", "the first one stands on line 37"),
    ("many: true", "many: yes", 11, "expected true or false", "many: true"),
    (AMOUNT, "      amount: {from: principal_amount | default(0, true)}", 22, "comma", 'from: "principal_amount or 0"'),
    (AMOUNT, "      amount: principal_amount * 1.5", 15, "`*` is not known", "compute it in a relation"),
    (AMOUNT, "      amount: CASE WHEN a THEN b END", 20, "before 'WHEN'", "a if b else c"),
    (AMOUNT, "      amount: 1 if account_no = '1' else 2", 31, "before '='", "two are compared with =="),
    (CURRENCY, "  currency: currency_code + ' '", 13, "are for numbers", "joined with `~`"),
    (CURRENCY, "  currency: “XOF”", 13, "is none", 'currency: {text: "XOF"}'),
    ("    each: schedule\n", "", 5, "belong together", "{each: RELATION, do: {…}}"),
    ("type: integer}", "type: int}", 118, "no such type", "nearest: integer"),
    (
        "fund_id = :kiva_fund AND loan_type_enum IN (1, 3) AND loan_status_id IN (200, 300)",
        "fund_id = :kiva_fund # ours\n    AND loan_type_enum IN (1, 3)",
        5,
        "ended at its comment",
        "take the comment out",
    ),
]  # fmt: skip


def mistakes_of(file: Path, text: str) -> list[Mistake]:
    file.write_text(text, "utf-8")
    return document.read(file, folders=[FOLDER], parameters={"kiva_fund": 2})[1]


@pytest.mark.parametrize("case", LINES, ids=lambda case: case[3])
def test_the_line_that_is_wrong_is_named_and_no_other(tmp_path: Path, case: tuple[str, str, int, str, str]) -> None:
    stood, written, column, said, instead = case
    file = tmp_path / "loan_draft.yaml"
    text = TEXT.replace(stood, written, 1)
    assert text != TEXT
    assert mistakes_of(file, TEXT) == []
    (mistake,) = mistakes_of(file, text)
    wrong = written.splitlines()[-1] if written else "    do:"
    lines = [line.strip() for line in text.splitlines()]
    found = [number for number, line in enumerate(lines, start=1) if wrong.strip() == line]
    found = found or [number for number, line in enumerate(lines, start=1) if wrong.strip() in line]
    line = found[-1]
    assert (mistake.line, mistake.column) == (line, column), mistake
    assert said in mistake.message
    assert instead in mistake.remedy
    assert mistake.quote == text.splitlines()[line - 1]


def test_the_line_to_write_instead_is_good(tmp_path: Path) -> None:
    file = tmp_path / "loan_draft.yaml"
    tried = 0
    for stood, written, *_ in LINES:
        lines = TEXT.replace(stood, written, 1).splitlines()
        mistake = mistakes_of(file, "\n".join(lines))[0]
        instead = mistake.remedy.rpartition("   ")[2]
        if instead.split(":")[0] != mistake.quote.strip().split(":")[0].split(" ")[0]:
            continue  # it says what to do, and not the whole line
        lines[mistake.line - 1] = " " * _indent(mistake.quote) + instead
        again = mistakes_of(file, "\n".join(lines))
        assert [each for each in again if each.path != "left_to_the_coordinator"] == [], instead
        tried += 1
    assert tried >= 9


def test_the_place_is_marked_below_the_line(tmp_path: Path) -> None:
    (mistake,) = mistakes_of(tmp_path / "loan_draft.yaml", TEXT.replace(CURRENCY, "  currency: a * b"))
    assert list(errors.listed([mistake]))[2:4] == ["              currency: a * b", "                        ^"]
    (mistake,) = mistakes_of(tmp_path / "loan_draft.yaml", TEXT.replace("type: integer}", "type: int}"))
    _, _, line, mark, _ = errors.listed([mistake])
    assert line[mark.index("^") :].startswith("int}")
    assert len(line) < 120


def test_lines_that_moved_together_are_one_mistake(tmp_path: Path) -> None:
    shifted = TEXT.replace(GENDER, " " + GENDER).replace("  purpose:", "   purpose:")
    (mistake,) = mistakes_of(tmp_path / "loan_draft.yaml", shifted)
    assert mistake.quote == " " + GENDER


@pytest.mark.long
def test_a_long_file_full_of_mistakes_is_not_read_over_and_over(tmp_path: Path) -> None:
    lines = [f"key_{number}: a value" for number in range(5000)] + [f"wrong_{number}: a: b" for number in range(60)]
    found = mistakes_of(tmp_path / "loan_draft.yaml", "\n".join(lines))
    assert 2 < len(found) < 20
    assert found[-1].message == "holds more mistakes than are said at once"
    found = mistakes_of(tmp_path / "loan_draft.yaml", "\n".join(lines[-60:]))
    assert len(found) == mistake_report.LIMIT + 1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
