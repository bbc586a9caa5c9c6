from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any, cast

from kiva_relay.outbox import hold
from kiva_relay.outbox.database import Outbox
from testbed.rig import outboxes, scripted_kiva
from testbed.rig.patience import eventually
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


class Branch:
    def work(self) -> None:
        """Nothing changes."""


class Stage:
    seed = 1
    looks_after: tuple[str, ...] = ()
    branch = Branch()

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.kiva, self.outbox = Kiva(), outbox


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


def test_while_the_weather_lasts_a_person_sees_to_what_void_tokens_hold(tmp_path: Path) -> None:
    """A second one holds a resource for five minutes: under load that is longer than anybody waits for a draft."""
    outbox = outboxes.on_file(tmp_path)
    stage = cast(run.Stage, Stage(outbox))

    def held() -> list[str]:
        with outbox.read() as tx:
            return [one.what for one in hold.in_force(tx)]

    with outbox.begin() as tx:
        hold.put(tx, "journal", "destination_fault", now=scripted_kiva.clock().now())
    assert (run._release(stage), held()) == (0, ["journal"]), "at the end it must go by itself"
    figures = judge.Figures()
    with run.weather(stage, figures, rate=20.0):
        eventually(lambda: not held())
    assert figures.released == 1
    outbox.close()
