from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay.mapping import lookup
from kiva_relay.mapping.lookup import Lists, ListsUnknown, Unknown
from testbed.rig.mapping_file import LISTS


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("activities", "Livestock", 79),
        ("activities", "LIVESTOCK", 79),
        ("locations", "thiès:  senegal", "Thiès: Senegal"),
        ("locations", "ThiÃ¨s: Senegal", "Thiès: Senegal"),
        ("locations", "Thie\u0300s: Senegal", "Thiès: Senegal"),
        ("locales", "French", 3),
        ("locales", "fr", 3),
        ("currencies", "XOF", "XOF"),
        ("themes", "General", 48),
    ],
)
def test_a_name_is_found_in_kivas_spelling(kind: str, name: str, expected: int | str) -> None:
    assert LISTS.find(kind, name) == expected


def test_an_accent_is_not_guessed_but_the_nearest_is_named() -> None:
    with pytest.raises(Unknown) as unknown:
        LISTS.find("locations", "Thies: Senegal")
    assert unknown.value.refusal.params == {"value": "Thies: Senegal", "nearest": "Thiès: Senegal"}


def test_a_list_that_was_never_read_is_not_an_empty_one() -> None:
    assert not Lists().known
    assert LISTS.known
    some = Lists.of({"activities": []})
    assert not some.known
    with pytest.raises(ListsUnknown):
        some.find("locations", "Thiès: Senegal")
    with pytest.raises(Unknown):
        some.find("activities", "Livestock")


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "lookup").mkdir()
    file = tmp_path / "lookup" / "offices.csv"
    file.write_bytes('\ufeffmis,kiva\r\n"Dakar, centre",Dakar: Senegal\r\n\r\n# ours\r\n'.encode())
    table = lookup.table("offices.csv", [tmp_path])
    assert table is not None
    assert table.rows == {"dakar, centre": "Dakar: Senegal"}


def test_ids_that_were_typed_by_hand(tmp_path: Path) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "loan_ids.csv").write_text("at_kiva,in_the_mis\nKV/42 ,000000042\n", "utf-8")
    assert lookup.loan_ids([tmp_path]) == {"KV/42": "000000042"}


def test_an_item_without_an_id_that_an_older_version_stored_stops_nothing() -> None:
    stored: dict[str, list[dict[str, int | str]]] = {
        "activities": [{"activity_id": 1, "activity": "Retail"}, {"activity": "New one"}]
    }
    lists = Lists.of(stored)
    assert lists.find("activities", "Retail") == 1
    with pytest.raises(Unknown):
        lists.find("activities", "New one")
