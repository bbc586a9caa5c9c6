"""When the courier stops: each reason alone, which of two comes first, and both sides of every boundary."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from kiva_relay.delivery import stop
from kiva_relay.delivery.stop import SendingSituation, Stop
from testbed.rig.outboxes import NOW, later

FREE = SendingSituation(
    resource="loan_draft",
    passes=None,
    fault_may_be_over=False,
    sends=True,
    pause=timedelta(0),
    has_room=True,
    report_is_open=True,
    list_is_known=True,
    last_doubt=None,
    last_harmless=None,
)
ALONE: list[tuple[dict[str, Any], Stop]] = [
    ({"passes": 0}, Stop.HELD),
    ({"sends": False}, Stop.SHADOW),
    ({"pause": timedelta(microseconds=1)}, Stop.PAUSE),
    ({"has_room": False}, Stop.NO_ROOM),
    ({"list_is_known": False}, Stop.LIST_UNKNOWN),
    ({"last_doubt": NOW}, Stop.ANSWER_LOST),
]


def why_not(**changes: Any) -> Stop | None:
    return stop.why_not(dataclasses.replace(FREE, **changes))


@pytest.mark.parametrize("resource", ["loan_draft", "repayment", "journal"])
def test_it_sends_when_nothing_is_against_it(resource: str) -> None:
    assert why_not(resource=resource) is None


@pytest.mark.parametrize(("against", "expected"), ALONE)
def test_each_reason_alone(against: dict[str, Any], expected: Stop) -> None:
    assert why_not(**against) is expected


def test_the_first_that_applies_is_named() -> None:
    for number, (against, expected) in enumerate(ALONE):
        everything_after = {name: value for later_one, _ in ALONE[number:] for name, value in later_one.items()}
        assert why_not(**everything_after) is expected
        assert why_not(**(everything_after | against)) is expected


@pytest.mark.parametrize(
    ("passes", "may_be_over", "held"),
    [(None, False, False), (None, True, False), (0, False, True), (0, True, False), (1, False, False)],
)
def test_a_hold_stops_unless_some_may_pass_or_its_fault_may_be_over(
    *, passes: int | None, may_be_over: bool, held: bool
) -> None:
    assert why_not(passes=passes, fault_may_be_over=may_be_over) is (Stop.HELD if held else None)


def test_only_positions_wait_for_the_window_and_only_drafts_for_the_list() -> None:
    assert why_not(resource="repayment", report_is_open=False) is Stop.WINDOW_CLOSED
    assert why_not(resource="repayment", list_is_known=False) is None
    for resource in ("loan_draft", "journal"):
        assert why_not(resource=resource, report_is_open=False) is None
    assert why_not(resource="journal", list_is_known=False) is None


@pytest.mark.parametrize(
    ("last_doubt", "last_harmless", "stops"),
    [
        (None, None, False),
        (None, NOW, False),
        (NOW, None, True),
        (NOW, later(-1), True),
        (NOW, NOW, True),
        (NOW, later(0.000001), False),
    ],
)
def test_after_a_lost_answer_something_harmless_must_succeed_first(
    *, last_doubt: Any, last_harmless: Any, stops: bool
) -> None:
    expected = Stop.ANSWER_LOST if stops else None
    assert why_not(last_doubt=last_doubt, last_harmless=last_harmless) is expected


@pytest.mark.parametrize(("doubts", "size"), [(0, 20), (1, 1), (2, 1)])
def test_one_goes_alone_while_answers_were_lost(doubts: int, size: int) -> None:
    assert stop.at_once(20, doubts=doubts) == size


@pytest.mark.parametrize(
    ("outcome", "doubts", "refusals", "reason"),
    [
        ("in_doubt", 2, 10, None),
        ("in_doubt", 3, 0, "many_in_doubt"),
        ("in_doubt", 4, 0, "many_in_doubt"),
        ("refused", 3, 9, None),
        ("refused", 0, 10, "many_refusals"),
        ("refused", 0, 11, "many_refusals"),
        ("accepted", 9, 99, None),
        ("not_processed", 9, 99, None),
    ],
)
def test_what_is_held_after_an_attempt(outcome: str, doubts: int, refusals: int, reason: str | None) -> None:
    assert stop.hold_after(outcome, doubts=doubts, refusals=refusals) == reason
