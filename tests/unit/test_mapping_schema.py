from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kiva_relay.mapping import document, function, schema
from kiva_relay.mapping.plan import LONG_FORM, STEPS
from kiva_relay.resource.kind import RESOURCES
from testbed.rig import json_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mapping.md").read_text("utf-8")
TEXTS = {
    **{
        f"{file.parent.name}/{file.name}": file.read_text("utf-8")
        for file in sorted((ROOT / "mappings").glob("*/*.yaml"))
        if not file.name.endswith(".test.yaml")
    },
    **{
        f"docs, block {number}": block
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
        if block.startswith(("resource:", "extends:", "#"))
    },
}
SCHEMA = schema.render()


def underlined(text: str) -> list[str]:
    return list(json_schema.complaints(YAML(typ="safe", pure=True).load(text), SCHEMA, SCHEMA))


def test_the_schema_knows_what_the_loader_knows() -> None:
    assert tuple(SCHEMA["properties"]) == document.KEYS
    long_form = SCHEMA["definitions"]["field"]["anyOf"][1]["properties"]
    assert tuple(long_form) == LONG_FORM
    drafts = SCHEMA["else"]["allOf"][0]
    assert drafts["if"]["properties"]["resource"] == {"const": "loan_draft"}
    assert list(drafts["then"]["properties"]["fields"]["properties"]) == [
        field.name for field in RESOURCES["loan_draft"].fields
    ]
    json.dumps(SCHEMA)


@pytest.mark.parametrize("name", TEXTS)
def test_an_editor_underlines_nothing_in_a_good_mapping(name: str) -> None:
    assert underlined(TEXTS[name]) == []


def test_an_editor_underlines_what_the_loader_refuses() -> None:
    text = TEXTS["fineract/loan_draft.individual.yaml"]
    for stood, written, said in (
        ("identity: account_no", "identitiy: account_no", "identitiy is not known"),
        ("table: m_client,", "tabel: m_client,", "tabel is not known"),
        ("many: true", "many: yes", "'yes' is no boolean"),
        ("lookup: activities", "lookup: activity", "'activity' is none of"),
        ("disburse_time:", "disbursed:", ".fields: disbursed is not known"),
        ("trim: true, required", "trimm: true, required", "trimm is not known"),
        ("resource: loan_draft", "resource: journal", ".fields: entreps is not known"),
        ("[description, loanuse", "[descripton, loanuse", "'descripton' is none of"),
    ):
        assert stood in text
        assert any(said in each for each in underlined(text.replace(stood, written, 1))), written


DIFFERS = """\
extends: fineract/loan_draft.individual
when: null
source: {where: fund_id = 3}
relations: {photo: null, client: {changed_at: null}}
fields:
  entreps: [{last_name: null, gender: {choose: {Weiblich: female, Female: null}, else: null}}]
  image_encoded: null
  schedule: {do: {interest: interest_amount}}
"""


def test_what_extends_may_miss_what_is_required_and_take_out_what_is_there() -> None:
    assert underlined(DIFFERS) == []
    for stood, written, said in (
        ("extends: fineract/loan_draft.individual\n", "", "resource is missing"),
        ("extends: fineract/loan_draft.individual", "extends: null", "extends: None is no string"),
        ("where:", "wher:", "wher is not known"),
        ("image_encoded", "image_encode", "image_encode is not known"),
        ("changed_at: null", "changd_at: null", "changd_at is not known"),
    ):
        assert any(said in each for each in underlined(DIFFERS.replace(stood, written))), written


def test_without_extends_nothing_is_taken_out() -> None:
    text = TEXTS["fineract/loan_draft.individual.yaml"].replace("identity: account_no", "identity: null")
    assert underlined(text) == [".identity: None is no string"]


def test_a_number_and_true_are_expressions_too() -> None:
    text = TEXTS["fineract/loan_draft.individual.yaml"].replace(
        "  currency:      currency_code", "  currency: {text: KES}\n  theme_type_id: 48\n  client_waiver_signed: true"
    )
    assert underlined(text) == []


def test_every_step_of_the_long_form_is_a_function() -> None:
    assert set(STEPS) | {"share", "count"} == set(function.FUNCTIONS)
