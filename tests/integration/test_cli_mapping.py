"""`kiva-relay mapping list|check|test|preview`: the files against a live book, and one loan looked at closely."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.config import shipped
from kiva_relay.resource import body as bodies
from testbed.institution.branch import KIVA_FUND
from testbed.rig.site import Site

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mapping(house: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["mapping", *arguments, "--config", str(house.config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def own(house: Site) -> Path:
    """A copy of the ready-made mappings, to be edited."""
    folder = house.folder / "mappings"
    shutil.copytree(shipped.folder("mappings") / "fineract", folder)
    house.changes["mappings"] = str(folder)
    return folder


@pytest.fixture
def approved(house: Site) -> tuple[str, str]:
    """A loan that can be sent: its id, and its borrower's first name."""
    rows = house.mis(
        "UPDATE m_loan l SET disbursedon_date = NULL, expected_disbursedon_date = %s FROM m_client c"
        " WHERE c.id = l.client_id AND l.id = (SELECT max(id) FROM m_loan WHERE fund_id = %s AND loan_type_enum = 1"
        " AND loan_status_id IN (200, 300)) RETURNING l.account_no, c.firstname",
        date.today() + timedelta(days=3),
        KIVA_FUND,
    )
    return rows[0]


def test_list(mapping: Run) -> None:
    code, out, _ = mapping("list")
    assert code == 0
    assert "loan_draft.individual" in out
    _, listed, _ = mapping("list", "--json")
    assert {one["resource"] for one in json.loads(listed)} == {"loan_draft", "repayment", "journal"}


def test_check_finds_the_shipped_mappings_good(mapping: Run) -> None:
    code, out, err = mapping("check")
    assert (code, err) == (0, "")
    assert "6 mappings good" in out


# What stands in the ready-made mapping, what she writes, and what she is told to write: among them the traps of YAML.
MISTAKES = [
    (
        "gender:     {from: gender.code_value, choose: {Female: female, Male: male, Femme: female, Homme: male, Mujer: female, Hombre: male}, else: refuse}",
        "gender:     client.gender_cv_id | choose({22: 'female', 24: 'male'}, else='unknown')",
        "gender: {from: client.gender_cv_id, choose: {22: female, 24: male}, else: unknown}",
    ),
    ("currency:      currency_code", "currency:      currncy_code", "nearest: currency_code"),
    ("from: client.lastname,", "from: client.lastnam,", "nearest: lastname"),
    ("client_id:  client.account_no", "client_id:  000123", 'client_id: {text: "000123"}'),
    (
        "location:      {from: office.name, translate: locations.csv, lookup: locations}",
        "location:      Thiès: Senegal",
        'location: {text: "Thiès: Senegal"}',
    ),
    (
        "disburse_time: disbursedon_date",
        "loanuse: 'to buy seeds'\n  disburse_time: disbursedon_date",
        'loanuse: {text: "to buy seeds"}',
    ),
    (
        "disburse_time: disbursedon_date",
        "description: 'to buy ' ~ purpose.code_value\n  disburse_time: disbursedon_date",
        """description: "'to buy ' ~ purpose.code_value\"""",
    ),
    (
        "disburse_time: disbursedon_date",
        "client_waiver_signed: yes\n  disburse_time: disbursedon_date",
        "client_waiver_signed: true",
    ),
    (
        "disburse_time: disbursedon_date",
        "group_name: {text: a # b}\n  disburse_time: disbursedon_date",
        'group_name: {text: "a # b"}',
    ),
    (
        "      date:      duedate\n",
        "      date:      {from: duedate | default(0, true)}\n",
        'from: "duedate or 0"',
    ),
    ("image_encoded: {from:", "imag_encoded: {from:", "nearest: image_encoded"),
    ("match: {id: loanpurpose_cv_id}", "match: {id: loanpurpose_id}", "nearest: loanpurpose_cv_id"),
]


