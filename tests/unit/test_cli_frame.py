"""The frame around every command: the map, options, words, the question, and what a person sees when all fails."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import types
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.cli import figure, frame
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError
from testbed.rig import configuration

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return loader.load(configuration.write(tmp_path), environ={})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A command with a mistake of ours in it; the folder where details go."""

    def command() -> None:
        raise ZeroDivisionError(f"000000871 {'AWA'.title()}")

    module = types.ModuleType("kiva_relay.cli.broken")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kiva_relay.cli.broken", module)
    monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, "broken": "Breaks"})
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path


def test_without_arguments_there_is_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert "before it runs" in printed
    assert "Configuration:" in printed


def test_the_map_says_that_there_is_no_configuration_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(tmp_path / "none.yaml"))
    cli.main([])
    assert f"{tmp_path}/none.yaml (not there yet: kiva-relay init)" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    assert "Usage: kiva-relay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["statsu"], "Did you mean: status"),
        (["outbox", "lst"], "Did you mean: list"),
        (["--json", "status"], "The command comes first"),
        (["status", "--jsn"], "kiva-relay status --help"),
        (["config", "sample", "--config", "x.yaml"], "No such option: --config"),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(
    typed: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(typed) == 2
    assert says in capsys.readouterr().err


def test_the_configuration_may_be_named_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "/nowhere/a.yaml", "mapping", "list"]) == 2
    printed = capsys.readouterr().err
    assert "There is no configuration /nowhere/a.yaml (--config)." in printed
    assert "kiva-relay config sample > /nowhere/a.yaml" in printed


def test_a_mistake_of_ours_is_one_sentence_a_number_and_a_file(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["broken"]) == 1
    printed = capsys.readouterr().err
    number = re.search(r"number ([0-9a-f]{6})\)", printed)
    assert number is not None
    details = broken / f"kiva-relay-error-{number[1]}.txt"
    assert str(details) in printed
    assert "Traceback" in details.read_text()
    assert stat.S_IMODE(details.stat().st_mode) == 0o600
    assert "Traceback" not in printed
    assert "Awa" not in printed
    assert "Awa" not in details.read_text(), "the words of an error may quote a row"


def test_the_newest_twenty_details_are_kept(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        old = broken / f"kiva-relay-error-{number:06x}.txt"
        old.touch()
        os.utime(old, (number, number))
    assert cli.main(["broken"]) == 1
    kept = sorted(broken.glob("kiva-relay-error-*.txt"), key=lambda file: file.stat().st_mtime)
    assert len(kept) == 20
    assert kept[-1].name in capsys.readouterr().err


def test_a_traceback_needs_no_place_to_be_written(
    broken: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(broken / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(broken / "missing"))
    assert cli.main(["broken"]) == 1
    assert "Something unexpected happened (ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=0.26), "0.3 s"),
        (timedelta(seconds=12.4), "12 s"),
        (timedelta(minutes=4, seconds=31), "4 min 31 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=1, hours=19, minutes=5), "1 d 19 h"),
        (timedelta(days=3, seconds=9), "3 d"),
    ],
)
def test_lengths_of_time_are_words(span: timedelta, words: str) -> None:
    assert figure.length(span) == words


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (NOW, "09:00:00"),
        (NOW - timedelta(days=1), "Mon 30 Nov 09:00"),
        (datetime(2027, 1, 1, 0, 5, tzinfo=UTC), "Fri 1 Jan 2027 00:05"),
    ],
)
def test_moments_are_in_the_zone_of_the_mis(when: datetime, words: str, settings: Settings) -> None:
    assert figure.moment(when, settings, at=NOW) == words


def test_deadlines_carry_the_name_of_the_day() -> None:
    assert figure.day(date(2027, 1, 1)) == "Fri 1 Jan 2027"


@pytest.mark.parametrize(
    ("number", "words"),
    [(Decimal("61204550.000000"), "61 204 550 XOF"), ("250000", "250 000 XOF"), (Decimal("12.50"), "12.5 XOF")],
)
def test_amounts_are_grouped(number: Decimal | str, words: str) -> None:
    assert figure.amount(number, "XOF") == words


@pytest.mark.parametrize("written", ["loan-draft", "loan_drafts", "Loan Draft", "loan_draft"])
def test_a_resource_may_be_written_in_several_ways(written: str) -> None:
    assert frame.resource(written) == "loan_draft"


def test_an_unknown_resource_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        frame.resource("jurnal")
    assert caught.value.hint == "Did you mean: journal"


def test_a_table_in_a_pipe_is_one_plain_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    frame.table(("loan", "amount"), [("000000871", "250 000"), ("[red]2", None)], right=("amount",))
    assert capsys.readouterr().out == "  loan         amount\n  000000871   250 000\n  [red]2\n"


def test_nobody_is_asked_where_nobody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="nothing was done"):
        frame.agreed("Send 5?", yes=False)
    assert frame.agreed("Send 5?", yes=True)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("oui\n", True), ("S\n", True), ("n\n", False), ("", False)]
)
def test_yes_is_understood_in_three_languages(*, typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(typed))
    assert frame.agreed("Send 5?", yes=False) is agreed


def test_an_override_needs_a_value(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE, found a text"):
        frame.load(configuration.write(tmp_path), ["mis.poll_every"])


def test_the_command_line_wins(tmp_path: Path) -> None:
    settings = frame.load(configuration.write(tmp_path), ["mis.poll_every=5s"])
    assert settings.mis.poll_every == timedelta(seconds=5)
