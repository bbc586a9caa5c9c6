"""One of several partners on a machine: its configuration by its name, and everything else in folders of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay import errors
from kiva_relay.cli import check_files, check_machine
from kiva_relay.config import database, loader, partner
from kiva_relay.config.settings import Settings
from testbed.rig import configuration

OUTBOX = "outbox: {url: 'postgresql://kiva_relay@db/all?options=-csearch_path=north', password: {credential: outbox}}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "etc"
    monkeypatch.setattr(partner, "HOME", home)
    monkeypatch.setattr(database, "WITNESS", tmp_path / "witness")
    monkeypatch.setattr(check_files, "WITNESS", tmp_path / "witness")
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south"):
        (home / name).mkdir(parents=True)
    configuration.write(home / "north", OUTBOX)
    configuration.write(home / "south")
    return home


def load(name: str) -> Settings:
    return loader.load(Path(name), environ={"KIVA_SECRET": "s"})


def test_a_name_is_the_partner_of_this_name(home: Path) -> None:
    assert load("north").file == home / "north" / "config.yaml"
    assert loader.find(environ={"KIVA_RELAY_CONFIG": "north"}) == home / "north" / "config.yaml"


def test_a_file_of_this_name_is_a_file_unless_it_is_a_partner(home: Path, tmp_path: Path) -> None:
    (tmp_path / "trial").touch()
    (tmp_path / "north").mkdir()
    assert loader.meant(Path("trial")) == Path("trial")
    assert loader.meant(Path("north")) == home / "north" / "config.yaml"
    assert loader.meant(tmp_path / "north") == tmp_path / "north"


def test_a_partner_that_is_not_there_is_told_with_the_nearest(home: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"norht/config\.yaml") as caught:
        load("norht")
    assert caught.value.hint == "Did you mean: north"


def test_a_partner_that_nobody_knows_is_made_by_init(home: Path) -> None:
    """A sample was to be written into a folder that is not there."""
    with pytest.raises(errors.UsageError) as caught:
        load("zanzibar")
    assert caught.value.hint == "sudo kiva-relay init --config zanzibar"


def test_its_secrets_and_its_witness_stand_in_folders_of_its_name(home: Path, tmp_path: Path) -> None:
    outbox = load("north").outbox
    assert outbox.witness == tmp_path / "witness" / "north" / "all.north.log"
    assert outbox.password is not None
    assert outbox.password.folder == home / "north" / "secret"


def test_its_outbox_is_on_postgresql(home: Path) -> None:
    """Its unit may not write where the file of another is, and a purge of the package would forget what was sent."""
    with pytest.raises(
        errors.ConfigurationError, match=r"outbox\.url: expected an outbox on PostgreSQL, as kiva-relay@south needs it"
    ) as caught:
        load("south")
    assert "&options=-csearch_path=SCHEMA" in str(caught.value)


def test_check_knows_that_the_unit_makes_the_folder(home: Path, tmp_path: Path) -> None:
    settings = load("north")
    (found,) = check_files.witness(settings)
    assert (found.word, "its unit makes the folder" in found.text) == ("ok", True)
    settings.outbox.witness.parent.mkdir(parents=True)
    (found,) = check_files.witness(settings)
    assert (found.word, found.text) == ("ok", str(settings.outbox.witness))


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("config.yaml", "kiva-relay"),
        ("north/config.yaml", "kiva-relay@north"),
        ("north/trial.yaml", ""),
        ("a/b/config.yaml", ""),
    ],
)
def test_each_configuration_has_its_unit(home: Path, file: str, unit: str) -> None:
    assert partner.unit(home / file) == unit


def test_check_judges_the_unit_of_the_partner() -> None:
    found = check_machine.about_unit({"LoadState": "loaded", "ActiveState": "inactive"}, "kiva-relay@north")
    assert found.text.endswith("sudo systemctl enable kiva-relay@north")


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("kiva-relay@north.service", "north"),
        ("kiva-relay-page@north-bank.service", "north-bank"),
        ("kiva-relay.service", ""),
        ("postgresql@16-main.service", ""),
    ],
)
def test_a_unit_says_whose_it_is(unit: str, name: str) -> None:
    assert partner.of_unit(unit) == name