def test_check_tells_every_mistake_at_once(mapping: Run, own: Path) -> None:
    file = own / "loan_draft.individual.yaml"
    text = file.read_text()
    for stood, written, _ in MISTAKES:
        assert stood in text
        text = text.replace(stood, written, 1)
    file.write_text(text)
    code, _, err = mapping("check")
    assert code == 2
    assert f"loan_draft.individual.yaml: {len(MISTAKES)} mistakes" in err
    told = err.splitlines()
    for _, written, instead in MISTAKES:
        line = written.splitlines()[0].strip()
        number = next(at for at, each in enumerate(text.splitlines(), start=1) if line in each)
        at = next(at for at, each in enumerate(told) if re.match(rf"  {number}:\d+ ", each))
        column = int(told[at].split(":")[1].split()[0])
        written_there = text.splitlines()[number - 1]
        assert line.partition(":")[0].partition(".")[0] in told[at]
        shift = told[at + 1].index(line[:8]) - written_there.index(line[:8])
        assert told[at + 2].index("^") == column - 1 + shift
        assert instead in told[at + 3]
    assert "what is in force stays in force" in err


def test_check_says_nothing_of_rows_that_are_older_than_since(mapping: Run, house: Site) -> None:
    _, out, err = mapping("check")
    assert re.search(r"loan_draft\.\w+\.yaml: [^\n]*warning", out + err)
    tomorrow = date.today() + timedelta(days=1)
    house.changes |= {"loan_drafts": {"since": tomorrow}, "journals": {"since": tomorrow}}
    _, out, err = mapping("check")
    assert not re.search(r"(loan_draft|journal)\.?\w*\.yaml: [^\n]*warning", out + err), out + err


def test_check_asks_once_for_a_parameter_and_knows_the_choices(mapping: Run, own: Path) -> None:
    for file in own.glob("*.yaml"):
        file.write_text(file.read_text().replace("kiva_fund", "kiva_fond"))
    code, _, err = mapping("check")
    assert code == 2
    assert err.count("error") == 1
    assert "has to be given: m_fund.id of the fund that Kiva finances" in err
    assert "6 mappings ask for it" in err
    assert "2 Kiva Microfunds" in err
    assert "(it has kiva_fund)" in err


def test_check_knows_the_live_columns(mapping: Run, own: Path) -> None:
    file = own / "loan_draft.individual.yaml"
    file.write_text(file.read_text().replace("client.lastname", "client.lastnam"))
    code, _, err = mapping("check")
    assert code == 2
    assert 'm_client has no column "lastnam"' in err
    assert "nearest: lastname" in err
    assert "what is in force stays in force" in err


def test_check_finds_a_relation_that_is_not_unique_and_columns_that_are_null(
    mapping: Run, own: Path, house: Site
) -> None:
    file = own / "loan_draft.individual.yaml"
    last = "  payment: {table: m_loan_repayment_schedule, match: {loan_id: id}, optional: true}\n"
    text = (
        file.read_text()
        .replace("relations:\n", f"relations:\n{last}")
        .replace("currency:      currency_code", "currency:      external_id")
    )
    file.write_text(text)
    code, _, err = mapping("check")
    assert code == 2
    assert "is read as one row" in err
    assert "m_loan.external_id is NULL in" in err
    assert "rows in scope; those are refused" in err
    line = text.splitlines().index("  currency:      external_id") + 1
    assert f"  {line}:18" in err


def test_check_compares_code_tables_with_kivas_lists(mapping: Run, own: Path) -> None:
    table = own / "lookup" / "activities.csv"
    table.write_text(table.read_text() + "Apiculture,Bee keping\n")
    code, out, _ = mapping("check")
    assert code == 0
    assert "“Bee keping” is not one of Kiva's activities" in out


def test_check_with_the_database_away(mapping: Run, house: Site) -> None:
    house.changes["mis"] = {"url": "postgresql://nobody@127.0.0.1:1/fineract"}
    code, out, err = mapping("check")
    assert code == 3
    assert "6 mappings good" in out
    assert "Run it again when the database answers" in err


def test_test_runs_the_examples(mapping: Run) -> None:
    code, out, _ = mapping("test")
    assert code == 0
    passed, _, total = out.splitlines()[-1].split()[:3]
    assert passed == total
    assert int(passed) > 20


def test_test_shows_what_differs(mapping: Run, own: Path) -> None:
    file = own / "repayment.yaml"
    file.write_text(file.read_text().replace("loan_id:   account_no", "loan_id:   external_id"))
    code, out, _ = mapping("test", "repayment.yaml")
    assert code == 1
    assert "error repayment:" in out
    assert "+++ found" in out


