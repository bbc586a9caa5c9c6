from __future__ import annotations

import re
from pathlib import Path

import pytest

from kiva_relay.config import yaml_reader
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.mapping import document, example
from kiva_relay.mapping.example import FILE
from kiva_relay.mapping.function import FUNCTIONS
from kiva_relay.mapping.lookup import REFUSALS
from kiva_relay.mapping.plan import LONG_FORM
from kiva_relay.mapping.source_reader import RELATION, SOURCE

DOCS = Path(__file__).parents[2] / "docs" / "mapping.md"
TEXT = DOCS.read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
LOOKUP = Path(__file__).parents[2] / "mappings" / "fineract"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_every_block_loads(tmp_path: Path, block: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(block, "utf-8")
    if block.startswith(FILE):
        report = MistakeReport(file)
        assert yaml_reader.read(file, report) is not None
        assert report.mistakes == []
        return
    mapping, mistakes = document.read(file, folders=[LOOKUP, tmp_path], parameters={"kiva_fund": 2})
    assert mapping is not None
    assert [mistake for mistake in mistakes if mistake.severity == "error"] == []


@pytest.mark.parametrize("word", [*FUNCTIONS, *LONG_FORM, *RELATION, *SOURCE, *document.KEYS, *REFUSALS])
def test_every_word_is_explained(word: str) -> None:
    assert re.search(rf"`{word}[`(:]", TEXT)


def test_the_example_of_extends_does_what_the_page_says(tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if block.startswith("extends:")]
    (tmp_path / "loan_draft.individual.yaml").write_text(block, "utf-8")
    (mapping,) = document.load([tmp_path], parameters={"kiva_fund": 2})
    (tmp_path / "loan_draft.individual.test.yaml").write_text(EXAMPLES, "utf-8")
    assert [result.diff for result in example.run(mapping) if not result.passed] == []
    differ = {result.name for result in example.run_of_base(mapping) if not result.passed}
    assert differ == {"no name at all is refused, and never becomes None", "the client is gone"}
    assert "image_encoded" not in mapping.fields
    assert mapping.stream.where.endswith("loan_status_id = 300")
    assert mapping.stream.relations[-1].name == "story"


EXAMPLES = """\
today: 2026-11-23
lists: {locations: ["Thiès: Senegal"]}
rows:
  root: {account_no: "1", principal_amount: 10, currency_code: XOF, currency_digits: 0, disbursedon_date: 2026-11-20}
  client: {account_no: "9", firstname: Fatou}
  office: {name: "Thiès: Senegal"}
  gender: {code_value: Weiblich}
  story: {use_of_loan: to buy seeds}
  schedule: [{duedate: 2027-01-01, principal_amount: 10}]
examples:
  - name: one name, a code of our own, a use of the loan
    has: {loanuse: to buy seeds, "entreps[0].gender": female, "entreps[0].last_name": null, image_encoded: null}
"""
