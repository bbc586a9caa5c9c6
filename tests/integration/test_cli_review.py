"""`kiva-relay review` and `review done`, and the words in which all of it is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.cli import frame, words
from kiva_relay.outbox.reason import REASONS
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES
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
    assert "Everything else up to" in out


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
    assert out.count("The name is empty in the MIS") == 1
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
    assert "000000720   #1   loan draft: done, off the list" in printed.out
    assert "Nothing waits for you." in run("review").out
    assert told.acts() == [("awa", "review done", ""), ("awa", "review done", "")]


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
        ("changed", "THIS WEEK", None),
        ("publish", "WHEN YOU HAVE TIME", None),
    ]
    assert "the rest stays on the list" in run("review", "done", draft.id).out
    kinds = [one["kind"] for one in run("review", "--json").json]
    assert kinds == ["publish"]


def test_the_coordinator_is_told_when_nothing_can_be_sent(told: FullOutbox, run: Run) -> None:
    told.owe("000000871", publish_by=told.day(1))
    out = run("review").out
    assert "The relay is not running: please tell the administrator. Nothing is lost" in out
    assert "type them by hand" in out


# ---------------------------------------------------------------- words


def test_every_reason_that_the_relay_gives_has_words() -> None:
    package = Path(frame.__file__).parent.parent
    files = [file for folder in ("outbox", "delivery", "capture") for file in (package / folder).glob("*.py")]
    source = "".join(file.read_text() for file in files)
    assigned = re.findall(r"\breason ?=(?!=)(.*)$", source, flags=re.MULTILINE)
    given = {code for line in assigned for code in re.findall(r'"(\w+)"', line)}
    given |= {"loan_not_at_kiva", "older_in_flight", "at_kiva_already"}
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
        if each.kind in ("text", "image") and not words.is_personal(each.name)
    }
    assert shown <= harmless
