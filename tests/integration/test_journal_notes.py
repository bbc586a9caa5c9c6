"""A note corrected, unmarked, deleted, restored: before and after it was sent, in doubt and settled; who is told what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kiva_relay import cli
from kiva_relay.outbox import query, store, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from kiva_relay.outbox.watermark import Captured
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run

NOTE, LOAN, PAGE = "77", "000000233", "https://kiva.example/confirm/1"
FIRST, SECOND = "She doubled her stall.", "She has two stalls now."
SAID = {
    "confirm": {"en": "follow-up to confirm", "fr": "suivi à confirmer", "es": "seguimiento por confirmar"},
    "changed": {
        "en": "The MIS changed after this follow-up was sent",
        "fr": "Le SIG a changé après l'envoi de ce suivi",
        "es": "El SIG cambió después de enviar este seguimiento",
    },
    "delete": {
        "en": "Delete this follow-up in PA2",
        "fr": "À supprimer dans PA2 : la note de ce suivi",
        "es": "Por eliminar en PA2: la nota de este seguimiento",
    },
    "look": {
        "en": "is this follow-up there?",
        "fr": "ce suivi y est-il",
        "es": "¿está allí este seguimiento",
    },
}


@dataclass
class Note:
    """One note of the MIS, as capture tells the outbox of it."""

    told: FullOutbox

    def says(self, text: str) -> None:
        """It is marked for Kiva, and says this."""
        body = f'{{"body":"{text}","internal_loan_id":"{LOAN}","subject":"News"}}'
        self._is_seen(gone=False)
        values = full_outbox.owed(NOTE, resource="journal", loan_id=LOAN, body=body, now=self.told.now)
        with self.told.outbox.begin() as tx:
            store.owe(tx, values, now=self.told.now)

    def leaves(self, reason: str) -> None:
        """It lost its mark, or is gone."""
        self._is_seen(gone=True)
        with self.told.outbox.begin() as tx:
            store.left_scope(tx, "journal", NOTE, reason=reason, now=self.told.now)

    def _is_seen(self, *, gone: bool) -> None:
        known = Captured(
            stream="journal",
            key=NOTE,
            resource="journal",
            identity=NOTE,
            hash="h",
            in_scope=not gone,
            baselined=False,
            refused=False,
            again=False,
            created_at=None,
            scan_number=1,
            captured_at=self.told.now,
            gone=gone,
        )
        with self.told.outbox.begin() as tx:
            watermark.keep(tx, known)

    def newest(self) -> Entry:
        """The version that counts."""
        with self.told.outbox.read() as tx:
            versions = query.versions(tx, "journal", NOTE)
            counts = [one for one in versions if one.state is not State.SUPERSEDED]
            found = query.find(tx, counts[0].id)
        assert found is not None
        return found


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def note(told: FullOutbox) -> Note:
    """A note for Kiva of a loan that is being paid back."""
    told.runs()
    told.kiva_lists(MirroredLoan("k1", LOAN, "", "payingBack"))
    found = Note(told)
    found.says(FIRST)
    return found


def sent(note: Note) -> None:
    note.told.accept(note.newest(), archive_id="a1", confirm_url=PAGE)


def confirmed(note: Note) -> None:
    sent(note)
    cli.main(["review", "done", str(note.newest().id)])


def lost(note: Note) -> None:
    note.told.lose(note.newest())


def lost_and_there(note: Note) -> None:
    lost(note)
    note.told.settle(note.newest(), "delivered")


def corrected(note: Note) -> None:
    note.says(SECOND)


def unmarked(note: Note) -> None:
    note.leaves("left_scope")


def deleted(note: Note) -> None:
    note.leaves("gone_from_mis")


def restored(note: Note) -> None:
    note.leaves("left_scope")
    note.says(FIRST)


def corrected_and_back(note: Note) -> None:
    note.says(SECOND)
    note.says(FIRST)


AFTER: dict[Callable[[Note], None], set[str]] = {
    corrected: {"changed"},
    unmarked: {"delete"},
    deleted: {"delete"},
    restored: set(),
    corrected_and_back: set(),
}
STAGES: dict[Callable[[Note], None], set[str]] = {
    sent: {"confirm"},
    confirmed: set(),
    lost_and_there: set(),
}


def tasks(run: Run) -> set[str]:
    """Which tasks are shown: the same in three languages."""
    found = {}
    for language in ("en", "fr", "es"):
        out = run("review", "--lang", language).out
        found[language] = {name for name, words in SAID.items() if words[language] in out}
    assert found["en"] == found["fr"] == found["es"]
    return found["en"]


@pytest.mark.parametrize("event", AFTER, ids=lambda one: one.__name__)
@pytest.mark.parametrize("stage", STAGES, ids=lambda one: one.__name__)
def test_what_kiva_has_and_the_note_says_no_more_is_told(
    stage: Callable[[Note], None],
    event: Callable[[Note], None],
    note: Note,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = full_outbox.runner(capsys)
    stage(note)
    event(note)
    assert tasks(run) == STAGES[stage] | AFTER[event]
    out = run("review").out
    if AFTER[event] and stage is sent:
        assert PAGE in out.partition("follow-up to confirm")[0], "the page to correct stands at the task"
    if AFTER[event] and stage is not sent:
        assert "PA2 → “Journals”" in out
    if AFTER[event]:
        assert run("review", "done", note.newest().id).code == 0
        left = STAGES[stage] - ({"confirm"} if AFTER[event] == {"delete"} else set())
        assert tasks(run) == left, "seen once, it is not asked again"


@pytest.mark.parametrize("event", AFTER, ids=lambda one: one.__name__)
def test_before_it_is_sent_it_simply_follows(
    event: Callable[[Note], None], note: Note, capsys: pytest.CaptureFixture[str]
) -> None:
    event(note)
    assert tasks(full_outbox.runner(capsys)) == set()
    gone = event in (unmarked, deleted)
    assert note.newest().state.value == ("withdrawn" if gone else "ready")
    assert gone or (SECOND if event is corrected else FIRST) in (note.newest().body or "")


@pytest.mark.parametrize("event", AFTER, ids=lambda one: one.__name__)
@pytest.mark.parametrize("verb", ["delivered", "resend"])
def test_what_happens_in_a_doubt_is_told_once_it_is_settled(
    event: Callable[[Note], None], verb: str, note: Note, capsys: pytest.CaptureFixture[str]
) -> None:
    run = full_outbox.runner(capsys)
    lost(note)
    doubt = note.newest()
    event(note)
    assert "look" in tasks(run)
    assert run("outbox", "settle", doubt.id, f"--{verb}", "--note", "looked", "--yes").code == 0
    if verb == "delivered":
        assert tasks(run) == AFTER[event]
        return
    assert tasks(run) == set(), "it is not there: nothing is to be corrected or deleted"
    gone = event in (unmarked, deleted)
    assert (note.newest().state.value == "withdrawn") is gone
    assert gone or (SECOND if event is corrected else FIRST) in (note.newest().body or "")


def test_one_page_is_one_task_and_one_click(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> None:
    told.runs()
    run = full_outbox.runner(capsys)
    told.kiva_lists(*(MirroredLoan(f"k{number}", f"00000023{number}", "", "payingBack") for number in range(4)))
    for number in range(4):
        entry = told.owe(f"{number}", resource="journal", loan_id=f"00000023{number}")
        told.accept(entry, archive_id="a", confirm_url=PAGE if number < 3 else "https://kiva.example/confirm/2")
    found = [one for one in run("review", "--json").json if one["kind"] == "confirm"]
    assert [len(one["entries"]) for one in found] == [3, 1]
    assert run("review").out.count(PAGE) == 1
    run("review", "done", found[0]["entries"][1]["number"])
    assert [one["loans"] for one in run("review", "--json").json] == [["000000233"]]
