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

from kiva_relay.clock import Clock, SystemClock
from kiva_relay.demo import judge, stage
from kiva_relay.demo.coordinator import Coordinator
from kiva_relay.demo.mishap import Script
from kiva_relay.demo.screen import Ending, Screen
from kiva_relay.demo.shift import Shift
from kiva_relay.demo.stage import Stage
from kiva_relay.demo.watch import Watch
from kiva_relay.outbox.state import State

_TICK = 0.1
_LOOK_EVERY = 0.3
_LONGER_AT_MOST = timedelta(seconds=45)
_SETTLES_WITHIN = timedelta(seconds=60)
_QUIET_FOR = timedelta(seconds=2)


@dataclass(frozen=True)
class Plan:
    """How the demo is to be: how long tellers work, how large the MIS is, whether it stays at the end."""

    work: timedelta = timedelta(seconds=30)
    clients: int = 3_000
    tellers: int = 3
    seed: int = 1
    keep: bool = False


class Play:
    """One run of it."""

    def __init__(self, plan: Plan, screen: Screen, *, clock: Clock | None = None) -> None:
        self._plan, self._screen = plan, screen
        self._clock = clock or SystemClock()
        self._ended = threading.Event()

    def run(self) -> int:
        """Everything; the exit code: 0 when the judge found nothing, else 1.

        Raises:
            RelayError: something did not start, or ended by itself.
            KeyboardInterrupt: somebody ended it; everything that was started is ended.
        """
        folder = Path(tempfile.mkdtemp(prefix="kiva-relay-demo-"))
        try:
            with _signals(), stage.set_up(folder, clients=self._plan.clients, seed=self._plan.seed) as scene:
                return self._on(scene)
        finally:
            self._screen.still()
            shutil.rmtree(folder, ignore_errors=True)

    def _on(self, scene: Stage) -> int:
        plan = self._plan
        counts = scene.book
        self._screen.say(
            f"  The MIS holds {counts['m_client']:,} clients, {counts['m_loan']:,} loans and"
            f" {counts['m_loan_transaction']:,} transactions. Kiva has {scene.seeded} of the loans already."
        )
        self._screen.say(f"  Everything is in {scene.folder}, on loopback. Ctrl-C ends it at any time.")
        self._screen.say()
        shift = Shift(
            scene.mis,
            tellers=plan.tellers,
            seed=plan.seed,
            today=scene.today,
            photos=scene.photos,
            chronicle=scene.chronicle,
            clock=self._clock,
        )
        script = Script(scene.sandbox, kill=scene.kill_relay)
        coordinator = Coordinator(scene.sandbox, clock=self._clock)
        with contextlib.closing(Watch(scene, shift)) as watch:
            scene.relay.start()
            began = self._clock.monotonic()
            try:
                shift.begin()
                self._work(scene, watch, script, coordinator)
            finally:
                shift.end()
            worked = timedelta(seconds=self._clock.monotonic() - began)
            scene.sandbox.clear_faults()
            self._settle(scene, watch, script, coordinator, worked)
            return self._judge(scene, watch, script, worked)

    def _work(self, scene: Stage, watch: Watch, script: Script, coordinator: Coordinator) -> None:
        """Tellers work and things go wrong, for the time asked; longer while a draft's doubt needs other drafts."""
        began = self._clock.monotonic()
        longest = self._plan.work + _LONGER_AT_MOST
        looked = 0.0
        while True:
            elapsed = timedelta(seconds=self._clock.monotonic() - began)
            over = elapsed >= self._plan.work and script.over and not watch.in_doubt("loan_draft")
            if over or elapsed >= longest:
                return
            scene.check()
            script.tick(elapsed / self._plan.work)
            coordinator.tick()
            if self._clock.monotonic() - looked >= _LOOK_EVERY:
                looked = self._clock.monotonic()
                self._show(watch, script, elapsed)
            self._clock.wait(self._ended, _TICK)

    def _settle(
        self, scene: Stage, watch: Watch, script: Script, coordinator: Coordinator, worked: timedelta
    ) -> None:
        """Wait until nothing moves any more, but not for ever: the judge sees what is left."""
        stopped_at, began = self._clock.now(), self._clock.monotonic()
        self._screen.say("  The tellers have gone home. What is under way is awaited, then everything is compared.")
        quiet_since: float | None = None
        while self._clock.monotonic() - began < _SETTLES_WITHIN.total_seconds():
            scene.check()
            coordinator.tick()
            self._show(watch, script, worked)
            now = self._clock.monotonic()
            quiet_since = (quiet_since or now) if watch.quiet(stopped_at) else None
            if quiet_since is not None and now - quiet_since >= _QUIET_FOR.total_seconds():
                return
            self._clock.wait(self._ended, _LOOK_EVERY)

    def _show(self, watch: Watch, script: Script, elapsed: timedelta) -> None:
        view, events = watch.look()
        self._screen.show(view, events, elapsed=elapsed, kills=script.kills)

    def _judge(self, scene: Stage, watch: Watch, script: Script, worked: timedelta) -> int:
        case = watch.case()
        verdict = judge.judge(case)
        doubted = [one for one in case.entries if one.id in case.doubted and one.resource == "loan_draft"]
        ending = Ending(
            work=worked,
            internal_notes=case.owed.internal_notes,
            faults=watch.cut_off(),
            found=sum(1 for one in doubted if one.state is State.DELIVERED and one.evidence != "receipt"),
            sent_again=sum(1 for one in doubted if one.evidence == "receipt"),
            kills=script.kills,
            config=scene.settings.file,
            kept=self._plan.keep,
        )
        self._screen.last(verdict, ending)
        if self._plan.keep:
            self._stay(scene)
        return 0 if verdict.good else 1

    def _stay(self, scene: Stage) -> None:
        """Everything but the tellers runs on until somebody ends it."""
        self._screen.say(f"Ctrl-C ends it and removes {scene.folder}")
        with contextlib.suppress(KeyboardInterrupt):
            while not self._clock.wait(self._ended, 1):
                scene.check()


def play(plan: Plan, stream: TextIO) -> int:
    """Run the demo and print it to `stream`; the exit code."""
    return Play(plan, Screen(stream)).run()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """An end by SIGTERM, or by a closed terminal, is an end by Ctrl-C: everything that was started is ended."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
