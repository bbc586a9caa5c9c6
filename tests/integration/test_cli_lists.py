"""`kiva-relay lists`: the names that a mapping may use, as Kiva gave them last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.outbox import catalogue
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run

GIVEN: dict[str, list[dict[str, Any]]] = {
    "activities": [
        {"activity_id": 45, "activity": "Livestock"},
        {"activity_id": 79, "activity": "Farming\x1b[31m"},
        {"activity": "an item without an id"},
    ],
    "themes": [{"theme_type_id": 48, "theme_type": "General"}],
    "locations": [{"country": "Kenya", "location": "Kisumu", "full_name": "Kisumu: Kenya"}],
    "locales": [{"currency": "XOF", "language_code": "fr", "language_name": "French", "language_id": 3}],
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    with told.outbox.begin() as tx:
        for kind, items in GIVEN.items():
            catalogue.keep(tx, kind, items, now=told.now)
    return full_outbox.runner(capsys)


def test_each_list_with_the_field_that_it_is_for(run: Run) -> None:
    out = run("lists").out
    for kind, field in (("activities", "activity_id"), ("locations", "location"), ("currencies", "currency")):
        assert any(kind in line and field in line for line in out.splitlines())
    assert "kiva-relay lists activities farm" in out


def test_the_names_of_one_list_and_nothing_that_the_terminal_obeys(run: Run) -> None:
    out = run("lists", "activities").out
    assert "Livestock" in out
    assert "45" in out
    assert "\x1b[31m" not in out
    assert "without an id" not in out


@pytest.mark.parametrize(
    ("like", "name"), [("KISU", "Kisumu: Kenya"), ("Kismu: Kenya", "Kisumu: Kenya"), ("live", "Livestock")]
)
def test_a_name_is_found_by_a_part_of_it_or_by_one_that_is_near(run: Run, like: str, name: str) -> None:
    assert name in run("lists", "--like", like).out
    kind = "locations" if ":" in name else "activities"
    found = run("lists", kind, like).out
    assert name in found
    assert ("Livestock" if kind == "locations" else "Kisumu") not in found


def test_a_name_is_found_by_its_words_in_any_order_and_before_one_of_like_letters(told: FullOutbox, run: Run) -> None:
    named = ("Kisumu: Kenya", "Kisii: Kenya", "Country sale: Kenya", "Poultry: Kenya")
    with told.outbox.begin() as tx:
        catalogue.keep(tx, "locations", [{"full_name": name} for name in named], now=told.now)
    assert run("lists", "locations", "Kenya, Kisumu", "--json").json["lists"] == {
        "locations": {"Kisumu: Kenya": "Kisumu: Kenya"}
    }
    (found,) = run("lists", "locations", "poultry sale", "--json").json["lists"].values()
    assert next(iter(found)) == "Poultry: Kenya"
    assert "Kisii" not in run("lists", "locations", "Branch Kisumu").out


def test_a_text_that_is_no_list_is_looked_for_in_all_of_them(run: Run) -> None:
    wrong = run("lists", "livestock")
    assert wrong.code == 2
    assert "kiva-relay lists --like livestock" in wrong.err
    assert "Livestock" in run("lists", "--like", "livestock").out
    assert run("lists", "activities", "farm", "--like", "farm").code == 2


def test_what_is_not_there_is_said(run: Run) -> None:
    assert "There is no such name" in run("lists", "activities", "--like", "zzzzzz").out
    wrong = run("lists", "activites")
    assert wrong.code == 2
    assert "kiva-relay lists activities" in wrong.err


def test_json_has_what_kiva_gets(run: Run) -> None:
    assert run("lists", "activities", "--json").json["lists"] == {
        "activities": {"Farming\x1b[31m": 79, "Livestock": 45}
    }


def test_before_kiva_was_asked(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not read yet" in full_outbox.runner(capsys)("lists").out
    assert told is not None
