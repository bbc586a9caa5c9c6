from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kiva_relay.errors import ConfigurationError, Mistake
from testbed.rig.mapping_file import DRAFT, changed, load


def mistakes(folder: Path, text: str, **parameters: Any) -> list[Mistake]:
    with pytest.raises(ConfigurationError) as wrong:
        load(folder, text, **parameters)
    return wrong.value.mistakes


def only(folder: Path, text: str) -> Mistake:
    found = mistakes(folder, text)
    assert len(found) == 1, found
    return found[0]


CURRENCY = "  currency: currency_code\n"

# What she writes, and the line that she should write instead: the traps of YAML itself.
TRAPS = {
    "colon and blank": (
        "currency: client.cv | choose({22: 'female', 24: 'male'})",
        "currency: {from: client.cv, choose: {22: female, 24: male}, else: refuse}",
    ),
    "text between quotes": ("currency: 'to buy seeds'", 'currency: {text: "to buy seeds"}'),
    "bare words": ("currency: to buy seeds", 'currency: {text: "to buy seeds"}'),
    "quoted start": ("currency: 'to buy ' ~ purpose", "currency: \"'to buy ' ~ purpose\""),
    "yes": ("currency: yes", "currency: true"),
    "number": ("currency: 000123", 'currency: {text: "000123"}'),
    "location": ("currency: Thiès: Senegal", 'currency: {text: "Thiès: Senegal"}'),
    "unclosed quote": ("currency: 'XOF", "currency: 'XOF'"),
}


@pytest.mark.parametrize(("line", "instead"), TRAPS.values(), ids=TRAPS)
def test_a_trap_of_yaml_is_recognised(tmp_path: Path, line: str, instead: str) -> None:
    found = only(tmp_path, changed(CURRENCY, f"  {line}\n"))
    assert found.line == 19
    assert instead in found.remedy
    # The line to write instead loads: at least as YAML, and as an expression or a long form.
    repaired = changed(CURRENCY, f"  {instead}\n")
    try:
        load(tmp_path, repaired)
    except ConfigurationError as wrong:
        pytest.fail(str(wrong)) if instead != "currency: 'XOF'" else None


def test_a_comma_in_a_flow_mapping(tmp_path: Path) -> None:
    found = only(tmp_path, changed("interest: interest_amount or 0}", "interest: interest_amount | money(0, 1)}"))
    assert found.line == 23
    assert 'interest: "interest_amount | money(0, 1)"' in found.remedy


def test_a_comment_in_a_text_is_a_warning(tmp_path: Path) -> None:
    mapping = load(tmp_path, changed(CURRENCY, "  currency: {text: XOF # CFA\n    }\n"))
    assert ['YAML takes all from " #" on for a comment' in each.message for each in mapping.warnings] == [True]


def test_a_tab_is_named_and_read_over(tmp_path: Path) -> None:
    found = mistakes(tmp_path, changed("  currency: currency_code", "\tcurrency: currency_cod("))
    assert [(each.line, each.column) for each in found] == [(19, 1), (19, 13)]


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    text = DRAFT
    for old, new in {
        "currency: currency_code": "currency: Thiès: Senegal",
        "client.firstname": "cleint.firstname",
        "  schedule:\n    each: schedule": "  shedule: 1\n  schedule:\n    each: shedules",
        "last_name: {from: client.lastname, trim: true}": "last_name: {form: client.lastname, trim: yes}",
        "where: loan_status_id = 300": "where: fund_id = :kiva_fund",
        "optional: true": "optionl: true",
        "identity: account_no": "identity: account_no +",
    }.items():
        assert old in text
        text = text.replace(old, new)
    found = mistakes(tmp_path, text)
    said = {each.path for each in found}
    assert said >= {
        "fields.currency",
        "fields.entreps[0].first_name",
        "fields.shedule",
        "fields.schedule.each",
        "fields.entreps[0].last_name.form",
        "fields.entreps[0].last_name.trim",
        "source.where",
        "relations.gender.optionl",
        "identity",
    }
    by_path = {each.path: each for each in found}
    assert by_path["fields.entreps[0].first_name"].remedy == "nearest: client"
    assert by_path["fields.shedule"].remedy == "nearest: schedule"
    assert by_path["relations.gender.optionl"].remedy == "nearest: optional"
    assert all(each.line and each.column for each in found)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("resource: loan_draft", "resource: loan_drafts", 'found "loan_drafts"'),
        ("identity: account_no\n", "", "is missing"),
        ("key: id\n  where", "where", "is missing"),
        ("match: {id: client_id}", "match: {}", "is missing"),
        ("match: {id: client.gender_cv_id}", "match: {id: cleint.gender_cv_id}", 'no relation "cleint"'),
        ("{table: m_client, match", "{table: m_client, sql: SELECT 1, match", "either"),
        ("{table: m_client, match", "{sql: DELETE FROM m_client, match", "one SELECT"),
        ("order_by: installment", "changed_at: x", "without an order"),
        ("currency: currency_code", "currency: client.firstname.length", ""),
        ("currency: currency_code", "currency: schedule.duedate", "many rows"),
        ("currency: currency_code", "currency: position", "`position` is known inside"),
        ("date: duedate", "date: client.activation_date", "the loan is `root.`"),
        ("currency: currency_code", "currency: {from: currency_code, lookup: currency}", "no such list"),
        ("currency: currency_code", "currency: {from: currency_code, translate: none.csv}", "no code table"),
        ("currency: currency_code", "currency: {trim: true}", "neither"),
        ("currency: currency_code", "currency: currency_code\n  currency: currency_code", "written twice"),
        ("fields:\n", "left_to_the_coordinator: [currency]\nfields:\n", "is mapped under fields"),
        ("fields:\n", "left_to_the_coordinator: [storry]\nfields:\n", 'no such field: "storry"'),
        ("  currency: currency_code\n", "", "is missing: The ISO"),
        ("relations:\n", "parameters: {since: {ask: from when, type: day}}\nrelations:\n", 'no such type: "day"'),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, old: str, new: str, says: str) -> None:
    found = mistakes(tmp_path, changed(old, new))
    assert any(says in each.message for each in found), found


