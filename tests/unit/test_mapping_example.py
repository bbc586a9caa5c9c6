from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay.errors import ConfigurationError
from kiva_relay.mapping import example
from testbed.rig.mapping_file import DRAFT, load

EXAMPLES = """\
today: 2026-11-23
rows:
  root: {id: 1, account_no: "1", approved_principal: 10.50, currency_code: XOF, expected_disbursedon_date: 2026-12-01}
  client: {account_no: "9", firstname: Fatou}
  schedule: [{duedate: 2027-01-01, principal_amount: 10.50}]
examples:
  - name: good
    has: {"entreps[0].amount": 10.5, "entreps[1].amount": null}
  - name: no name
    rows: {client: {firstname: null}}
    refused: ["name_empty entreps[0].first_name"]
  - name: wrong on purpose
    has: {currency: EUR}
  - name: refused, and a body was expected
    rows: {client: null}
    has: {currency: XOF}
"""


def run(folder: Path, text: str) -> list[example.ExampleResult]:
    (folder / "loan_draft.test.yaml").write_text(text, "utf-8")
    return example.run(load(folder, DRAFT))


def test_examples_say_which_passed_and_what_differs(tmp_path: Path) -> None:
    results = run(tmp_path, EXAMPLES)
    assert [result.passed for result in results] == [True, True, False, False]
    assert '-    "currency": "EUR"' in results[2].diff
    assert '+    "currency": "XOF"' in results[2].diff
    assert "relation_missing client" in results[3].diff
    assert results[2].line == 12


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("today:", "tody:", "no such key"),
        ("    refused:", "    refusd:", "no such key"),
        ("    has: {currency: EUR}", "    rows: {}", "nothing is expected"),
    ],
)
def test_mistakes_in_examples_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run(tmp_path, EXAMPLES.replace(old, new))


def test_a_mapping_without_examples_has_none(tmp_path: Path) -> None:
    assert example.run(load(tmp_path, DRAFT)) == []
