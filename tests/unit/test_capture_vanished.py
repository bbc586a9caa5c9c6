"""When a column that was always filled is empty: what a page says of it, and what is held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiva_relay.capture import vanished
from kiva_relay.capture.vanished import _Habit
from kiva_relay.config import loader
from kiva_relay.outbox import hold, meta
from kiva_relay.outbox.database import Outbox
from kiva_relay.source.reader import Content
from testbed.rig import configuration
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


def scanned(outbox: Outbox, *rows: Content, scan: int = 1) -> None:
    """A scan goes through these rows, in two pages, and is over."""
    with outbox.begin() as tx:
        for page, is_complete in ((rows[:30], False), (rows[30:], False), ((), True)):
            vanished.learn(tx, document("loan_draft"), page, scan=scan, is_complete=is_complete)


def usual(outbox: Outbox) -> None:
    """A book that says what is usual, and as many new rows as make a habit, with the last ones beside them."""
    rows = [row(number) for number in range(vanished.ENOUGH + vanished.LAST)]
    scanned(outbox, *rows)
    assert note(outbox, *rows) == []


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
    scanned(outbox, *(row(number) for number in range(60)))
    without = [row(number, last_name=None) for number in range(100, 140)]
    one_by_one = [note(outbox, one) for one in without[: vanished.LAST]]
    assert one_by_one[-1] != []  # nobody knows yet that new rows never have it
    with outbox.begin() as tx:
        hold.release(tx, "stream:loan_draft", by="a person", note="they get it later", now=NOW)
    assert note(outbox, *without) == []
    known = frozenset(str(number) for number in range(200, 240))
    assert note(outbox, *(row(number) for number in range(200, 220)), known=known) == []
    assert note(outbox, *(row(number, last_name=None) for number in range(220, 240)), known=known) != []


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


USUAL = ["name", "story"]


def test_a_column_that_was_always_filled_and_mostly_is_not() -> None:
    habit = learnt()
    for number in range(14):
        habit.learn(f"new {number}", ["name"])
        assert habit.vanished(USUAL) == {}
    habit.learn("new 14", ["name"])
    assert habit.vanished(USUAL) == {"story": 15}
    assert habit.vanished(["name"]) == {}


@pytest.mark.parametrize(("before", "gone"), [(0, {"story": 20}), (19, {"story": 20}), (20, {})])
def test_what_earlier_rows_of_the_kind_lacked_too_has_not_vanished(before: int, gone: dict[str, int]) -> None:
    habit = learnt(rows=before + vanished.LAST, columns=("name",))
    assert habit.vanished(USUAL) == gone


def test_one_row_that_is_edited_often_is_one_row() -> None:
    habit = learnt()
    for _ in range(100):
        habit.learn("871", ["name"])
    assert habit.vanished(USUAL) == {}
    assert len(habit.last) == vanished.LAST


@pytest.mark.parametrize(("empty", "gone"), [(1, {"story": 20}), (2, {"story": 20}), (3, {})])
def test_what_was_empty_now_and_then_is_no_habit(empty: int, gone: dict[str, int]) -> None:
    habit = _Habit()
    for number in range(80):  # of which the first 80 are counted in the end
        habit.learn(str(number), ["name"] if number < empty else ["name", "story"])
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    assert habit.of == 80
    assert habit.vanished(USUAL) == gone


def test_after_a_person_was_asked_the_new_habit_counts() -> None:
    habit = learnt()
    for number in range(20):
        habit.learn(f"new {number}", ["name"])
    habit.asked += habit.vanished(USUAL)
    for number in range(300):
        habit.learn(f"newer {number}", ["name"])
        assert habit.vanished(USUAL) == {}


def test_what_was_asked_about_and_came_back_may_vanish_again() -> None:
    habit = learnt(rows=0)
    for number in range(20):
        habit.learn(f"without {number}", ["name"])
    habit.asked += habit.vanished(USUAL)
    assert habit.asked == ["story"]
    for number in range(2000):
        habit.learn(f"with {number}", ["name", "story"])
        habit.vanished(USUAL)
    assert habit.asked == []
    for number in range(20):
        habit.learn(f"again without {number}", ["name"])
    assert habit.vanished(USUAL) == {"story": 20}


# ---------------------------------------------------------------- the book


@pytest.mark.parametrize(("rows", "held"), [(49, 0), (50, 1)])
def test_a_small_book_says_nothing_of_what_is_usual(outbox: Outbox, rows: int, held: int) -> None:
    scanned(outbox, *(row(number) for number in range(rows)))
    assert len(note(outbox, *(row(number, last_name=None) for number in range(100, 120)))) == held


@pytest.mark.parametrize(("empty", "held"), [(3, 1), (4, 0)])
def test_a_book_in_which_it_is_empty_now_and_then(outbox: Outbox, empty: int, held: int) -> None:
    scanned(outbox, *(row(number, last_name=None if number < empty else "Diop") for number in range(100)))
    assert len(note(outbox, *(row(number, last_name=None) for number in range(200, 220)))) == held


def test_the_rows_of_one_evening_are_no_sample_of_the_book(outbox: Outbox) -> None:
    scanned(outbox, *(row(number, activity=None if number % 3 else 1) for number in range(100)))
    known = frozenset(str(number) for number in range(100))
    paid = [row(number, activity=1) for number in range(80)]
    assert note(outbox, *paid, known=known) == []
    assert note(outbox, *(row(number, activity=None) for number in range(80, 100)), known=known) == []


def test_without_a_scan_that_met_every_row_nothing_is_usual(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        rows = [row(number) for number in range(200)]
        vanished.learn(tx, document("loan_draft"), rows, scan=1, is_complete=False)
    empty = [row(number, last_name=None) for number in range(300, 320)]
    assert note(outbox, *empty) == []


def test_a_scan_that_is_begun_again_counts_anew(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        rows = [row(number, last_name=None) for number in range(200)]
        vanished.learn(tx, document("loan_draft"), rows, scan=1, is_complete=False)
    scanned(outbox, *(row(number) for number in range(60)), scan=2)
    assert note(outbox, *(row(number, last_name=None) for number in range(300, 320))) != []


def test_a_row_out_of_scope_is_no_row_of_the_book(outbox: Outbox) -> None:
    scanned(outbox, *(row(number) for number in range(60)), *(row(9, in_scope=False, last_name=None),) * 60)
    assert note(outbox, *(row(number, last_name=None) for number in range(300, 320))) != []


def test_a_habit_may_change_slowly() -> None:
    habit = learnt(rows=1000)
    for number in range(2000):
        habit.learn(f"new {number}", ["name"] if number % 9 == 0 else ["name", "story"])
        assert habit.vanished(USUAL) == {}
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


def test_a_loan_that_was_lent_after_the_cut_off_lacks_nothing(outbox: Outbox, tmp_path: Path) -> None:
    settings = loader.load(configuration.write(tmp_path, "parameters: {kiva_fund: 3}\n"), environ={"KIVA_SECRET": "s"})
    repayment = next(one for one in configuration.documents(settings) if one.name == "repayment")

    def position(number: int, **repaid: Any) -> Content:
        root: dict[str, Any] = {"id": number, "account_no": f"{number:09}", "loan_type_enum": 1, "loan_status_id": 300}
        related: dict[str, Any] = {
            "client": {"account_no": "C1"},
            "repaid": {"loan_id": number, **repaid} if repaid else None,
        }
        root |= {"currency_digits": 0, "principal_disbursed_derived": 9}
        return Content(str(number), in_scope=True, root=root, related=related)

    def held(*contents: Content) -> list[str]:
        with outbox.begin() as tx:
            vanished.note(tx, repayment, contents, known=frozenset(), now=NOW)
            return [one.reason for one in hold.in_force(tx)]

    book = [position(number, principal=5) for number in range(60)]
    with outbox.begin() as tx:
        vanished.learn(tx, repayment, book, scan=1, is_complete=True)
    assert held(*book[:20], *(position(number) for number in range(100, 140))) == []
    # What has rows, and lacks a column of them, is another matter.
    assert held(*(position(number, principal=None) for number in range(200, 220))) == ["values_vanished"]
