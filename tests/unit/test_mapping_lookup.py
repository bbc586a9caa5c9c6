from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay.errors import ConfigurationError
from kiva_relay.mapping import lookup
from kiva_relay.mapping.lookup import Lists, ListsUnknown, Unknown
from kiva_relay.resource.refusal import PARAMETER_LIMIT
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


_ROWS = {"elevage": "Livestock", "dakar, centre": "Dakar: Senegal", "épicerie": "Grocery Store"}
_LINES = (
    ("mis", "kiva"),
    ("Elevage", "Livestock"),
    ('"Dakar, centre"', "Dakar: Senegal"),
    ("Épicerie", "Grocery Store"),
)


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["", ",,", " "])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_whatever_a_spreadsheet_saves_is_read(
    tmp_path: Path, between: str, encoding: str, ends: str, line_end: str
) -> None:
    (tmp_path / "lookup").mkdir()
    last = ends.replace(",", between)
    text = "".join(between.join(cells) + last + line_end for cells in _LINES) + between * 2 + line_end
    (tmp_path / "lookup" / "offices.csv").write_bytes(text.encode(encoding))
    table = lookup.table("offices.csv", [tmp_path])
    assert table is not None
    assert table.rows == _ROWS


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("Elevage,Livestock\nRiz,Rice\n", "Elevage", "Livestock"),
        ("10,Livestock\n20,Rice\n", "10", "Livestock"),
        ("Elevage,Livestock\nPorcs,Livestock\n", "ELEVAGE", "Livestock"),
        ("Elevage;Livestock", "Elevage", "Livestock"),
        ("mis,kiva\nEle\u200bvage,Live\u00adstock\n", "Elevage", "Livestock"),
        ("mis,kiva\nElevage,Livestock\n", "\ufeffEle\u200bvage\u00a0", "Livestock"),
        ('mis;kiva\n"Riz; mil";"Rice"\n', "Riz; mil", "Rice"),
        ("# ours\nmis,kiva\nElevage,Livestock\n", "Elevage", "Livestock"),
    ],
)
def test_a_code_is_found(tmp_path: Path, text: str, code: str, expected: str) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "a.csv").write_text(text, "utf-8")
    table = lookup.table("a.csv", [tmp_path])
    assert table is not None
    assert table.find(code) == expected


@pytest.mark.parametrize(
    ("data", "line", "message", "remedy"),
    [
        ("mis,kiva\nRiz,Rice\nÉpicerie,Grocery\n".encode("latin-1"), 3, "Épicerie,Grocery", "iconv -f WINDOWS-1252"),
        (b"PK\x03\x04xlsx", 0, "is a spreadsheet itself", "save it as CSV"),
        (
            b"mis;kiva\nRiz;Rice;\nMil;Millet;cereal\n",
            3,
            "values with a semicolon between them, found 3",
            "double quotes",
        ),
        (b"mis,kiva\nRiz\n", 2, "two values with a comma between them, found 1", ""),
        (b"mis,kiva\nRiz,Rice\n\nriz,Grain\n", 4, "has two lines", "delete one"),
    ],
)
def test_what_cannot_be_told_is_said_with_what_to_do(
    tmp_path: Path, data: bytes, line: int, message: str, remedy: str
) -> None:
    (tmp_path / "lookup").mkdir()
    (tmp_path / "lookup" / "a.csv").write_bytes(data)
    with pytest.raises(ConfigurationError) as wrong:
        lookup.table("a.csv", [tmp_path])
    (mistake,) = wrong.value.mistakes
    assert mistake.line == line
    assert message in mistake.message
    assert remedy in mistake.remedy


def test_a_name_longer_than_any_is_answered_at_once() -> None:
    with pytest.raises(Unknown) as unknown:
        LISTS.find("activities", "Ã©" * 500_000)
    assert unknown.value.refusal.params["nearest"] == ""
    assert len(unknown.value.refusal.params["value"]) <= PARAMETER_LIMIT


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Branch Kisumu", ["Kisumu: Kenya"]),
        ("Agence de THIÈS (siège)", ["Thiès: Senegal"]),
        ("Petit commerce de tissu", []),
        ("Zzz", []),
        ("Kismu: Kenya", ["Kisumu: Kenya"]),
        ("Retial", ["Retail"]),
    ],
)
def test_a_name_of_several_words_is_near_to_those_that_share_one(name: str, near: list[str]) -> None:
    assert lookup.nearest(name, ["Kisumu: Kenya", "Thiès: Senegal", "Nairobi: Kenya", "Retail"]) == near


def test_words_count_before_letters_and_rare_words_before_frequent_ones() -> None:
    assert lookup.nearest("Poultry sale", ["Country sale", "Poultry", "Livestock"]) == ["Poultry", "Country sale"]
    kenyan = [f"Town {letter * 5}: Kenya" for letter in "abcdefgh"]
    assert lookup.nearest("Branch Kisumu, Kenya", [*kenyan, "Kisumu: Kenya"]) == ["Kisumu: Kenya"]
