from __future__ import annotations

import random
import threading
from typing import Any, cast

from testbed.torture import judge, run


class Kiva:
    """It takes faults, and nobody calls it."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def fault(self, **given: Any) -> int:
        self.given.append({**given, "number": len(self.given) + 1, "fired": 0})
        return len(self.given)

    def faults(self) -> list[dict[str, Any]]:
        return self.given

    def clear_faults(self, number: int) -> None:
        self.given = [one for one in self.given if one["number"] != number]


class Stage:
    def __init__(self) -> None:
        self.kiva = Kiva()


def test_faults_do_not_pile_up_before_a_relay_that_asks_seldom() -> None:
    """Without an end of it, a relay that backs off meets more than one new fault whenever it asks, and never gets on."""
    stage, over = Stage(), threading.Event()
    over.set()
    for _ in range(300):
        run._one_fault(cast(run.Stage, stage), random.Random(7), judge.Figures(), over)
    waiting = [one for one in stage.kiva.given if one["fired"] == 0]
    assert 1 < len(waiting) <= 5
    waiting[0]["fired"] = 1
    for _ in range(30):
        run._one_fault(cast(run.Stage, stage), random.Random(7), judge.Figures(), over)
    assert len(stage.kiva.given) == len(waiting) + 1, "what one met makes room"
