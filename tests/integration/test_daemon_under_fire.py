"""The real daemon against garbled answers, and a day with faults, both so short that they are tried with the long tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.fuzz.daemon import KINDS, DaemonSiege
from testbed.workload.faulty_day import DayFigures, FaultyDay, is_good

pytestmark = pytest.mark.long


def test_nothing_ends_the_daemon_nothing_is_invented_and_nothing_is_lost(tmp_path: Path) -> None:
    figures = DaemonSiege(number=5, seed=77, most=300).run(tmp_path)
    assert figures.wrong == []
    assert figures.answers == dict.fromkeys(KINDS, 5)


def test_a_day_on_which_a_tenth_of_the_calls_fail_leaves_nothing_but_doubts(tmp_path: Path) -> None:
    figures = FaultyDay(0.1, seconds=8).run(tmp_path / "day")
    assert figures.wrong == []
    assert figures.sent
    assert (figures.lost, figures.duplicated) == (0, 0)


def test_too_little_that_goes_through_is_no_good_day() -> None:
    full = DayFigures(0.0, sent=100, seconds=10)
    assert is_good([full, DayFigures(0.03, sent=81, seconds=10)])
    assert not is_good([full, DayFigures(0.03, sent=79, seconds=10)])
    assert not is_good([full, DayFigures(0.1, sent=90, seconds=10, wrong=["lost"])])
