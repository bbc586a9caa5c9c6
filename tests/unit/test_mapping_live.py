"""A mapping against a schema; the schema here is a dict, the real one is tried over the ready-made mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kiva_relay.errors import ConfigurationError, RelayError, Unreachable
from kiva_relay.mapping import document, live
from kiva_relay.mapping.plan import Parameter
from testbed.rig.mapping_file import DRAFT, changed, load

SCHEMA = {
    "m_loan": {
        "id": "integer",
        "account_no": "text",
        "client_id": "integer",
        "approved_principal": "number",
        "currency_code": "text",
        "disbursedon_date": "date",
        "expected_disbursedon_date": "date",
    },
    "m_client": {
        "id": "integer",
        "account_no": "text",
        "firstname": "text",
        "lastname": "text",
        "gender_cv_id": "integer",
    },
    "m_code_value": {"id": "integer", "code_value": "text"},
    "m_loan_repayment_schedule": {
        "loan_id": "integer",
        "installment": "integer",
        "duedate": "date",
        "principal_amount": "number",
        "interest_amount": "number",
    },
}


class Schema:
    """Answers as a database would."""

    def columns(self, relation: str, /) -> Mapping[str, str]:
        if relation.startswith("SELECT"):
            if "broken" in relation:
                raise RelayError("syntax error")
            return {}
        if relation not in SCHEMA:
            raise RelayError(f"The MIS has no table {relation}.")
        return SCHEMA[relation]

    def choices(self, sql: str, /) -> list[tuple[str, str]]:
        return [("1", "Fonds propres"), ("3", "Kiva")]


def test_a_mapping_that_fits(tmp_path: Path) -> None:
    assert document.verify(load(tmp_path, DRAFT), Schema()) == []


@pytest.mark.parametrize(
    ("change", "line", "says", "remedy"),
    [
        (("client.firstname", "client.fistname"), 15, 'm_client has no column "fistname"', "nearest: firstname"),
        (("currency: currency_code", "currency: 'seeds'"), 19, 'no column "seeds"', '{text: "seeds"}'),
        (("date: duedate", "date: principal_amount"), 23, "Kiva takes a date", ""),
        (("amount: approved_principal", "amount: account_no"), 18, "Kiva takes an amount", ""),
        (("table: m_client,", "table: m_clients,"), 8, "no table m_clients", ""),
        (("where: loan_status_id = 300", "where: broken"), 6, "syntax error", ""),
        (("match: {id: client_id}", "match: {id: clientid}"), 8, 'no column "clientid"', "nearest: client_id"),
        (("order_by: installment", "order_by: instalment"), 10, 'no column "instalment"', "nearest: installment"),
        (("from: client.lastname", "from: client.lastnam"), 16, 'no column "lastnam"', "nearest: lastname"),
    ],
)
def test_what_the_database_does_not_have(
    tmp_path: Path, change: tuple[str, str], line: int, says: str, remedy: str
) -> None:
    found = document.verify(load(tmp_path, changed(*change)), Schema())
    assert len(found) == 1, found
    assert (found[0].line, says in found[0].message, remedy in found[0].remedy) == (line, True, True), found


def test_a_missing_parameter_is_asked_for_with_its_choices(tmp_path: Path) -> None:
    text = changed("relations:\n", 'parameters: {fund: {ask: which, sql: "SELECT id, name FROM m_fund"}}\nrelations:\n')
    (tmp_path / "loan_draft.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match="In your database: 1 Fonds propres; 3 Kiva"):
        document.load([tmp_path], parameters={}, mis=Schema())


def test_a_database_that_is_away_is_not_a_mistake(tmp_path: Path) -> None:
    class Away(Schema):
        def columns(self, relation: str, /) -> Mapping[str, str]:
            raise Unreachable(relation)

        def choices(self, sql: str, /) -> list[tuple[str, str]]:
            raise Unreachable(sql)

    with pytest.raises(Unreachable):
        document.verify(load(tmp_path, DRAFT), Away())
    with pytest.raises(Unreachable):
        live.choices(Parameter("fund", "which", "SELECT 1", None, 1, 1), Away())
