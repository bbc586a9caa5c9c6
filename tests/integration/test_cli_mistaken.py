"""What only looks works while config.yaml holds a mistake: the relay runs on, and can be watched and held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay import cli
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox

LOOKS = (["status"], ["outbox", "list"], ["outbox", "show", "1"], ["review"])
MISTAKES = {
    "a wrong choice": ("environment: sandbox", "environment: Production"),
    "a required one is gone": ("partner_id: 123", ""),
    "an unknown setting": ("mis:", "miss: 1\nmis:"),
    "no time zone": ("timezone: ", "timezone: X"),
    "broken YAML": ("partner_id: 123", "partner_id: 'x\n  columns: }"),
    "a folder that is not there": ("mappings: ", "mappings: nowhere-"),
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    made = full_outbox.made(tmp_path)
    monkeypatch.setenv("KIVA_SECRET", "s")
    made.runs()
    made.kiva_lists()
    made.owe("000000871")
    yield made
    made.outbox.close()


def spoil(told: FullOutbox, right: str, wrong: str) -> None:
    text = told.config.read_text("utf-8")
    assert right in text
    told.config.write_text(text.replace(right, wrong, 1), "utf-8")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_looks_goes_on_and_says_the_mistake_in_one_line(
    told: FullOutbox, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--config", str(told.config)]
    before = [cli.main([*typed, *named]) for typed in LOOKS]
    capsys.readouterr()
    spoil(told, *MISTAKES[mistake])
    for typed, code in zip(LOOKS, before, strict=True):
        assert cli.main([*typed, *named]) == code, typed
        printed = capsys.readouterr()
        assert printed.out
        assert len(printed.err.splitlines()) == 1
        assert "mistake" in printed.err
        assert str(told.config) in printed.err
    assert cli.main(["hold", "loan_draft", "--note", "while we edit", *named]) == 0


def test_where_the_outbox_is_has_to_be_known(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(told, "sqlite:///", "sqlite:/")
    assert cli.main(["status", "--config", str(told.config)]) == 2
    assert "outbox.url" in capsys.readouterr().err


def test_what_changes_what_is_sent_needs_a_file_without_mistakes(told: FullOutbox) -> None:
    spoil(told, *MISTAKES["a wrong choice"])
    assert cli.main(["release", "all", "--note", "x", "--yes", "--config", str(told.config)]) == 2
