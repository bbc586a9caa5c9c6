"""`kiva-relay acts` and the page's "What was done": every act, with its person and note."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold
from kiva_relay.page import done
from kiva_relay.words import catalogue, language
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run

PACKAGE = Path(done.__file__).parents[1]
_FIXED = re.compile(r'verb="([a-z][a-z -]+)"')


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def test_a_release_is_shown_with_its_note_by_command_and_on_the_page(told: FullOutbox, run: Run) -> None:
    told.runs()
    entry = told.lose(told.owe("000000871"))
    told.owe("000000702")
    assert run("hold", "loan_draft", "--note", "the branch asks").code == 0
    assert run("release", "loan_draft", "--note", "asked and answered", "--yes").code == 0
    assert run("outbox", "settle", entry.id, "--delivered", "--note", "seen in Drafts", "--yes").code == 0
    shown = run("acts").out
    for text in ("release", "asked and answered", "hold", "the branch asks", "settle --delivered", "awa"):
        assert text in shown
    assert [one["verb"] for one in run("acts", "--json").json] == ["settle --delivered", "release", "hold"]
    assert run("acts", "--person", "nobody").out.endswith("nobody did nothing yet.\n")
    assert run("acts", "--csv").out.splitlines()[2].split(",")[1:3] == ["awa", "release"]
    with told.outbox.read() as tx:
        assert hold.in_force(tx) == []
        for name, drafts in zip(catalogue.NAMES, ("drafts", "projets de prêt", "borradores"), strict=True):
            found = done.acts(tx, _settings(told), language.of(name), now=told.now)
            assert [(one.number, one.note) for one in found] == [
                ("awa", "seen in Drafts"),
                ("awa", "asked and answered"),
                ("awa", "the branch asks"),
            ]
            assert found[1].about == drafts
            assert str(entry.id) in found[0].about


def test_every_act_that_the_code_writes_down_has_words() -> None:
    written = {
        verb
        for file in PACKAGE.rglob("*.py")
        if "act" in (text := file.read_text(encoding="utf-8"))
        for verb in _FIXED.findall(text)
        if verb != "is"
    }
    assert len(written) > 10
    assert {verb.replace("--", "").replace(" ", "_").replace("-", "_") for verb in written} <= {*done.VERBS}


def _settings(told: FullOutbox) -> Settings:
    return loader.load(told.config, environ={"KIVA_SECRET": "s"})
