from __future__ import annotations

import re
from pathlib import Path

import pytest

from kiva_relay.config import yaml_reader
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.mapping import document
from kiva_relay.mapping.example import FILE
from kiva_relay.mapping.field_reader import LONG_FORM
from kiva_relay.mapping.function import FUNCTIONS
from kiva_relay.mapping.lookup import REFUSALS
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
