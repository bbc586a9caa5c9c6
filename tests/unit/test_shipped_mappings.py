from __future__ import annotations

import re
from pathlib import Path

import pytest

from kiva_relay.config import shipped
from kiva_relay.errors import ConfigurationError
from kiva_relay.mapping import document, example, lookup
from kiva_relay.mapping.plan import Document

FOLDER = shipped.folder("mappings") / "fineract"
MAPPINGS = document.load([FOLDER], parameters={"kiva_fund": 2})


OLDER = document.load([shipped.folder("mappings") / "fineract-1.6"], parameters={"kiva_fund": 2})
GENERIC = document.load([shipped.folder("mappings") / "generic"], parameters={"kiva_donor": 2})
ALL = [pytest.param(each, id=f"{each.file.parent.name}/{each.name}") for each in (*MAPPINGS, *OLDER, *GENERIC)]


def test_there_are_three_sets() -> None:
    assert shipped.mappings() == ["fineract", "fineract-1.6", "generic"]
    assert [each.name for each in OLDER] == [each.name for each in MAPPINGS]
    assert [each.name for each in GENERIC] == ["journal", "loan_draft", "repayment"]


def test_the_older_fineract_has_no_modified_columns() -> None:
    for mapping in OLDER:
        assert "_utc" not in mapping.text
        loan_or_client = ("m_loan", "m_client")
        assert all(not each.changed_at for each in mapping.stream.watched() if each.table in loan_or_client)


def test_there_are_six() -> None:
    assert [mapping.name for mapping in MAPPINGS] == [
        "journal",
        "loan_draft.glim",
        "loan_draft.group",
        "loan_draft.individual",
        "repayment.glim",
        "repayment",
    ]


@pytest.mark.parametrize("mapping", ALL)
def test_each_has_examples_and_they_pass(mapping: Document) -> None:
    results = example.run(mapping)
    assert results
    assert [result.diff for result in results if not result.passed] == []


@pytest.mark.parametrize("mapping", ALL)
def test_none_has_a_warning(mapping: Document) -> None:
    # An unwatched table inside a sql: would be one.
    assert mapping.warnings == ()


@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.name)
def test_none_knows_an_id_of_one_institution(mapping: Document) -> None:
    assert ":kiva_fund" in mapping.stream.where
    assert mapping.stream.parameters == {"kiva_fund": 2}
    assert not re.search(r"(?:fund_id|_cv_id)\s*(?:=|IN)\s*\(?\d", mapping.file.read_text("utf-8"))


def test_without_the_fund_nothing_loads_and_all_files_say_so() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        document.load([FOLDER], parameters={"kiva_found": 2})
    assert {mistake.path for mistake in wrong.value.mistakes} == {"parameters.kiva_fund"}
    assert len(wrong.value.mistakes) == len(MAPPINGS)
    assert "kiva_found" in wrong.value.mistakes[0].remedy


def test_only_resources_that_are_on_have_to_be_told() -> None:
    assert [each.name for each in document.load([FOLDER], parameters={"kiva_fund": 2}, resources=["journal"])] == [
        "journal"
    ]


def test_a_file_of_a_later_folder_takes_the_place_of_the_ready_made_one(tmp_path: Path) -> None:
    own = tmp_path / "journal.yaml"
    own.write_text((FOLDER / "journal.yaml").read_text("utf-8").replace("News from", "About"), "utf-8")
    found = {each.name: each for each in document.load([FOLDER, tmp_path], parameters={"kiva_fund": 2})}
    assert found["journal"].file == own
    assert found["repayment"].file == FOLDER / "repayment.yaml"


def test_lines_of_a_later_folder_come_before_the_ready_made_ones(tmp_path: Path) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "activities.csv").write_text("mis,kiva\nElevage,Pigs\nPoterie,Crafts\n", "utf-8")
    table = lookup.table("activities.csv", [FOLDER, tmp_path])
    assert table is not None
    assert (table.find("elevage"), table.find("Poterie"), table.find("Couture")) == ("Pigs", "Crafts", "Sewing")


def test_journals_come_from_marked_notes_only() -> None:
    journal = next(each for each in MAPPINGS if each.name == "journal")
    assert "note LIKE 'KIVA:%'" in journal.stream.where
    assert "note_type_enum = 200" in journal.stream.where


def test_every_file_in_the_folder_is_one_of_ours() -> None:
    allowed = {f"{mapping.name}{suffix}" for mapping in MAPPINGS for suffix in (".yaml", ".test.yaml")}
    assert {file.name for file in FOLDER.glob("*.yaml")} == allowed
