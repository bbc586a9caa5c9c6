"""`kiva-relay init`: asks what has to be known, tries each answer, writes what is needed, and the check after it is good."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from kiva_relay import cli
from kiva_relay.cli import init_file, init_question
from kiva_relay.config import loader, shipped
from kiva_relay.words import language
from testbed.rig import yaml_text
from testbed.rig.site import Site

SECRET = "s3cr3t-of-the-relay"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.yaml"


def answers(house: Site, **changes: Any) -> dict[str, Any]:
    written: dict[str, Any] = {
        "kiva": {
            "partner_id": "123",
            "environment": "sandbox",
            "client_id": "relay",
            "client_secret": SECRET,
            "token_url": f"{house.server.url}/oauth/token",
            "api_url": house.server.url,
        },
        "mis": {"url": house.url, "timezone": "Africa/Dakar"},
        "mappings": "fineract",
        "loan_drafts": {"since": "2026-11-01"},
        "journals": {"since": "first_start"},
        "parameters": {"kiva_fund": 2},
    }
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            written[group] = {**written[group], name: value}
        else:
            written[group] = value
    return written


def of_a_file(house: Site, place: Path, *more: str, **changes: Any) -> int:
    file = house.folder / "answers.yaml"
    file.write_text(yaml_text.of(answers(house, **changes)))
    return cli.main(["init", "--answers", str(file), "--config", str(place), *more])


def typed(
    house: Site, place: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, *more: str, lang: str = "en"
) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    monkeypatch.setenv("KIVA_RELAY_KIVA__TOKEN_URL", f"{house.server.url}/oauth/token")
    monkeypatch.setenv("KIVA_RELAY_KIVA__API_URL", house.server.url)
    return cli.main(["init", "--config", str(place), "--lang", lang, *more])


def sheet(house: Site) -> list[str]:
    """The answers in the order of the sheet: one a question, the fund last."""
    return [
        *("123", "", "1", "", "10 18:00", "fineract", "2026-11-01"),
        *("sandbox", "relay", SECRET, "Africa/Dakar", house.url),
        "kiva",
    ]


def test_answers_of_a_file_become_a_configuration_whose_check_is_good(
    house: Site, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert of_a_file(house, place) == 0
    out = capsys.readouterr().out
    assert "0 errors" in out
    settings = loader.load(place, environ={})
    assert settings.parameters == {"kiva_fund": 2}
    assert settings.warnings == ()
    assert settings.outbox.file == place.parent / "outbox.db"
    assert settings.kiva.client_secret.reveal() == SECRET
    assert SECRET not in place.read_text() + out


def test_what_it_writes_does_not_follow_the_umask(house: Site, place: Path) -> None:
    before = os.umask(0o077)
    try:
        assert of_a_file(house, place) == 0
    finally:
        os.umask(before)
    secret = place.parent / "secret" / "kiva-client-secret"
    assert [stat.S_IMODE(one.stat().st_mode) for one in (place, secret)] == [0o640, 0o640]
    assert [stat.S_IMODE((place.parent / one).stat().st_mode) for one in ("secret", "mappings")] == [0o750, 0o750]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mis__url": "postgresql://nobody@127.0.0.1:1/fineract"}, "No connection to the MIS database 127.0.0.1:1"),
        ({"mis__timezone": "Africa/Daker"}, "Africa/Dakar"),
        ({"kiva__partner_id": "124"}, "belong to partner 123; kiva.partner_id is 124"),
        ({"parameters": {}}, "In your database: 1 "),
    ],
)
def test_an_answer_that_is_not_good_writes_nothing(
    house: Site, place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    assert of_a_file(house, place, **changes) in (1, 2, 3)
    assert said in capsys.readouterr().err
    assert list(place.parent.iterdir()) == []


def test_a_configuration_that_is_there_is_replaced_only_after_a_question(
    house: Site, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write_text("mine: 1\n")
    assert of_a_file(house, place) == 2
    assert str(place) in capsys.readouterr().err
    assert place.read_text() == "mine: 1\n"
    assert of_a_file(house, place, "--yes") == 0
    assert place.with_name("config.yaml.before-init").read_text() == "mine: 1\n"
    assert loader.load(place, environ={}).kiva.partner_id == "123"


@pytest.mark.parametrize("lang", ["en", *(pytest.param(one, marks=pytest.mark.long) for one in ("fr", "es"))])
def test_the_dialogue_asks_the_sheet_and_ends_with_a_good_check(
    house: Site, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lang: str
) -> None:
    assert typed(house, place, sheet(house), monkeypatch, lang=lang) == 0
    out = capsys.readouterr().out
    assert "0 errors" in out
    spoken = language.of(lang)
    order = [out.index(spoken.say(f"init.ask.{one.key}")) for one in init_question.QUESTIONS if not one.hidden]
    assert order == sorted(order)
    assert SECRET not in out
    settings = loader.load(place, environ={"KIVA_RELAY_KIVA__API_URL": house.server.url})
    assert settings.parameters == {"kiva_fund": 2}
    assert settings.repayments.basis == "cumulative_principal"
    assert str(settings.loan_drafts.since) == str(settings.journals.since) == "2026-11-01"


def test_a_wrong_answer_is_asked_for_again_with_what_is_wrong(
    house: Site, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = sheet(house)
    zone, fund = lines.index("Africa/Dakar"), len(lines) - 1
    lines[fund:fund] = ["99"]
    lines[zone:zone] = ["Africa/Daker"]
    lines[1:1] = ["4"]
    assert typed(house, place, lines, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "nearest: Africa/Dakar" in out
    assert "One of: " in out
    assert "4" in out.split("Columns of the CSV", 1)[1].split("Columns of the CSV", 1)[0]


def test_credentials_of_another_partner_are_asked_for_again(
    house: Site, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = sheet(house)
    lines[0] = "321"
    assert typed(house, place, lines[:10], monkeypatch) == 2
    found = capsys.readouterr()
    assert "belong to partner 123; kiva.partner_id is 321" in found.out
    assert "Nothing was written" in found.err
    assert not place.exists()


def test_mappings_of_ones_own_are_those_beside_the_configuration(house: Site, place: Path) -> None:
    own = place.parent / "mappings"
    shutil.copytree(shipped.folder("mappings") / "fineract", own)
    assert of_a_file(house, place, mappings="mappings") == 0
    assert loader.load(place, environ={}).mapping_folders == (own,)


def test_a_password_in_the_url_becomes_a_secret(house: Site, place: Path) -> None:
    url = house.url.replace("://", "://relay:p%40ss@", 1) if "@" not in house.url else house.url
    data = init_file.apart({"mis.url": "postgresql://relay:p%40ss@db/fineract"})
    assert data == {"mis.url": "postgresql://relay@db/fineract", "mis.password": "p@ss"}
    written = "\n".join(init_file.lines(place, {**data, "kiva.partner_id": "0123"}))
    assert "p@ss" not in written
    assert f"password: {{file: {place.parent}/secret/mis-password}}" in written.replace('"', "")
    assert 'partner_id: "0123"' in written
    assert url


def test_the_set_that_is_made_to_be_edited_is_copied(place: Path) -> None:
    init_file.write(place, {"mappings": "generic", "kiva.client_secret": "x"})
    assert (place.parent / "mappings" / "loan_draft.yaml").is_file()
    assert "mappings: mappings" in place.read_text()
