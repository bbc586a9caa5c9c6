"""Every mistake of a file at once: where it is, and the line to write instead. Among them YAML's own traps."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kiva_relay.mapping import document

# Each line with a mistake ends in `#! COLUMN what to write`; the mark is cut off before the file is written.
# Where YAML would take the mark for a part of the value, it stands on the line before, as `#! next …`.
WRONG = """\
resource: loan_draft
identity: account_no
surce: {table: m_loan}                                          #! 1 nearest: source
source:
  table: m_loan
  key: id
  changed_at_zone: Africa/Dakarr                                #! 20 nearest: Africa/Dakar
  where: fund_id = :kiva_found                                  #! 10 nearest: :kiva_fund
parameters:
  kiva_fund: {ask: "m_fund.id of Kiva's fund"}
relations:
  client: {table: m_client, match: {id: client_id}}
  purpose: {table: m_code_value, match: {id: purpose_id}}
  schedule: {table: m_loan_repayment_schedule, match: {loan_id: id}, many: true, order_by: installment}
fields:
  entreps:
    -
      client_id: 000123                                         #! 18 client_id: {text: "000123"}
      loan_id: account_no
      first_name: client.firstname | trimm                      #! 38 nearest: trim
      last_name: cliant.lastname                                #! 18 nearest: client
#! 47 gender: {from: client.gender_cv_id, choose: {22: female, 24: male}, else: unknown}
      gender: client.gender_cv_id | choose({22: 'female', 24: 'male'}, else='unknown')
      amount: principal * 2                                     #! 15 compute it in a relation of your own (sql:)
  currency: {from: currency_code, chose: {CFA: XOF}}            #! 35 nearest: choose
#! 22 loanuse: "'to buy ' ~ purpose"
  loanuse: 'to buy ' ~ purpose
  description: 'to buy seeds'                                   #! 20 description: {text: "to buy seeds"}
#! 18 location: {text: "Thiès: Senegal"}
  location: Thiès: Senegal
  client_waiver_signed: yes                                     #! 25 client_waiver_signed: true
  disburse_time: {text: a # b}
  shedule:                                                      #! 3 nearest: schedule
    each: schedule
  schedule:
    each: schedule
#! 54 interest: "interest_amount | share(0, true)"
    do: {date: duedate, principal: amount, interest: interest_amount | share(0, true)}
  currency: currency_code                                       #! 3 the first one stands on line {first}; delete one of them
"""


def file_and_mistakes(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    lines: list[str] = []
    expected = []
    pending = ""
    for line in text.splitlines():
        if line.startswith("#! "):
            pending = line.removeprefix("#! ")
            continue
        code, _, told = line.partition("#! ")
        lines.append(code.rstrip())
        if pending or told:
            column, _, remedy = (pending or told).partition(" ")
            expected.append((len(lines), int(column), remedy))
        pending = ""
    return "\n".join(lines) + "\n", expected


def test_all_mistakes_are_told_at_once_with_the_line_to_write(tmp_path: Path) -> None:
    text, expected = file_and_mistakes(WRONG)
    first = text.splitlines().index("  currency: {from: currency_code, chose: {CFA: XOF}}") + 1
    comment = text.splitlines().index("  disburse_time: {text: a # b}") + 1
    file = tmp_path / "loan_draft.yaml"
    file.write_text(text, "utf-8")
    _, mistakes = document.read(file, folders=[tmp_path], parameters={"kiva_fund": 3})
    found = {(each.line, each.column): each for each in mistakes}
    assert len(expected) >= 10
    for line, column, remedy in expected:
        assert (line, column) in found, (line, column, remedy, sorted(found))
        assert remedy.replace("{first}", str(first)) in found[line, column].remedy
    assert {each.line for each in mistakes} == {line for line, _, _ in expected} | {comment}
    told = next(each for each in mistakes if each.line == comment)
    assert told.remedy == 'disburse_time: {text: "a # b"}'


@pytest.mark.parametrize(
    ("line", "column", "remedy"),
    [
        ("x: col | choose({22: 'f'})", 22, "x: {from: col, choose: {22: f}, else: refuse}"),
        ("loanuse: 'to buy seeds'", 11, 'loanuse: {text: "to buy seeds"}'),
        ("loanuse: 'to buy ' ~ purpose", 22, "loanuse: \"'to buy ' ~ purpose\""),
        ("loanuse: {text: a # b}", 12, 'loanuse: {text: "a # b"}'),
        ("loanuse: {text: a, b}", 13, 'text: "a, b"'),
        ("client_waiver_signed: yes", 25, "client_waiver_signed: true"),
        ("location: Thiès: Senegal", 18, 'location: {text: "Thiès: Senegal"}'),
        ("\tloanuse: x", 3, "begin the line with 2 blanks"),
    ],
)
def test_a_trap_of_yaml(tmp_path: Path, line: str, column: int, remedy: str) -> None:
    file = tmp_path / "loan_draft.yaml"
    file.write_text(f"resource: loan_draft\nidentity: a\nsource: {{table: t, key: id}}\nfields:\n  {line}\n", "utf-8")
    _, mistakes = document.read(file, folders=[tmp_path], parameters={})
    mine = [each for each in mistakes if each.line == 5]
    assert any(remedy in each.remedy for each in mine), mistakes


def test_yaml_bombs_are_refused(tmp_path: Path) -> None:
    bombs = {
        "laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        "loop": "a: &a [*a]\n",
        "merge": "a: &a {x: 1}\nb: {<<: *a}\n",
        "deep": "[" * 100_000,
        "maps": "".join(f"{' ' * number}a:\n" for number in range(600)),
        "huge": "a: " + "x" * 1_000_000,
        "binary": "\0\1\2",
        "empty": "",
        "number": "resource: " + "9" * 10_000,
        "object": "!!python/object/apply:os.system [id]",
        "key": "{[a, b]: c, {x: y}: z}: d",
    }
    for name, text in bombs.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text, "utf-8")
        began = time.thread_time()
        _, mistakes = document.read(file, folders=[tmp_path], parameters={})
        assert any(each.severity == "error" for each in mistakes), name
        assert time.thread_time() - began < 3, name


def test_a_code_table_lies_beside_the_mappings(tmp_path: Path) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "secret.csv").write_text("a,b\nc,d\n")
    text = """\
resource: journal
identity: id
source: {table: t, key: id}
fields:
  internal_loan_id: {from: a, translate: ../secret.csv}
"""
    file = tmp_path / "journal.yaml"
    file.write_text(text)
    _, mistakes = document.read(file, folders=[tmp_path], parameters={})
    assert any("there is no code table" in each.message for each in mistakes)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b'a,b\n"' + b"x" * 200_000, b"a,b\n" + b"x,y\n" * 3_000_000])
def test_a_code_table_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "t.csv").write_bytes(content)
    file = tmp_path / "journal.yaml"
    text = (
        "resource: journal\nidentity: id\nsource: {table: t, key: id}\nfields: {subject: {from: a, translate: t.csv}}\n"
    )
    file.write_text(text)
    _, mistakes = document.read(file, folders=[tmp_path], parameters={})
    assert any(each.file.name == "t.csv" for each in mistakes)
