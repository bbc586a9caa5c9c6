"""The demo from its first line to its last: start, work, go wrong, settle, judge."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TextIO

from kiva_relay.clock import Clock
from kiva_relay.outbox.state import State
from testbed.demo import morning, stage
from testbed.demo.coordinator import Coordinator
from testbed.demo.event import Event
from testbed.demo.mishap import Script
from testbed.demo.screen import LastScreen, Screen
from testbed.demo.stage import Stage
from testbed.demo.watch import Watch
from testbed.institution.shift import Shift
from testbed.judge import judge
from testbed.rig import patience

_TICK = 0.2
_LOOK_EVERY = 0.4
_LONGER_AT_MOST = timedelta(seconds=120)
_SETTLES_WITHIN = timedelta(seconds=90)
_QUIET_FOR = timedelta(seconds=2)
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Plan:
    """How the demo is to be: how long tellers work, how large the MIS is, whether it stays at the end."""

    work: timedelta = timedelta(seconds=30)
    clients: int = 3_000
    tellers: int = 3
    seed: int = 1
    keep: bool = False


def play(plan: Plan, stream: TextIO, *, clock: Clock | None = None) -> int:
    """Run the demo and print it to `stream`.

    Returns:
        The exit code: 0 when the judge found nothing, else 1.

    Raises:
        RelayError: something did not start, or ended by itself.
        KeyboardInterrupt: somebody ended it; everything that was started is ended.
    """
    screen = Screen(stream)
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-demo-"))
    try:
        with _signals(), stage.set_up(folder, clients=plan.clients, seed=plan.seed, clock=clock) as scene:
            try:
                return Play(plan, screen, scene).run()
            finally:
                _be_deaf()
    finally:
        screen.still()
        shutil.rmtree(folder, ignore_errors=True)


class Play:
    """One run, on a stage that is set up."""

    def __init__(self, plan: Plan, screen: Screen, scene: Stage) -> None:
        self._plan, self._screen, self._scene, self._clock = plan, screen, scene, scene.clock
        self._script = Script(scene.sandbox, kill=scene.kill_relay, clock=scene.clock)
        self._coordinator = Coordinator(scene.sandbox, clock=scene.clock)
        self._shift = Shift(
            scene.mis,
            tellers=plan.tellers,
            seed=plan.seed,
            today=scene.today,
            photos=scene.photos,
            history=scene.history,
            clock=scene.clock,
        )
        self._watch = Watch(scene, self._shift)
        self._events: list[Event] = []
        self._elapsed = timedelta(0)

    def run(self) -> int:
        """Everything, and the exit code."""
        self._announce()
        with contextlib.closing(self._watch):
            self._scene.relay.start()
            try:
                self._shift.begin()
                self._work()
            finally:
                self._shift.end()
            self._scene.sandbox.clear_faults()
            self._settle()
            return self._judge()

    def _announce(self) -> None:
        scene, rows = self._scene, self._scene.book
        loans, money = f"{rows['m_loan']:,} loans", f"{rows['m_loan_transaction']:,} transactions"
        self._screen.say(f"  The MIS holds {rows['m_client']:,} clients, {loans} and {money}.")
        self._screen.say(
            f"  Kiva has {scene.seeded} of the loans already. Drafts and notes since {scene.since} are ours."
        )
        self._screen.say(f"  Everything is on loopback, in {scene.folder}. Ctrl-C ends it at any time.")
        self._screen.say()

    def _work(self) -> None:
        """Tellers work and things go wrong, for the time asked; longer while a draft's doubt needs other drafts."""
        began, looked = self._clock.monotonic(), 0.0
        while True:
            now = self._clock.monotonic()
            self._elapsed = timedelta(seconds=now - began)
            over = self._script.over and not self._watch.in_doubt("loan_draft")
            if self._elapsed >= self._plan.work + (timedelta(0) if over else _LONGER_AT_MOST):
                return
            self._scene.check()
            self._events += self._script.tick(self._elapsed / self._plan.work)
            self._coordinator.tick()
            if now - looked >= _LOOK_EVERY:
                looked = now
                self._show()
            self._pause(_TICK)

    def _settle(self) -> None:
        """Wait until nothing moves any more, but not for ever: the judge sees what is left."""
        stopped_at, began = self._clock.now(), self._clock.monotonic()
        self._screen.say("  The tellers have gone home. What is under way is awaited, then everything is compared.")
        quiet_since: float | None = None
        while self._clock.monotonic() - began < patience.seconds(_SETTLES_WITHIN.total_seconds()):
            self._scene.check()
            # While a draft is in doubt others must lie in PA2 unpublished: they are the control of the proof.
            self._coordinator.tick(at_once=not self._watch.in_doubt("loan_draft"))
            self._show()
            now = self._clock.monotonic()
            quiet_since = (quiet_since or now) if self._watch.quiet(stopped_at) else None
            if quiet_since is not None and now - quiet_since >= _QUIET_FOR.total_seconds():
                return
            self._pause(_LOOK_EVERY)

    def _show(self) -> None:
        view, events = self._watch.look(published=self._coordinator.published, kills=self._script.kills)
        self._screen.show(view, [*self._events, *events], elapsed=self._elapsed)
        self._events = []

    def _judge(self) -> int:
        case = self._watch.case()
        verdict = judge.judge(case)
        if not self._script.over:
            verdict.add("different", "demo", "", "not all that was to go wrong went wrong: this machine was too busy")
        doubted = [one for one in case.entries if one.id in case.doubted and one.resource == "loan_draft"]
        ending = LastScreen(
            work=self._elapsed,
            internal_notes=case.owed.internal_notes,
            faults=self._watch.faults(),
            found=sum(1 for one in doubted if one.state is State.DELIVERED and one.evidence != "receipt"),
            kills=self._script.kills,
            config=self._scene.settings.file,
            kept=self._plan.keep,
        )
        self._screen.last(verdict, ending)
        if self._plan.keep:
            self._stay()
        return 0 if verdict.good else 1

    def _stay(self) -> None:
        """Everything but the tellers runs on, with the coordinator's page beside it, until somebody ends it."""
        with contextlib.suppress(KeyboardInterrupt), morning.opened(self._scene) as page:
            for line in page.lines:
                self._screen.say(line)
            self._screen.say(f"Ctrl-C ends it and removes {self._scene.folder}")
            while True:
                self._scene.check()
                self._pause(1)

    def _pause(self, seconds: float) -> None:
        self._clock.wait(threading.Event(), seconds)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """An end by SIGTERM, or by a closed terminal, is an end by Ctrl-C: everything that was started is ended."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _be_deaf() -> None:
    """A second Ctrl-C must not leave half of the processes behind; ending them takes seconds at most."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
