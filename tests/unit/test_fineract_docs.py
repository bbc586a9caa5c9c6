"""What the docs say of Fineract's types and statuses is what the ready-made mappings do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kiva_relay.config import shipped
from kiva_relay.mapping import document

TEXT = (Path(__file__).parents[2] / "docs" / "mapping-fineract.md").read_text("utf-8")
FOLDER = shipped.folder("mappings") / "fineract"
MAPPINGS = {each.name: each for each in document.load([FOLDER], parameters={"kiva_fund": 2})}
REPAID = {
    name: next(each.sql or "" for each in MAPPINGS[name].stream.relations if each.name == "repaid")
    for name in ("repayment", "repayment.glim")
}
STATUSES = {100, 200, 300, 303, 304, 400, 500, 600, 601, 602, 700}


def _numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def _table(heading: str) -> list[tuple[str, set[int]]]:
    """Of each row what it says last, and the numbers that it begins with."""
    part = TEXT.partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d[\d, ]*(?: and above)?) \|(.*)\|$", part, re.MULTILINE)
    return [(said.rpartition("|")[2].strip(), _numbers(numbers)) for numbers, said in rows]


TYPES = _table("## What was repaid")


def _those(words: str) -> set[int]:
    return set().union(*(numbers for said, numbers in TYPES if said.startswith(words)))


def test_every_type_has_one_decision() -> None:
    listed = [number for _, numbers in TYPES for number in numbers]
    assert sorted(listed) == list(range(49))


@pytest.mark.parametrize("sql", REPAID.values(), ids=REPAID)
def test_a_type_does_what_the_table_says(sql: str) -> None:
    lists = [_numbers(found) for found in re.findall(r"IN \(([\d, ]+)\)", sql)]
    counted, back = _those("counted: `principal"), _those("taken back: `principal")
    assert counted in lists
    assert back | _those("taken back, if") in lists
    assert _those("lent") | _those("owed") == {1, 35}
    assert {1, 35} in lists
    moving = counted | {20, 25} | {1, 35}
    assert lists.count(moving) == 1
    known = set(range(1, 11)) | set(range(12, 44))
    assert "NOT BETWEEN 1 AND 10" in sql
    assert "NOT BETWEEN 12 AND 43" in sql
    assert set(range(49)) - known == _those("to a person")
    none = _those("not counted")
    assert not none & moving
    assert none | moving | back | {8, 16} == known


def test_both_repayment_mappings_decide_alike() -> None:
    def lists(sql: str) -> list[str]:
        return re.findall(r"(?:IN|BETWEEN) [(\d, )AND]+", sql)

    assert lists(REPAID["repayment"]) == lists(REPAID["repayment.glim"])


def test_every_status_is_in_the_docs_and_in_the_mappings() -> None:
    listed = [numbers for _, numbers in _table("## Loans by their status")]
    assert set().union(*listed) == STATUSES
    for name in ("repayment.glim", "repayment", "loan_draft.individual", "loan_draft.group", "loan_draft.glim"):
        written = re.findall(r"(?:NOT IN \(|not in \[)([\d, ]+)[)\]]", MAPPINGS[name].text)
        statuses = [_numbers(found) for found in written if "100, 200" in found]
        assert statuses, name
        assert all(found == STATUSES for found in statuses), name
