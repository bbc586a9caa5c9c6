"""How long the MIS is left alone."""

from __future__ import annotations

import pytest

from kiva_relay.capture.pace import Pace
from testbed.rig.capturing import StandingClock


def test_what_was_saved_up_may_be_taken_at_once_and_then_it_is_the_share() -> None:
    clock = StandingClock()
    pace = Pace(0.05, saved_for=20, clock=clock)
    pace.spent(1.0)
    assert pace.wait() == 0
    pace.spent(0.5)
    assert pace.wait() == pytest.approx(10)
    clock.pass_(4)
    assert pace.wait() == pytest.approx(6)
    clock.pass_(6)
    assert pace.wait() == 0
    pace.spent(0.1)
    assert pace.wait() == pytest.approx(2)


def test_no_more_is_saved_up_than_for_a_while() -> None:
    clock = StandingClock()
    pace = Pace(0.5, saved_for=10, clock=clock)
    clock.pass_(1000)
    pace.spent(6.0)
    assert pace.wait() == pytest.approx(2)


def test_time_passes_while_it_is_spent() -> None:
    clock = StandingClock()
    pace = Pace(0.5, saved_for=10, clock=clock)
    pace.spent(5.0)
    clock.pass_(4)
    pace.spent(3.0)
    assert pace.wait() == pytest.approx(2)
