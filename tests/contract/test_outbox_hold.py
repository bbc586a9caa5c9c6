"""Holds, on both databases: what each keeps back, what may pass, and what is known after its release."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import hold, sending, store, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.reason import REASONS
from kiva_relay.outbox.state import Actor, State
from testbed.rig.outboxes import ACCEPTED, NOW, claim, deliver, end, entry, later, lose, put

MADE = entry(1, resource="journal", stream="journal.note")


def in_force(outbox: Outbox) -> list[tuple[str, str, int]]:
    with outbox.read() as tx:
        return [(held.what, held.reason, held.allowance) for held in hold.in_force(tx)]


@pytest.mark.parametrize(
    ("what", "keeps", "passes", "streams"),
    [
        ("all", True, 0, []),
        ("journal", True, 0, []),
        ("loan_draft", False, None, []),
        ("stream:journal.note", True, None, ["journal.note"]),
        ("stream:journal.photo", False, None, ["journal.photo"]),
    ],
)
def test_what_a_hold_keeps_back(
    outbox: Outbox, what: str, *, keeps: bool, passes: int | None, streams: list[str]
) -> None:
    with outbox.begin() as tx:
        assert hold.put(tx, what, "asked", now=NOW, by="awa", note="wait")
        assert not hold.put(tx, what, "asked", now=NOW), "it is held for this reason already"
        assert hold.put(tx, what, "brake", now=NOW)
        held = hold.in_force(tx)[0]
        assert (hold.passes(hold.in_force(tx), "journal"), sorted(set(hold.streams(hold.in_force(tx))))) == (
            passes,
            streams,
        )
    assert held.keeps(MADE) is keeps
    assert held.known() == ["awa held it: “wait”"]
    assert held.why is REASONS["asked"]


def test_a_reason_that_nobody_knows_cannot_be_given(outbox: Outbox) -> None:
    with outbox.begin() as tx, pytest.raises(ValueError, match="bad mood"):
        hold.put(tx, "all", "bad mood", now=NOW)
    assert in_force(outbox) == []


def test_a_few_may_pass_while_the_rest_is_held(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        hold.put(tx, "all", "first_start", now=NOW)
        hold.put(tx, "loan_draft", "brake", now=NOW)
        for what, limit in (("all", 2), ("all", 3), ("loan_draft", 2)):
            (held,) = hold.release(tx, what, by="awa", note="a few", now=NOW, limit=limit)
            assert held.what == what
        assert (hold.passes(hold.in_force(tx), "loan_draft"), hold.passes(hold.in_force(tx), "journal")) == (2, 5)
    for number in range(3):
        put(outbox, f"loan {number}")
    batch = claim(outbox, limit=9)
    assert batch is not None
    assert len(batch.entries) == 2
    assert in_force(outbox) == [("all", "first_start", 3), ("loan_draft", "brake", 0)]
    assert claim(outbox, limit=9) is None


def test_a_hold_on_everything_is_divided_so_that_one_resource_can_go(outbox: Outbox) -> None:
    with outbox.begin() as tx:
        hold.put(tx, "all", "asked", now=NOW, params={"a": 1}, by="awa", note="wait")
        hold.put(tx, "all", "brake", now=NOW)
        hold.divide(tx, hold.in_force(tx)[0], by="moussa", now=later(9))
        rest = [held for held in hold.in_force(tx) if held.reason == "asked"]
        released = tx.execute(sa.select(table.hold).where(table.hold.c.released_at.is_not(None))).one()
    assert sorted(held.what for held in rest) == ["journal", "loan_draft", "repayment"]
    assert {(held.since, held.held_by, held.note, str(dict(held.params))) for held in rest} == {
        (NOW, "awa", "wait", "{'a': 1}")
    }
    assert (released.what, released.reason, released.released_by) == ("all", "asked", "moussa")
    assert ("all", "brake", 0) in in_force(outbox), "another reason is not touched"
    with outbox.begin() as tx:
        assert hold.release(tx, "journal", by="awa", note="", now=later(9), reason="brake") == []
        assert len(hold.release(tx, "journal", by="awa", note="", now=later(9))) == 1


def test_what_came_after_a_release_is_known_by_the_number_of_the_attempt(outbox: Outbox) -> None:
    """Lost answers and refusals are counted from there: the old ones would hold it again at once."""
    put(outbox)
    lose(outbox)

    def held_and_released() -> int:
        with outbox.begin() as tx:
            hold.put(tx, "loan_draft", "many_in_doubt", now=NOW)
            assert hold.release(tx, "loan_draft", by="awa", note="", now=NOW)
            return hold.released_after(tx, "loan_draft", "many_in_doubt")

    with outbox.read() as tx:
        assert hold.released_after(tx, "loan_draft", "many_in_doubt") == 0
        assert not hold.was_ever(tx, "many_in_doubt")
    assert held_and_released() == 1
    put(outbox, "another")
    deliver(outbox)
    assert held_and_released() == 2
    with outbox.read() as tx:
        assert hold.released_after(tx, "journal", "many_in_doubt") == 0
        assert hold.was_ever(tx, "many_in_doubt")
        assert hold.in_force(tx) == []


# ---------------------------------------------------------------- what somebody else did meanwhile


def test_an_attempt_is_closed_once(outbox: Outbox) -> None:
    put(outbox)
    batch = claim(outbox)
    assert batch is not None
    verdict = sending.EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"})
    end(outbox, batch, ACCEPTED, verdict)
    with pytest.raises(store.Overtaken, match="attempt 1 was closed"):
        end(outbox, batch, ACCEPTED, verdict)


def test_nothing_is_said_of_an_entry_that_was_moved_meanwhile(outbox: Outbox) -> None:
    seen = put(outbox)
    assert seen is not None
    with outbox.begin() as tx:
        assert store.explain(tx, seen, "incomplete").row_version == seen.row_version + 1
    with pytest.raises(store.Overtaken, match="no longer ready"), outbox.begin() as tx:
        store.explain(tx, seen, "other")
    with pytest.raises(store.Overtaken, match="no longer ready"), outbox.begin() as tx:
        store.mark_done(tx, seen, now=NOW)
    with pytest.raises(store.Overtaken, match="no longer ready"), outbox.begin() as tx:
        store.move(tx, seen, State.SUPERSEDED, Actor.INTAKE, now=NOW)