def test_a_parameter_is_converted_and_bound(tmp_path: Path) -> None:
    text = changed("relations:\n", "parameters: {since: {ask: from when, type: date}}\nrelations:\n")
    text = text.replace("loan_status_id = 300", "approvedon_date >= :since")
    assert str(load(tmp_path, text, since="2026-11-01").stream.parameters["since"]) == "2026-11-01"
    assert "expected date" in mistakes(tmp_path, text, since="soon")[0].message


def test_a_journal_of_every_note_is_warned_about(tmp_path: Path) -> None:
    text = (
        "resource: journal\nidentity: id\nsource: {table: m_note, key: id}\n"
        "fields: {internal_loan_id: loan_no, subject: {text: News}, body: note}\n"
    )
    mapping = load(tmp_path, text, name="journal")
    assert ["internal remarks" in each.message for each in mapping.warnings] == [True]


def test_a_table_inside_a_sql_that_nobody_watches_is_warned_about(tmp_path: Path) -> None:
    text = changed(
        "gender: {table: m_code_value, match: {id: client.gender_cv_id}, optional: true}",
        "gender: {sql: SELECT id FROM m_code_value JOIN m_client ON true, match: {id: client.gender_cv_id}}",
    )
    assert ["changes in m_code_value" in each.message for each in load(tmp_path, text).warnings] == [True]


def test_the_fingerprint_is_of_the_meaning(tmp_path: Path) -> None:
    first = load(tmp_path, DRAFT).fingerprint
    assert first.startswith("1:")
    assert load(tmp_path, "# a comment\n" + DRAFT.replace("key: id", "key:   id  # the row")).fingerprint == first
    assert load(tmp_path, changed("approved_principal", "principal_amount")).fingerprint != first


def test_a_code_table_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "lookup").mkdir()
    table = tmp_path / "lookup" / "currencies.csv"
    text = changed("currency: currency_code", "currency: {from: currency_code, translate: currencies.csv}")
    table.write_text("mis,kiva\nCFA,XOF\n", "utf-8")
    first = load(tmp_path, text).fingerprint
    table.write_text("mis,kiva\nCFA,XAF\n", "utf-8")
    assert load(tmp_path, text).fingerprint != first
    table.write_text("mis,kiva\nCFA,XAF,x\nCFA\n", "utf-8")
    assert [each.line for each in mistakes(tmp_path, text)] == [2, 3]


def test_a_folded_text_holds_no_marks_of_the_parser(tmp_path: Path) -> None:
    text = changed("where: loan_status_id = 300", "where: >-\n    loan_status_id = 300\n    AND fund_id = 2")
    assert load(tmp_path, text).stream.where == "loan_status_id = 300 AND fund_id = 2"


def test_a_file_cut_at_a_line_is_no_mapping(tmp_path: Path) -> None:
    lines = DRAFT.splitlines()
    assert mistakes(tmp_path, "\n".join(lines[:10]))
    assert mistakes(tmp_path, "")
