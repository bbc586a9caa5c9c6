"""The promise, kept in every world within the bounds; and broken as soon as one of its rules is left out."""

from __future__ import annotations

import pytest

from kiva_relay.outbox import state as machine
from kiva_relay.outbox.state import Actor, State
from testbed.model import promise
from testbed.model.world import RULES, Arrow, Case


def events(**often: int) -> tuple[tuple[str, int], ...]:
    return tuple((name.replace("_", " "), times) for name, times in often.items())


CASES = {
    "a draft that Kiva lists at once or late": Case(contents=("a",), events=events(crash=1, lost_request=1, control=2)),
    "a draft that is corrected": Case(events=events(crash=1, cut=1, control=1)),
    "a draft that Kiva never lists": Case(visible=False, events=events(crash=1, publish=1, lost_request=1, person=1)),
    "two relays on two machines": Case(
        contents=("a",), machines=2, events=events(takeover=1, lost_request=1, control=1)
    ),
    "two relays, a position": Case(resource="repayment", machines=2, events=events(takeover=1)),
    "a position that goes there and back": Case(
        resource="repayment", contents=("a", "b", "a"), attempts=3, events=events(crash=1, cut=1, lost_request=1)
    ),
    "a position whose answers are all lost": Case(resource="repayment", contents=("a",), attempts=9),
    "a newer position after one that is all lost": Case(resource="repayment", attempts=9),
    "a position in doubt when its report closes": Case(
        resource="repayment", contents=("a",), attempts=3, events=events(lost_request=1, cut=1, month=1)
    ),
    "a position that nobody sent before its report closed": Case(
        resource="repayment",
        contents=("a", "b"),
        window=True,
        events=events(close=1, late=1, finalise=1, month=1, lost_request=1),
    ),
    "a position about which a person has to decide": Case(
        resource="repayment",
        contents=("?a", "?b"),
        window=True,
        events=events(decide=1, close=1, late=1, month=1),
    ),
    "a position that is sent late, and killed": Case(
        resource="repayment",
        contents=("?a",),
        window=True,
        attempts=3,
        events=events(close=1, late=2, finalise=1, month=1, crash=1, cut=1),
    ),
    "a position of which Kiva names a problem": Case(
        resource="repayment", contents=("a", "b"), attempts=3, events=events(warned=1, person=2)
    ),
    "a draft of which Kiva names a problem": Case(contents=("a",), attempts=3, events=events(warned=1, person=2)),
    "a draft that Kiva or the mapping refuses": Case(
        contents=("a", "refused", "b"), events=events(cut=1, judged=1, person=1)
    ),
    "a draft that leaves the scope and comes back": Case(contents=("a", "gone", "b"), events=events(crash=1, cut=1)),
    "a draft that leaves the scope for good": Case(
        contents=("a", "b", "gone"), visible=False, events=events(cut=1, person=1)
    ),
    "a draft that leaves the scope while in doubt": Case(
        contents=("a", "gone"), events=events(lost_request=1, control=1)
    ),
    "a refused one that leaves the scope": Case(contents=("refused", "gone")),
    "a draft that is typed by hand": Case(contents=("a",), events=events(by_hand=1, person=2)),
    "a draft that is typed by hand while it is sent": Case(contents=("a",), events=events(by_hand=1, cut=1)),
    "a refused one that is typed by hand": Case(contents=("refused",), events=events(by_hand=1, person=1)),
    "an unfinished one that is typed by hand": Case(contents=("unfinished", "a"), events=events(by_hand=1, person=1)),
    "a restored outbox": Case(contents=("a",), visible=False, events=events(crash=1, backup=1, person=1)),
    "a restored outbox that knew a refusal": Case(contents=("refused", "a"), events=events(crash=1, backup=1)),
    "a restored outbox that knew it unfinished": Case(contents=("unfinished", "a"), events=events(crash=1, backup=1)),
}

BROKEN_BY = {
    "intent before send": "a draft that Kiva never lists",
    "witness": "a restored outbox",
    "its own witness": "two relays on two machines",
    "timer": "two relays on two machines",
    "fence": "two relays, a position",
    "in doubt": "a draft that Kiva never lists",
    "a doubt at start": "a draft that Kiva never lists",
    "version order": "a position that goes there and back",
    "doubts stay in mind": "a position that goes there and back",
    "control": "a draft that Kiva never lists",
    "a late control": "a draft that Kiva lists at once or late",
    "settle after": "a position that goes there and back",
    "adopt": "a draft that is typed by hand",
    "once": "a draft that is corrected",
    "most repeats": "a position whose answers are all lost",
    "a doubt gives way": "a newer position after one that is all lost",
    "a report closes": "a position in doubt when its report closes",
    "late alone": "a position that nobody sent before its report closed",
    "finalised": "a position that is sent late, and killed",
    "finalising waits": "a position that is sent late, and killed",
    "the next opening": "a position that is sent late, and killed",
    "a margin": "a position that is sent late, and killed",
    "a decision binds": "a position about which a person has to decide",
    "late goes behind": "a position that nobody sent before its report closed",
    "late is owed": "a position that is sent late, and killed",
    "a problem is asked about": "a draft of which Kiva names a problem",
    "supersede": "a draft that is corrected",
    "withdraw": "a draft that leaves the scope and comes back",
    "a deletion is believed": "a draft that is typed by hand",
    "the waiting one follows": "a position that goes there and back",
}

OUT_OF_THE_MODEL = {
    (State.READY, State.WAITING, Actor.RECONCILER): "another loan at Kiva: the model has one",
    (State.READY, State.REFUSED, Actor.COURIER): "the last day to publish: the model has no calendar",
    (State.SENDING, State.DELIVERED, Actor.START): "an answer in the witness: the model's has attempts only",
    (None, State.DELIVERED, Actor.PERSON): "a list of ids typed in by a person: never owed before",
}

ARROWS: dict[str, frozenset[Arrow]] = {}


@pytest.mark.parametrize("name", CASES)
def test_the_promise_is_kept_in_every_world(name: str) -> None:
    found = promise.search(CASES[name])
    assert found.broken is None, f"\n{found}"
    ARROWS[name] = found.arrows


@pytest.mark.long
def test_every_arrow_of_the_state_machine_is_tried_or_said_to_be_out_of_the_model() -> None:
    for name in CASES.keys() - ARROWS.keys():
        ARROWS[name] = promise.search(CASES[name]).arrows
    arrows = {(move.source, move.target, move.by) for move in machine.MOVES}
    assert arrows - frozenset().union(*ARROWS.values()) == OUT_OF_THE_MODEL.keys()


@pytest.mark.parametrize("rule", RULES)
def test_the_promise_is_broken_without(rule: str) -> None:
    case = CASES[BROKEN_BY[rule]]
    found = promise.search(Case(**{**vars(case), "without": rule}))
    assert found.broken is not None, f"nothing needs the rule: {RULES[rule]}"
    print(f"without {rule!r} ({RULES[rule]}):\n{found}")  # noqa: T201 - `pytest -rP` shows the shortest way
