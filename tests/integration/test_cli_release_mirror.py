"""`kiva-relay release mirror --note`: Kiva's list of loans is never whole, and a person takes it as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kiva_relay.outbox import mirror
from testbed.rig import full_outbox
from testbed.rig.full_outbox import FullOutbox, Run

WHY = "the counts of issue changed while they were read, 5 times (issue by +1)"
OTHER = "the counts of issue changed while they were read, 5 times (issue by +2)"
TYPED = ("release", "mirror", "--note", "seen in PA2")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullOutbox]:
    yield from full_outbox.configured(tmp_path, monkeypatch)


@pytest.fixture
def run(told: FullOutbox, capsys: pytest.CaptureFixture[str]) -> Run:
    return full_outbox.runner(capsys)


def reads(told: FullOutbox, *, hours_ago: float, why: str | None = WHY) -> None:
    """The relay reads Kiva's list, and it is not whole (`why`), or is."""
    at = told.now - timedelta(hours=hours_ago)
    with told.outbox.begin() as tx:
        number = mirror.begin_refresh(tx, now=at)
        mirror.end_refresh(tx, number, complete=why is None, listed=2, detail=why, now=at)


def is_taken(told: FullOutbox) -> bool:
    with told.outbox.read() as tx:
        return mirror.is_taken(tx, since=told.now - timedelta(days=1))


@pytest.fixture
def for_hours(told: FullOutbox) -> None:
    """It has lacked the same for four hours."""
    reads(told, hours_ago=4)
    reads(told, hours_ago=0.5)


@pytest.mark.usefixtures("for_hours")
def test_what_is_lacking_is_shown_and_the_list_is_taken(told: FullOutbox, run: Run) -> None:
    printed = run(*TYPED, "--yes")
    assert (printed.code, printed.err) == (0, "")
    assert WHY in printed.out
    assert "if the relay sends it, it is there twice" in printed.out
    assert "Taken as it is, as long as it lacks just that." in printed.out
    assert is_taken(told)
    assert told.acts() == [("awa", "release", "seen in PA2")]


@pytest.mark.usefixtures("for_hours")
def test_who_takes_it_twice_is_not_asked_twice(told: FullOutbox, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*TYPED, "--yes")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(*TYPED).code == 0
    assert is_taken(told)


@pytest.mark.usefixtures("for_hours")
def test_for_programs_it_says_what_was_taken(told: FullOutbox, run: Run) -> None:
    assert run(*TYPED, "--yes", "--json").json == {"released": "mirror", "why": WHY}
    assert is_taken(told)


@pytest.mark.usefixtures("for_hours")
def test_what_is_lacking_after_that_is_another_thing(told: FullOutbox, run: Run) -> None:
    run(*TYPED, "--yes")
    reads(told, hours_ago=0.25, why=OTHER)
    assert not is_taken(told)
    printed = run(*TYPED, "--yes")
    assert printed.code == 2
    assert "Nothing was released" in printed.err
    assert told.acts() == [("awa", "release", "seen in PA2")]


@pytest.mark.usefixtures("for_hours")
@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("release", "mirror", "--yes"), "--note is missing"),
        (("release", "mirror", "--note", "  ", "--yes"), "--note is missing"),
        ((*TYPED, "--limit", "5", "--yes"), "--limit and --anyway do not belong to mirror. Nothing was released."),
        ((*TYPED, "--anyway", "--yes"), "--limit and --anyway do not belong to mirror. Nothing was released."),
        (TYPED, "There is nobody to answer; nothing was done."),
    ],
    ids=["no note", "an empty note", "a few", "anyway", "nobody to answer"],
)
def test_what_is_refused_takes_nothing(
    told: FullOutbox, run: Run, typed: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    printed = run(*typed)
    assert printed.code == 2
    assert says in printed.err
    assert not is_taken(told)
    assert told.acts() == []


class _Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("for_hours")
@pytest.mark.parametrize(("answer", "taken"), [("y", True), ("oui", True), ("", False), ("n", False)])
def test_it_asks_once(told: FullOutbox, run: Run, answer: str, monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    monkeypatch.setattr("sys.stdin", _Keyboard(f"{answer}\n"))
    printed = run(*TYPED)
    assert printed.code == 0
    assert printed.out.count("Take the list as it is, and send drafts by it? [y/N]") == 1
    assert ("Nothing was released. Everything stays as it was." in printed.out) is not taken
    assert is_taken(told) is taken
    assert bool(told.acts()) is taken


def test_a_list_that_is_whole_is_not_released(told: FullOutbox, run: Run) -> None:
    reads(told, hours_ago=4)
    reads(told, hours_ago=0.5, why=None)
    printed = run(*TYPED, "--yes")
    assert (printed.code, printed.out) == (2, "")
    assert "is read whole: there is nothing to release" in printed.err
    assert "kiva-relay status" in printed.err


@pytest.mark.parametrize("before", [WHY, OTHER])
def test_before_three_hours_with_the_same_it_may_be_over_by_itself(told: FullOutbox, run: Run, before: str) -> None:
    reads(told, hours_ago=2.9 if before == WHY else 4, why=before)
    reads(told, hours_ago=0.5)
    printed = run(*TYPED, "--yes")
    assert (printed.code, printed.out) == (2, "")
    assert WHY in printed.err
    assert "Before 3 h have passed it may be over by itself. Nothing was released." in printed.err
    assert not is_taken(told)
