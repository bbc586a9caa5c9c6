"""Courier and refresher against a Kiva that garbles its answers, on real sockets: a little of `make fuzz` every day."""

from __future__ import annotations

from testbed.fuzz.relay import Siege


def test_nothing_ends_a_turn_nothing_is_invented_and_nothing_is_lost() -> None:
    siege = Siege(number=6, seed=3)
    siege.run()
    assert siege.wrong == []
    assert sum(siege.states.values()) >= 18
