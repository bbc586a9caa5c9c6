"""Histories through the end of a window: a close, undecided loans, late sending. Each rule taken out goes wrong."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kiva_relay.delivery import courier
from kiva_relay.outbox import decision, query, report, store
from testbed.simulation import month_end
from testbed.simulation.workshop import Workshop, workshop

EVERYDAY, LONG, SEEDS, AT_ONCE = 10, 60, 200, 10
MOST_SEEDS = 150

QUIET = dataclasses.replace(month_end.any_mood(random.Random(1)), trouble=0.0, kills=0, switch=0.15)
AT_THE_CLOSE = {"courier": 8, "capture": 12, "refresher": 1, "institution": 2, "reporter": 12, "time": 2}
"""Who is quick: what is in doubt as the report closes is so for a quarter of an hour."""
LOST = dataclasses.replace(QUIET, trouble=0.9, faults={"answer lost": 1}, actors=AT_THE_CLOSE, steps=25)


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with workshop() as opened:
        yield opened


def _seeds() -> Iterator[Any]:
    for first in range(0, SEEDS, AT_ONCE):
        marks = [pytest.mark.long] if first >= EVERYDAY else []
        yield pytest.param(first, marks=[*marks, pytest.mark.night] if first >= LONG else marks)


@pytest.mark.parametrize("first", list(_seeds()))
def test_a_window_ends_well_in_every_history(first: int, shop: Workshop) -> None:
    for seed in range(first, first + AT_ONCE):
        wrong = month_end.tried(seed, shop)
        assert wrong is None, f"seed {seed}\n" + "\n".join(wrong.steps)


def sends_all_that_is_due(patch: pytest.MonkeyPatch) -> None:
    """After a report has closed, its other positions go too."""
    due = query.due
    patch.setattr(query, "due", lambda tx, resource, **more: due(tx, resource, **(more | {"origin": None})))
    patch.setattr(courier.Courier, "_takes_late", lambda *_args: True)


def goes_on_after_it_was_finalised(patch: pytest.MonkeyPatch) -> None:
    """What was sent late goes although the report was finalised meanwhile."""
    patch.setattr(report.Report, "takes_late", property(lambda self: self.closed_at is not None))


def sends_what_nobody_saw(patch: pytest.MonkeyPatch) -> None:
    """A decision holds whatever the amount is by now."""
    patch.setattr(decision.Decision, "binds", lambda *_args: True)


def leaves_what_is_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """What is in doubt as its report closes is not sent once more."""
    patch.setattr(store, "LATE", "nothing")


RULES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Any]] = {
    "late alone": (sends_all_that_is_due, QUIET),
    "finalised": (goes_on_after_it_was_finalised, QUIET),
    "a decision binds": (sends_what_nobody_saw, QUIET),
    "late goes behind": (leaves_what_is_in_doubt, LOST),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", RULES)
def test_a_window_ends_badly_without(rule: str, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, mood = RULES[rule]
    breaks(monkeypatch)
    found = next((wrong for seed in range(MOST_SEEDS) if (wrong := month_end.tried(seed, shop, mood=mood))), None)
    assert found is not None, f"{MOST_SEEDS} histories went well although: {breaks.__doc__}"
    print(f"seed {found.seed}:\n" + "\n".join(found.steps))  # noqa: T201 - `pytest -rP` shows the history
