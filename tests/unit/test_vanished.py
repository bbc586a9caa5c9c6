"""What counts as values that vanished, and what does not."""

from __future__ import annotations

from kiva_relay.capture import vanished
from kiva_relay.capture.vanished import _Habit


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


def test_what_was_empty_now_and_then_is_no_habit() -> None:
    habit = _Habit()
    for number in range(100):
        habit.learn(str(number), ["name", "story"] if number % 20 else ["name"])
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    assert habit.vanished() == {}


def test_too_few_rows_make_no_habit() -> None:
    habit = learnt(rows=30)
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    assert habit.vanished() == {}


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
