"""What the MIS changed after it was sent, on both databases: what is shown, in which order, and until when."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kiva_relay.outbox import divergence, history, mirror, query, settlement, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from testbed.rig.outboxes import deliver, later, owed, put

LOAN = "000000871"


def sent(outbox: Outbox, identity: str = LOAN, body: str = '{"amount":1}') -> Entry:
    put(outbox, identity, body)
    return deliver(outbox)[0]


def differs(outbox: Outbox, identity: str = LOAN, amount: int = 2, *, seconds: float = 5) -> None:
    put(outbox, identity, f'{{"amount":{amount}}}', seconds=seconds)


def cancelled(outbox: Outbox, identity: str, *, seconds: float = 5) -> None:
    with outbox.begin() as tx:
        store.left_scope(tx, "loan_draft", identity, reason="left_scope", now=later(seconds))


def shown(outbox: Outbox) -> list[tuple[str, str]]:
    with outbox.read() as tx:
        return [(one.entry.identity, one.kind) for one in history.open_divergences(tx)]


def test_what_was_cancelled_stands_before_what_was_changed_and_the_oldest_first(outbox: Outbox) -> None:
    for identity in ("a", "b", "c", "d"):
        sent(outbox, identity)
    differs(outbox, "b", seconds=5)
    cancelled(outbox, "d", seconds=6)
    differs(outbox, "a", seconds=7)
    cancelled(outbox, "c", seconds=8)
    assert shown(outbox) == [("d", "left_scope"), ("c", "left_scope"), ("b", "changed"), ("a", "changed")]


def test_of_one_entry_only_its_newest_difference_is_open(outbox: Outbox) -> None:
    entry = sent(outbox)
    differs(outbox, amount=2, seconds=5)
    differs(outbox, amount=2, seconds=6)
    differs(outbox, amount=3, seconds=7)
    cancelled(outbox, LOAN, seconds=8)
    with outbox.read() as tx:
        found = history.of_entry(tx, entry).divergences
        (open_one,) = history.open_divergences(tx, entry.id)
    assert [(one.kind, one.since, one.ended_at) for one in found] == [
        ("left_scope", later(8), None),
        ("changed", later(5), later(7)),
        ("changed", later(7), later(8)),
    ]
    assert open_one == found[0]


def test_what_a_person_has_seen_is_not_shown_again_until_it_differs_anew(outbox: Outbox) -> None:
    entry = sent(outbox)
    differs(outbox)
    with outbox.begin() as tx:
        assert divergence.end(tx, entry.id, by="awa", now=later(6)) == 1
        assert divergence.end(tx, entry.id, by="awa", now=later(7)) == 0
    differs(outbox, seconds=8)
    assert shown(outbox) == []
    differs(outbox, amount=3, seconds=9)
    assert shown(outbox) == [(LOAN, "changed")]


def test_a_draft_that_was_deleted_in_pa2_has_no_difference_left(outbox: Outbox) -> None:
    entry = sent(outbox)
    differs(outbox)
    with outbox.begin() as tx:
        settlement.settle(tx, entry, "resend", by="awa", note="deleted in PA2", now=later(9))
        (over,) = history.of_entry(tx, entry).divergences
    assert shown(outbox) == []
    assert (over.ended_at, over.ended_by) == (later(9), "a person")


def test_what_was_published_or_is_not_ours_is_not_compared(outbox: Outbox) -> None:
    sent(outbox)
    sent(outbox, "typed")
    with outbox.begin() as tx:
        refresh = mirror.begin_refresh(tx, now=later(2))
        mirror.keep(tx, refresh, [mirror.MirroredLoan("k", LOAN, "c", "fundRaising")])
        mirror.end_refresh(tx, refresh, complete=True, listed=1, detail=None, now=later(3))
        typed = query.was_sent(tx, "loan_draft", "typed")
        assert typed is not None
        adopted = dataclasses.replace(typed, evidence="adopted")
        divergence.compare(tx, adopted, owed("typed", '{"amount":2}'), now=later(4))
        divergence.left_scope(tx, adopted, now=later(4))
    differs(outbox)
    cancelled(outbox, LOAN)
    assert shown(outbox) == []


LONG, LONGER = "x" * 201, "x" * 1_201


@pytest.mark.parametrize(
    ("was", "now_is", "expected"),
    [
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, []),
        ({"a": 1}, {"a": 2}, [("a", "1", "2")]),
        ({"a": 1}, {"b": 2}, [("a", "1", ""), ("b", "", "2")]),
        ({"a": {"b": [1, {"c": "x"}]}}, {"a": {"b": [1, {"c": "y"}]}}, [("a.b[1].c", "x", "y")]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a[0]", "1", "2"), ("a[1]", "2", "1")]),
        ({"a": [1, 2]}, {"a": [1]}, [("a", "2 rows", "1 rows")]),
        ({"a": "x" * 200}, {"a": LONG}, [("a", "x" * 200, "201 characters")]),
        ({"a": LONGER}, {"a": None}, [("a", "1,201 characters", "")]),
    ],
)
def test_a_difference_says_where_and_quotes_what_is_short(
    outbox: Outbox, was: Any, now_is: Any, expected: list[tuple[str, str, str]]
) -> None:
    entry = sent(outbox, body=json.dumps(was))
    put(outbox, LOAN, json.dumps(now_is), seconds=5)
    with outbox.read() as tx:
        found = [field for one in history.open_divergences(tx, entry.id) for field in one.fields]
    assert [(one["field"], one["was"], one["is"]) for one in found] == expected


def test_what_is_known_of_an_entry_is_one_picture_that_nobody_changes(outbox: Outbox) -> None:
    sent(outbox)
    differs(outbox)
    with outbox.begin() as tx:
        store.owe(tx, owed("000000872"), now=later(6))
        newest = query.versions(tx, "loan_draft", LOAN)[0]
        life = history.of_entry(tx, newest)
    assert (life.entry, life.looked_at, len(life.versions)) == (newest, None, 1)
    for value, name in ((life, "versions"), (life.attempts[0], "outcome"), (life.divergences[0], "ended_at")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)
