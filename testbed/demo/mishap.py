"""What goes wrong on purpose, and when: the reason why a relay exists at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kiva_relay.clock import Clock
from testbed.demo.event import Event
from testbed.kiva.control import Sandbox

_GOOD_ONES = 2


@dataclass(frozen=True)
class Mishap:
    """A fault of the stand-in, put in force when `at` (0 to 1) of the working time is over.

    `kills`: while Kiva is silent on this call, the relay is ended by kill -9.
    """

    at: float
    kind: str
    on: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    kills: bool = False


SCRIPT: tuple[Mishap, ...] = (
    # Kiva took it, and the answer was lost: never to be sent again.
    Mishap(0.0, "drop_after", "loan_draft"),
    # Cut off before Kiva had it: the relay cannot know, and must find out before it sends again.
    Mishap(0.05, "drop_before", "loan_draft"),
    Mishap(0.05, "drop_before", "repayments", {"after": 0}),
    Mishap(0.1, "drop_after", "repayments", {"after": 1}),
    Mishap(0.1, "status", "loan_draft", {"status": 503, "retry_after": "1"}),
    Mishap(0.2, "drop_after", "journals"),
    Mishap(0.35, "cut_answer", "loan_draft"),
    Mishap(0.5, "slow", "loan_draft", {"seconds": 4.0}, kills=True),
    Mishap(0.7, "drop_before", "repayments"),
    Mishap(0.7, "status", "journals", {"status": 503, "retry_after": "1"}),
)


class Script:
    """The mishaps still to come, and those under way. `kill` ends the relay and starts it again."""

    def __init__(self, sandbox: Sandbox, *, kill: Callable[[], None], clock: Clock) -> None:
        self._sandbox, self._kill, self._clock = sandbox, kill, clock
        self._to_come = list(SCRIPT)
        self._under_way: dict[int, Mishap] = {}
        self.kills = 0

    @property
    def over(self) -> bool:
        """Did everything that was to go wrong go wrong?"""
        return not self._to_come and not self._under_way

    def tick(self, share: float) -> list[Event]:
        """Look at the clock; `share` of the working time is over. Tells of a kill; the rest shows in the requests."""
        events = []
        for fault in self._sandbox.faults() if self._under_way else ():
            mishap = self._under_way.get(fault["number"])
            if mishap is not None and fault["fired"]:
                del self._under_way[fault["number"]]
                if mishap.kills:
                    text = "kill -9 of the relay while Kiva kept it waiting for an answer; started again at once"
                    events.append(Event(self._clock.now(), text, loud=True))
                    self._kill()
                    self.kills += 1
        busy = {mishap.on for mishap in self._under_way.values()}
        for mishap in list(self._to_come):
            if mishap.at <= share and mishap.on not in busy:
                busy.add(mishap.on)
                self._to_come.remove(mishap)
                fields = {"after": _GOOD_ONES, **mishap.fields}
                self._under_way[self._sandbox.fault(mishap.kind, on=mishap.on, **fields)] = mishap
        return events
