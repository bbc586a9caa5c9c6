"""When a column that was always filled is empty: what a page says of it, and what is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import vanished
from kiva_relay.capture.vanished import _Habit
from kiva_relay.outbox import hold, meta
from kiva_relay.outbox.database import Outbox
from kiva_relay.source.reader import Content
from testbed.rig.capturing import NOW, document, fresh_outbox

NAMED = {"account": "L1", "first_name": "Awa", "last_name": "Diop", "client": "C1", "activity": 1, "amount": 1}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = fresh_outbox(tmp_path)
    yield made
    made.close()


def row(number: int, *, in_scope: bool = True, schedule: Any = (), **changes: Any) -> Content:
    return Content(str(number), in_scope, {"id": number, **NAMED, **changes}, {"schedule": list(schedule)})


def note(outbox: Outbox, *contents: Content, known: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """What is held afterwards."""
    with outbox.begin() as tx:
        vanished.note(tx, document("loan_draft"), contents, known=known, now=NOW)
        return [{"what": one.what, "reason": one.reason, **one.params} for one in hold.in_force(tx)]


def usual(outbox: Outbox, known: frozenset[str] = frozenset()) -> None:
    """As many rows as make a habit, and the last ones beside them."""
    rows = [row(number) for number in range(vanished.ENOUGH + vanished.LAST)]
    assert note(outbox, *rows, known=known) == []


def test_a_column_that_vanished_holds_the_stream(outbox: Outbox) -> None:
    usual(outbox)
    empty = [row(number, last_name=None, client="") for number in range(100, 115)]
    assert note(outbox, *empty[:14]) == []
    assert note(outbox, empty[14]) == [
        {
            "what": "stream:loan_draft",
            "reason": "values_vanished",
            "columns": "client, last_name",
            "empty": 15,
            "of": vanished.LAST,
        }
    ]


def test_new_rows_are_compared_with_new_ones(outbox: Outbox) -> None:
    usual(outbox)
    empty = [row(number, last_name=None) for number in range(100, 120)]
    assert note(outbox, *empty, known=frozenset(str(number) for number in range(100, 120))) == []
    assert note(outbox, *empty) != []


def test_rows_out_of_scope_say_nothing(outbox: Outbox) -> None:
    usual(outbox)
    assert note(outbox, *(row(number, in_scope=False, last_name=None) for number in range(100, 120))) == []
    with outbox.read() as tx:
        habits = meta.habits("loan_draft").get(tx)
    assert habits is not None
    assert habits["new"]["of"] == vanished.ENOUGH
    assert habits["changed"]["of"] == 0


def test_nothing_is_written_for_a_page_without_rows(outbox: Outbox) -> None:
    note(outbox)
    note(outbox, row(1, in_scope=False))
    with outbox.read() as tx:
        assert meta.habits("loan_draft").get(tx) is None


def test_which_columns_a_row_fills() -> None:
    def filled(**changes: Any) -> set[str]:
        return set(vanished._filled(document("loan_draft"), row(1, **changes)))

    assert filled() >= NAMED.keys()
    assert not any(name.startswith("schedule.") for name in filled())
    instalments = [{"due": None, "principal": 1, "interest": 0}, {"due": "2026-12-01", "principal": None}]
    assert {name for name in filled(schedule=instalments) if "." in name} == {
        "schedule.due",
        "schedule.principal",
        "schedule.interest",
    }
    assert "first_name" not in filled(first_name="")
    assert "first_name" not in filled(first_name=None)
    assert "amount" in filled(amount=0)  # a zero is a value
    one = Content("1", in_scope=True, root={"id": None}, related={"schedule": {"due": "2026-12-01"}})
    assert vanished._filled(document("loan_draft"), one) == ["schedule.due"]
    none = Content("1", in_scope=True, root={"id": None}, related={"schedule": None})
    assert vanished._filled(document("loan_draft"), none) == []


# ---------------------------------------------------------------- a habit


def learnt(rows: int = 80, columns: tuple[str, ...] = ("name", "story")) -> _Habit:
    habit = _Habit()
    for number in range(rows):
        habit.learn(str(number), list(columns))
    return habit


def test_a_column_that_was_always_filled_and_mostly_is_not() -> None:
    habit = learnt()
    for number in range(14):
        habit.learn(f"new {number}", ["name"])
        assert habit.vanished() == {}
    habit.learn("new 14", ["name"])
    assert habit.vanished() == {"story": 15}


def test_one_row_that_is_edited_often_is_one_row() -> None:
    habit = learnt()
    for _ in range(100):
        habit.learn("871", ["name"])
    assert habit.vanished() == {}
    assert len(habit.last) == vanished.LAST


@pytest.mark.parametrize(("empty", "gone"), [(1, {"story": 20}), (2, {"story": 20}), (3, {})])
def test_what_was_empty_now_and_then_is_no_habit(empty: int, gone: dict[str, int]) -> None:
    habit = _Habit()
    for number in range(80):  # of which the first 80 are counted in the end
        habit.learn(str(number), ["name"] if number < empty else ["name", "story"])
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    assert habit.of == 80
    assert habit.vanished() == gone


@pytest.mark.parametrize(("rows", "gone"), [(49, {}), (50, {"story": 20})])
def test_too_few_rows_make_no_habit(rows: int, gone: dict[str, int]) -> None:
    habit = learnt(rows=rows)
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    assert habit.vanished() == gone


def test_after_a_person_was_asked_the_new_habit_counts() -> None:
    habit = learnt()
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    habit.forget(habit.vanished())
    for number in range(300):
        habit.learn(f"newer {number}", ["name"])
        assert habit.vanished() == {}


def test_a_habit_may_change_slowly() -> None:
    habit = learnt(rows=1000)
    for number in range(2000):
        habit.learn(f"new {number}", ["name"] if number % 9 == 0 else ["name", "story"])
        assert habit.vanished() == {}
    assert habit.of <= vanished._FORGETS


def test_counts_are_halved_together() -> None:
    habit = learnt(rows=vanished.LAST + vanished._FORGETS)
    assert (habit.of, habit.filled["story"]) == (vanished._FORGETS, vanished._FORGETS)
    habit.learn("next", ["name"])
    half = vanished._FORGETS // 2
    assert (habit.of, habit.filled) == (half + 1, {"name": half + 1, "story": half + 1})


def test_the_oldest_of_the_last_rows_is_counted() -> None:
    habit = _Habit()
    habit.learn("oldest", ["story"])
    for number in range(vanished.LAST - 1):
        habit.learn(str(number), ["name"])
    assert (habit.of, habit.filled) == (0, {})
    habit.learn("newest", ["name"])
    assert (habit.of, habit.filled) == (1, {"story": 1})
    assert "oldest" not in habit.last
