"""Many rows that leave at once: what stays as it was known, who is asked, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kiva_relay.capture.cycle import Capture
from kiva_relay.outbox import hold, mirror, table
from kiva_relay.outbox.state import State
from testbed.rig import capturing
from testbed.rig.capturing import Rig, loan

STREAM = "stream:loan_draft"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = capturing.rig(tmp_path, ["loan_draft"])
    yield made
    made.outbox.close()


def book(rig: Rig, number: int) -> Capture:
    """A capture that has read in a book of so many loans."""
    for _ in range(number):
        rig.mis.open_loan()
    capture = rig.capture()
    capture.cycle()
    settle(capture)
    return capture


def settle(capture: Capture) -> None:
    while capture.scanning():
        capture.cycle()


def sweep(capture: Capture) -> None:
    capture.sweep()
    capture.cycle()
    settle(capture)


def held(rig: Rig) -> list[dict[str, Any]]:
    with rig.outbox.read() as tx:
        return [{"what": one.what, "reason": one.reason, **one.params} for one in hold.in_force(tx)]


def released(rig: Rig, by: str = "a person") -> None:
    with rig.outbox.begin() as tx:
        assert hold.release(tx, STREAM, by=by, note="they left", now=rig.clock.now())


def states(rig: Rig) -> dict[str, int]:
    columns = table.entry.c
    counted = sa.select(columns.state, sa.func.count().label("number")).group_by(columns.state)
    with rig.outbox.read() as tx:
        return {row.state: row.number for row in tx.execute(counted)}


def hide(rig: Rig, number: int) -> dict[str, dict[str, Any]]:
    """The first rows are seen no more; nothing tells that they changed."""
    hidden = {key: rig.mis.loans[key] for key in list(rig.mis.loans)[:number]}
    for key in hidden:
        del rig.mis.loans[key]
    return hidden


@pytest.mark.parametrize(
    ("there", "gone", "kept"),
    [(300, 30, 0), (300, 31, 31), (100, 20, 0), (100, 21, 21), (30, 20, 0), (30, 21, 21), (5, 4, 0), (5, 5, 5), (2, 2, 0)],
)  # fmt: skip
def test_a_tenth_and_twenty_may_leave_and_not_all_of_a_scope(rig: Rig, there: int, gone: int, kept: int) -> None:
    capture = book(rig, there)
    hide(rig, gone)
    sweep(capture)
    expected = {State.READY: there - gone + kept, State.WITHDRAWN: gone - kept}
    assert states(rig) == {state: number for state, number in expected.items() if number}
    told = {"what": STREAM, "reason": "many_left", "stream": "loan_draft", "number": kept, "of": there}
    assert held(rig) == ([told] if kept else [])


def test_the_hold_ends_when_a_sweep_meets_the_rows_again(rig: Rig) -> None:
    capture = book(rig, 100)
    hidden = hide(rig, 60)
    sweep(capture)
    sweep(capture)
    assert [one["reason"] for one in held(rig)] == ["many_left"]
    rig.mis.loans |= hidden
    sweep(capture)
    assert held(rig) == []
    assert states(rig) == {State.READY: 100}


def test_a_person_says_that_they_left(rig: Rig) -> None:
    capture = book(rig, 100)
    hide(rig, 60)
    sweep(capture)
    released(rig)
    capture.cycle()
    assert states(rig) == {State.READY: 40, State.WITHDRAWN: 60}
    assert held(rig) == []


def test_that_the_relay_lifted_it_is_no_word_of_a_person(rig: Rig) -> None:
    capture = book(rig, 100)
    hidden = hide(rig, 60)
    sweep(capture)
    rig.mis.loans |= hidden
    sweep(capture)
    hide(rig, 60)
    sweep(capture)
    assert [one["reason"] for one in held(rig)] == ["many_left"]
    assert states(rig) == {State.READY: 100}


def test_a_persons_word_holds_for_a_day(rig: Rig) -> None:
    capture = book(rig, 200)
    hide(rig, 60)
    sweep(capture)
    released(rig)
    capture.cycle()
    rig.clock.pass_(25 * 3600)
    hide(rig, 60)
    sweep(capture)
    assert [one["reason"] for one in held(rig)] == ["many_left"]
    assert states(rig) == {State.READY: 140, State.WITHDRAWN: 60}


def test_what_leaves_little_by_little_is_counted_for_a_day(rig: Rig) -> None:
    capture = book(rig, 100)
    for _ in range(4):
        hide(rig, 5)
        sweep(capture)
        rig.clock.pass_(3600)
    assert held(rig) == []
    hide(rig, 1)
    sweep(capture)
    assert [one["number"] for one in held(rig)] == [21]
    rig.clock.pass_(24 * 3600)
    sweep(capture)
    assert states(rig)[State.WITHDRAWN] == 21


def test_rows_that_a_status_renamed_puts_out_of_scope_are_kept_too(rig: Rig) -> None:
    capture = book(rig, 100)
    for key, row in rig.mis.loans.items():
        row["status"] = "renamed"
        rig.mis.commit += 1
        rig.mis.written["loan", key] = rig.mis.commit
    capture.cycle()
    assert states(rig) == {State.READY: 100}
    assert [(one["number"], one["of"]) for one in held(rig)] == [(100, 100)]


def test_loans_that_were_paid_off_may_leave_all_on_one_day(rig: Rig) -> None:
    capture = book(rig, 100)
    with rig.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=rig.clock.now())
        ids = [str(row["account"]) for row in rig.mis.loans.values()]
        mirror.keep(tx, refresh, [loan(one, "payingBack", kiva_id=f"K{one}") for one in ids])
        mirror.end_refresh(tx, refresh, complete=True, listed=len(ids), detail=None, now=rig.clock.now())
        tx.execute(
            sa.update(table.entry).values(state=State.DELIVERED.value, settled_at=rig.clock.now(), evidence="receipt")
        )
    for key in rig.mis.loans:
        rig.mis.loans[key]["status"] = "closed"
        rig.mis.commit += 1
        rig.mis.written["loan", key] = rig.mis.commit
    capture.cycle()
    assert held(rig) == []


def test_a_group_that_kiva_lists_under_a_members_id_was_published_too(rig: Rig) -> None:
    """Its own id stands nowhere at Kiva; the members' stand in the body alone."""
    capture = book(rig, 40)
    ids = [str(row["account"]) for row in rig.mis.loans.values()]
    with rig.outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=rig.clock.now())
        mirror.keep(tx, refresh, [loan(one, "payingBack", kiva_id=f"K{one}") for one in ids])
        mirror.end_refresh(tx, refresh, complete=True, listed=len(ids), detail=None, now=rig.clock.now())
        group = {"loan_id": "G" + table.entry.c.loan_id, "loan_fold": "G" + table.entry.c.loan_fold}
        sent = {"state": State.DELIVERED.value, "settled_at": rig.clock.now(), "evidence": "receipt"}
        tx.execute(sa.update(table.entry).values(**group, **sent))
    for key in rig.mis.loans:
        rig.mis.loans[key]["status"] = "closed"
        rig.mis.commit += 1
        rig.mis.written["loan", key] = rig.mis.commit
    capture.cycle()
    assert held(rig) == []
