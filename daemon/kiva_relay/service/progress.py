"""How far the loops have got: each takes turns, and a turn is made of steps. The watchdog is fed by it."""

from __future__ import annotations

from collections.abc import Callable

from kiva_relay.clock import Clock


class Progress:
    """When each loop took its last step. `at` is called with the name of each step; tests end the process there."""

    def __init__(self, *, clock: Clock, at: Callable[[str], None]) -> None:
        self.at = at
        self._clock = clock
        self._steps: dict[str, float] = {}

    def step(self, loop: str) -> None:
        """A loop has begun a turn, or got on in it."""
        self._steps[loop] = self._clock.monotonic()

    def rest(self, loop: str) -> None:
        """A loop has ended its turn and waits, which cannot hang."""
        self._steps.pop(loop, None)

    def steps(self, loop: str) -> Callable[[str], None]:
        """What a loop calls at each boundary between two steps of its work."""

        def taken(step: str) -> None:
            self.step(loop)
            self.at(step)

        return taken

    def rests(self, loop: str) -> bool:
        """Does a loop wait for its next turn, or has it not begun yet?"""
        return loop not in self._steps

    def hanging(self, loop: str) -> float:
        """For how many seconds a loop has been in one step; 0 while it waits."""
        began = self._steps.get(loop)
        return 0.0 if began is None else self._clock.monotonic() - began
