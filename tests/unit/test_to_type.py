"""A command that is printed acts on the configuration that the printing command used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.config import loader, partner
from kiva_relay.terminal import to_type

USUAL = loader.USUAL_PLACE


@pytest.fixture(autouse=True)
def _afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_type, "_in_use", to_type.InUse())


def of_a_trial(folder: Path) -> Path:
    outbox = folder / "outbox.db"
    outbox.touch()
    to_type.use(folder / "my trial.yaml", usual=USUAL, outbox=outbox)
    return folder / "my trial.yaml"


def test_a_trial_is_named_and_needs_no_sudo(tmp_path: Path) -> None:
    file = of_a_trial(tmp_path)
    assert to_type.lines("The list:   kiva-relay review") == f"The list:   kiva-relay review --config '{file}'"


def test_the_usual_configuration_is_not_named_and_the_services_outbox_needs_sudo(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    outbox.touch()
    os.chown(outbox, os.geteuid(), -1)
    to_type.use(USUAL, usual=USUAL, outbox=outbox)
    assert to_type.lines("kiva-relay review") == "kiva-relay review"
    to_type.use(USUAL, usual=USUAL, outbox=None)
    assert to_type.lines("kiva-relay review").startswith(("kiva-relay review", "sudo kiva-relay review"))


def test_whoever_came_by_sudo_is_the_person_who_called_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(os.geteuid() + 1))
    outbox = tmp_path / "outbox.db"
    outbox.touch()
    to_type.use(USUAL, usual=USUAL, outbox=outbox)
    assert to_type.lines("kiva-relay review") == "sudo kiva-relay review"


@pytest.mark.parametrize(
    "text",
    [
        *("kiva-relay 0.2 · SANDBOX, partner 123", "sudo journalctl -u kiva-relay -n 50", "/etc/kiva-relay/status"),
        *("kiva-relay config sample", "kiva-relay mapping schema", "chgrp kiva-relay check", "kiva-relay: status"),
    ],
)
def test_what_is_no_command_of_ours_stays(tmp_path: Path, text: str) -> None:
    of_a_trial(tmp_path)
    if text.startswith("chgrp"):
        text = "chgrp kiva-relay /x"
    assert to_type.lines(text) == text


def test_it_is_said_once(tmp_path: Path) -> None:
    of_a_trial(tmp_path)
    once = to_type.lines("kiva-relay check    and then: kiva-relay run")
    assert once.count("--config") == 2
    assert to_type.lines(once) == once


def test_a_trial_is_started_by_hand(tmp_path: Path) -> None:
    file = of_a_trial(tmp_path)
    assert to_type.lines("sudo systemctl start kiva-relay") == f"kiva-relay run --config '{file}'"


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("kiva-relay review", "sudo kiva-relay review --config north"),
        ("sudo systemctl restart kiva-relay", "sudo systemctl restart kiva-relay@north"),
        ("(sudo systemctl stop kiva-relay):", "(sudo systemctl stop kiva-relay@north):"),
        ("systemctl status kiva-relay.service", "systemctl status kiva-relay@north.service"),
        ("sudo journalctl -u kiva-relay -n 50", "sudo journalctl -u kiva-relay@north -n 50"),
        ("(it does not: sudo systemctl start kiva-relay)", "(it does not: sudo systemctl start kiva-relay@north)"),
        ("sudo systemctl enable --now kiva-relay-backup.timer", "sudo systemctl enable --now kiva-relay-backup.timer"),
        ("systemctl status kiva-relay@south", "systemctl status kiva-relay@south"),
    ],
)
def test_a_partner_is_named_and_so_is_its_unit(said: str, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(os.geteuid() + 1))
    to_type.use(partner.file("north"), usual=USUAL, partner="north")
    assert to_type.lines(said) == typed
    assert to_type.lines(typed) == typed


def test_every_family_of_commands_that_reads_a_configuration_is_known(tmp_path: Path) -> None:
    of_a_trial(tmp_path)
    known = {name for name in cli.COMMANDS if "--config" in to_type.lines(f"kiva-relay {name}")}
    assert set(cli.COMMANDS) - known == {"config sample", "mapping schema", "fleet status"}


def test_what_was_set_for_one_run_is_not_repeated() -> None:
    typed = ["check", "--set", "mis.password=geheim", "--set=kiva.client_secret=geheim"]
    assert "geheim" not in to_type.again(typed)


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ('kiva-relay release all --note "a first look"', 'kiva-relay release all --note "a first look" --config FILE'),
        ("kiva-relay outbox list --loan 'a b'   shows", "kiva-relay outbox list --loan 'a b' --config FILE   shows"),
        ("(see kiva-relay status)", "(see kiva-relay status --config FILE)"),
        ("`kiva-relay check` warns", "`kiva-relay check --config FILE` warns"),
        ("Look: kiva-relay outbox show 5.\nMore", "Look: kiva-relay outbox show 5 --config FILE.\nMore"),
    ],
)
def test_the_option_stands_at_the_end_of_the_command(said: str, typed: str) -> None:
    to_type.use(Path("FILE"), usual=USUAL, outbox=Path("/nowhere"))
    assert to_type.lines(said).replace("sudo ", "") == typed
