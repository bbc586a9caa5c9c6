from __future__ import annotations

import json

from kiva_relay.mapping import document, function, schema
from kiva_relay.mapping.field_reader import LONG_FORM, STEPS
from kiva_relay.resource.kind import RESOURCES


def test_the_schema_knows_what_the_loader_knows() -> None:
    rendered = schema.render()
    assert tuple(rendered["properties"]) == document.KEYS
    long_form = rendered["$defs"]["field"]["oneOf"][1]["properties"]
    assert tuple(long_form) == LONG_FORM
    drafts = rendered["oneOf"][0]["properties"]
    assert drafts["resource"] == {"const": "loan_draft"}
    assert list(drafts["fields"]["properties"]) == [field.name for field in RESOURCES["loan_draft"].fields]
    json.dumps(rendered)


def test_every_step_of_the_long_form_is_a_function() -> None:
    assert set(STEPS) | {"share", "count"} == set(function.FUNCTIONS)
