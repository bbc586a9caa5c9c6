"""`kiva-relay review` and `review done`, and the words in which all of it is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.cli import frame, words
from kiva_relay.outbox import divergence
from kiva_relay.outbox.reason import REASONS
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import catalogue, personal
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def test_nothing_waits(told: FullOutbox, run: Run) -> None:
    told.runs()
    out = run("review").out
    assert "Nothing waits for you." in out
    assert "Nothing waits for you. Everything up to" in out


def test_the_list_is_sorted_by_the_day_on_which_it_is_too_late(told: FullOutbox, run: Run) -> None:
    told.runs()
    told.refuse("000000498")
    told.refuse("000000917")
    told.accept(told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1")
    told.accept(told.owe("000000720", publish_by=told.day(20)))
    told.accept(told.owe("000000702", publish_by=told.day(4)))
    told.accept(told.owe("000000640"))
    told.cancel("000000640")
    told.lose(told.owe("000000871"))
    out = run("review").out
    order = [
        "TODAY",
        "is this draft there?",
        "Delete this draft in PA2",
        "THIS WEEK",
        "000000702",
        "WHEN YOU HAVE TIME",
        "000000720",
        "https://k/1",
        "000000498 (#1)  000000917 (#2)",
    ]
    places = [out.index(text) for text in order]
    assert places == sorted(places)
    assert out.count("The first name is empty in the MIS.") == 1
    assert "still to add in PA2: " in out
    assert "nothing waits" not in out.lower()


def test_done_takes_it_off_the_list(told: FullOutbox, run: Run) -> None:
    told.runs()
    draft = told.accept(told.owe("000000720", publish_by=told.day(20)))
    journal = told.accept(
        told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1"
    )
    printed = run("review", "done", draft.id, journal.id)
    assert printed.code == 0
    assert "000000720   #1   1 draft: done, off the list" in printed.out
    assert "Nothing waits for you." in run("review").out
    assert told.acts() == [("awa", "review done", ""), ("awa", "review done", "")]


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("fr", "000000720   n° 1   1 projet de prêt : fait, hors de la liste"),
        ("es", "000000720   n.º 1   1 borrador: hecho, fuera de la lista"),
    ],
)
def test_done_is_said_in_her_language(told: FullOutbox, run: Run, lang: str, said: str) -> None:
    draft = told.accept(told.owe("000000720", publish_by=told.day(20)))
    assert said in run("review", "done", draft.id, "--lang", lang).out


def test_a_doubt_cannot_be_done_away_with(told: FullOutbox, run: Run) -> None:
    told.runs()
    draft = told.accept(told.owe("000000720"))
    lost = told.lose(told.owe("000000871"))
    printed = run("review", "done", draft.id, lost.id)
    assert printed.code == 2
    assert f"outbox show {lost.id}" in printed.err
    assert "000000720" in run("review").out  # all or none


def test_a_change_is_seen_and_the_draft_still_to_be_published(told: FullOutbox, run: Run) -> None:
    told.runs()
    draft = told.accept(told.owe("000000871"))
    told.change("000000871")
    shown = run("review", "--json").json
    assert [(one["kind"], one["when"], one["day"]) for one in shown] == [
        ("changed", "this_week", None),
        ("publish", "later", None),
    ]
    assert "the rest stays on the list" in run("review", "done", draft.id).out
    kinds = [one["kind"] for one in run("review", "--json").json]
    assert kinds == ["publish"]


def test_the_coordinator_is_told_when_nothing_can_be_sent(told: FullOutbox, run: Run) -> None:
    told.owe("000000871", publish_by=told.day(1))
    out = run("review").out
    assert "The relay is not running: please tell the administrator. Nothing is lost" in out
    assert "type it by hand" in out


# ---------------------------------------------------------------- languages


def everything(told: FullOutbox) -> None:
    """Something of most kinds, with foreign letters in it."""
    told.runs()
    told.refuse("000000498")
    told.refuse("000000499", Refusal("activity_unknown", "activity_id", {"value": "Elevage", "nearest": ""}))
    told.accept(told.owe("note", resource="journal", loan_id="000000233"), archive_id="a", confirm_url="https://k/1")
    told.accept(told.owe("000000702", publish_by=told.day(4)))
    told.accept(told.owe("000000720", publish_by=told.day(20)))
    told.accept(told.owe("000000640"))
    told.cancel("000000640")
    told.accept(told.owe("000000641"))
    told.change("000000641")
    told.lose(told.owe("KV\u202e/93\x1b[2J"))


def test_programs_read_the_same_in_every_language(told: FullOutbox, run: Run) -> None:
    everything(told)
    written = told.config.read_text(encoding="utf-8")
    printed: dict[tuple[str, ...], set[str]] = {}
    for language in catalogue.NAMES:
        told.config.write_text(f"{written}\nlanguage: {language}\n", encoding="utf-8")
        for typed in (("review", "--json"), ("outbox", "list", "--json"), ("outbox", "list", "--csv")):
            printed.setdefault(typed, set()).add(run(*typed).out)
        printed[("review", "--json")].add(run("review", "--json", "--lang", language).out)
    assert {typed: len(each) for typed, each in printed.items()} == dict.fromkeys(printed, 1)
    sentences = {form for name in catalogue.NAMES for forms in catalogue.every(name).values() for form in forms}
    sentences |= {text for texts in refusal.SENTENCES.values() for text in texts} | set(words.REASONS.values())
    for (each,) in printed.values():
        assert [text for text in sentences if len(text) > 20 and text in each] == []
    (asked,) = printed[("review", "--json")]
    kinds = {one["kind"]: one for one in json.loads(asked)}
    assert kinds["look"]["params"] == {"resource": "loan_draft"}
    (change,) = kinds["changed"]["params"]["changes"]
    assert {"field": "entreps[0].first_name"} in change["fields"]  # a name is not told
    assert full_outbox.NAME not in asked


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("TODAY", "Please look in PA2 – is this draft there?", "by ", "sent ")),
        ("fr", ("AUJOURD'HUI", "À vérifier dans PA2 : ce projet de prêt y est-il ?", "au plus tard ", "envoyé le ")),
        ("es", ("HOY", "Por verificar en PA2: ¿está allí este borrador?", "hasta el ", "enviado el ")),
    ],
)
def test_the_list_is_told_in_her_language(told: FullOutbox, run: Run, language: str, said: tuple[str, ...]) -> None:
    everything(told)
    out = run("review", "--lang", language).out
    assert [text for text in said if text not in out] == []
    assert r"KV\u202e/93\x1b[2J" in out
    assert "\x1b" not in out
    assert full_outbox.NAME not in out
    told.config.write_text(f"{told.config.read_text(encoding='utf-8')}\nlanguage: {language}\n", encoding="utf-8")
    assert run("review").out == out


def test_a_language_that_there_is_not(told: FullOutbox, run: Run) -> None:
    printed = run("review", "--lang", "de")
    assert printed.code == 2
    assert "expected en, fr, es" in printed.err


def test_what_was_sent_is_said_although_its_body_was_deleted(told: FullOutbox, run: Run) -> None:
    """Of a body that was deleted, the day is known, and no amount."""
    told.runs()
    draft = told.accept(told.owe("000000641"))
    told.change("000000641")
    with told.outbox.begin() as tx:
        divergence.forget_values(tx, draft.id, now=told.now)
    shown = run("review", "--lang", "fr")
    assert shown.code == 0
    assert "montant   envoyé : supprimé" in shown.out
    assert "sent: deleted on" in run("outbox", "show", draft.id).out


# ---------------------------------------------------------------- words


def test_every_reason_that_the_relay_gives_has_words() -> None:
    package = Path(frame.__file__).parent.parent
    files = [file for folder in ("outbox", "delivery", "capture") for file in (package / folder).glob("*.py")]
    source = "".join(file.read_text() for file in files)
    assigned = re.findall(r"\breason ?=(?!=)(.*)$", source, flags=re.MULTILINE)
    given = {code for line in assigned for code in re.findall(r'"(\w+)"', line)}
    given = {*given, "loan_not_at_kiva", "loan_not_eligible", "older_in_flight", "at_kiva_already"} - RESOURCES.keys()
    assert {"answer_lost", "strange_answer", "process_ended"} <= given
    assert given <= words.REASONS.keys() | REASONS.keys() | refusal.SENTENCES.keys()


def test_no_field_of_free_text_is_ever_shown() -> None:
    """A new text field of Kiva's has to be called harmless here, or personal in the log's list."""
    harmless = {
        "client_id",
        "currency",
        "gender",
        "image_url",
        "internal_client_id",
        "internal_loan_id",
        "loan_id",
        "location",
    }
    shown = {
        each.name
        for resource in RESOURCES.values()
        for field in resource.fields
        for each in (field, *field.fields)
        if each.kind in ("text", "image") and not personal.is_personal(each.name)
    }
    assert shown <= harmless
