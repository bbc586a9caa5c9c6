"""Histories of the real relay under the dice. A seed that goes wrong is told by: make simulate SEED=…"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.simulation import run
from testbed.simulation.workshop import Workshop, workshop

EVERYDAY = 20
SEEDS = 400
AT_ONCE = 20


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as opened:
        yield opened


def _seeds() -> Iterator[Any]:
    for first in range(0, SEEDS, AT_ONCE):
        yield pytest.param(first, marks=[pytest.mark.long] if first >= EVERYDAY else [])


@pytest.mark.parametrize("first", list(_seeds()))
def test_the_promise_is_kept_in_every_history(first: int, shop: Workshop) -> None:
    for seed in range(first, first + AT_ONCE):
        wrong = run.tried(seed, shop)
        assert wrong is None, f"make simulate SEED={seed}\n" + "\n".join(wrong.steps)


def test_a_seed_tells_the_same_history_twice(shop: Workshop) -> None:
    told = []
    for _ in range(2):
        history = run.History(7, shop)
        history.run()
        history.end()
        told.append((history.steps, history.kiva.ledger))
    assert told[0] == told[1]