def test_preview_shows_the_body_and_where_it_comes_from(mapping: Run, approved: tuple[str, str]) -> None:
    loan, first_name = approved
    code, out, _ = mapping("preview", "loan-draft", "--loan", loan)
    assert code == 0
    assert "/v3/partner/123/loan_draft" in out
    assert "m_client.account_no" in out
    assert "publish in PA2 by" in out
    assert "left to the coordinator: description" in out
    assert first_name not in out
    assert "Nothing was sent." in out


def test_preview_shows_what_a_code_became_and_what_is_left_out(
    mapping: Run, house: Site, approved: tuple[str, str]
) -> None:
    loan, _ = approved
    house.mis(
        "UPDATE m_client SET gender_cv_id = (SELECT min(id) FROM m_code_value WHERE code_value = 'Female'),"
        " image_id = NULL WHERE id = (SELECT client_id FROM m_loan WHERE account_no = %s)",
        loan,
    )
    house.mis(
        "UPDATE m_loan SET loanpurpose_cv_id = (SELECT min(id) FROM m_code_value WHERE code_value = 'Elevage')"
        " WHERE account_no = %s",
        loan,
    )
    _, out, _ = mapping("preview", "loan_draft.individual", "--loan", loan)
    assert re.search(r'gender +"female" +m_code_value.code_value "Female" → choose', out)
    assert re.search(
        r"""activity_id +\d+ +m_code_value.code_value "Elevage" → activities.csv "\w+" → Kiva's activities""", out
    )
    assert "left out: image_encoded, because it is empty (m_image.location → image)" in out


def test_preview_shows_names_when_asked(mapping: Run, approved: tuple[str, str]) -> None:
    loan, first_name = approved
    _, out, _ = mapping("preview", "loan_draft.individual", "--loan", loan, "--show-names")
    assert f'"{first_name}"' in out


def test_preview_is_exactly_what_is_sent(mapping: Run, house: Site, approved: tuple[str, str]) -> None:
    loan, _ = approved
    code, out, _ = mapping("preview", "loan_draft", "--loan", loan, "--json")
    assert code == 0
    house.once()
    sent = house.sent("loan_draft")
    mine = [body for body in sent if body["entreps"][0]["loan_id"] == loan]
    assert bodies.decode(out.encode()) == bodies.decode(json.dumps(mine[0]).encode())


def test_preview_says_why_not(mapping: Run, house: Site, approved: tuple[str, str]) -> None:
    loan, _ = approved
    house.mis(
        "UPDATE m_client SET firstname = NULL, display_name = ''"
        " WHERE id = (SELECT client_id FROM m_loan WHERE account_no = %s)",
        loan,
    )
    code, out, _ = mapping("preview", "loan_draft", "--loan", loan)
    assert code == 1
    assert "The name is empty in the MIS (entreps[0].first_name)." in out
    assert "→ Write the name in the MIS." in out


def test_preview_says_what_is_out_of_scope(mapping: Run, house: Site, approved: tuple[str, str]) -> None:
    loan, _ = approved
    house.mis("UPDATE m_loan SET loan_status_id = 500 WHERE account_no = %s", loan)
    _, out, _ = mapping("preview", "loan_draft.individual", "--loan", loan)
    assert "not in scope, so nothing would be sent" in out


def test_preview_finds_a_loan_through_another_table(mapping: Run, house: Site) -> None:
    rows = house.mis(
        "SELECT l.account_no FROM m_note n JOIN m_loan l ON l.id = n.loan_id"
        " WHERE n.note LIKE 'KIVA:%%' AND l.fund_id = %s AND l.loan_type_enum < 4 LIMIT 1",
        KIVA_FUND,
    )
    code, out, _ = mapping("preview", "journal", "--loan", rows[0][0])
    assert code == 0
    assert re.search(rf'internal_loan_id +"{rows[0][0]}"', out)
    assert re.search('body +"…"', out)


def test_preview_of_an_unknown_loan(mapping: Run) -> None:
    code, out, err = mapping("preview", "repayment", "--loan", "999999999")
    assert (code, out) == (2, "")
    assert "there is no loan 999999999 in the MIS" in err


def test_preview_works_without_kivas_lists(mapping: Run, house: Site, approved: tuple[str, str]) -> None:
    loan, _ = approved
    house.changes["kiva"] = {"token_url": "http://127.0.0.1:1/t", "api_url": "http://127.0.0.1:1"}
    code, out, err = mapping("preview", "loan_draft", "--loan", loan)
    assert code == 1
    assert "Kiva's lists are not known" in err
    assert "it would wait: Kiva's lists were never read." in out
