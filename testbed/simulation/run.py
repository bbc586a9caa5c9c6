"""The relay under a scheduler: the real outbox, capture, courier and refresher, and a world that the dice rule.

Everything happens in one thread. Wherever the relay lets go of the outbox or waits for somebody (`pause`), another
loop of it, the institution, Kiva or a person may act, an hour may pass, or the process may end; then all that was in
memory is built anew from the outbox. One seed is one history: the same seed, the same history.

    python -m testbed.simulation.run --seed 17        tells that history, and what is wrong with it
    python -m testbed.simulation.run --seeds 5000     tries so many
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.capture.cycle import Capture
from kiva_relay.clock import SteadyClock
from kiva_relay.delivery import breaker, start
from kiva_relay.delivery.context import DeliveryContext
from kiva_relay.delivery.courier import Courier
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.delivery.refresher import Refresher
from kiva_relay.delivery.token import Tokens
from kiva_relay.outbox import binding, clock_step, store
from kiva_relay.outbox.lease import Lease
from kiva_relay.outbox.witness import Witness
from testbed.rig.outboxes import NOW
from testbed.simulation import judge, person
from testbed.simulation.kiva import FAULTS, FakeKiva
from testbed.simulation.mis import SimulatedMis
from testbed.simulation.workshop import Workshop, workshop

STEPS = 20
FOCUS = (("loan_draft",), ("repayment",), ("journal",), ("loan_draft", "repayment", "journal"))
ACTORS = {"courier": 8, "capture": 7, "refresher": 3, "institution": 6, "coordinator": 2, "person": 2, "time": 5}
NEW_MONTH = datetime(2026, 11, 30, 23, 20, tzinfo=UTC)
"""Soon it is December, where the MIS is: a report closes, and the next one opens."""
_DEEPEST = 3
_OFF = (timedelta(days=6), timedelta(days=-6), timedelta(minutes=20), timedelta(minutes=-20))
_MOMENTS_OF_TRUTH = ("claimed", "testified", "answered", "settled", "read", "captured", "listed")


class Killed(BaseException):
    """kill -9, at this point."""


class FakeClock:
    """It moves when somebody asks, and when the world says so. `moment` is the world's; the relay's is `off` by more."""

    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = self._began = moment
        self.off = timedelta(0)

    def now(self) -> datetime:
        """No two moments are the same."""
        self.moment += timedelta(milliseconds=1)
        return self.moment + self.off

    def world(self) -> datetime:
        """The world's hour."""
        return self.now() - self.off

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        self.moment += timedelta(milliseconds=1)
        return (self.moment - self._began).total_seconds()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Nobody waits here: the time passes."""
        self.moment += timedelta(seconds=seconds)
        return event.is_set()


@dataclass
class Mood:
    """What kind of a world the dice have chosen for this seed."""

    trouble: float
    kills: int
    drafts_visible: bool
    lag: timedelta
    switch: float
    resources: tuple[str, ...]
    faults: Mapping[str, int] = field(default_factory=lambda: FAULTS)
    steps: int = STEPS
    actors: Mapping[str, int] = field(default_factory=lambda: ACTORS)
    loans: int = 2
    starts: datetime = NOW
    sets_clock: bool = False
    unreadable: float = 0.0


def any_mood(dice: random.Random) -> Mood:
    """Some world or other."""
    return Mood(
        trouble=dice.choice([0.1, 0.3, 0.6]),
        kills=dice.choice([0, 1, 3]),
        drafts_visible=dice.random() < 0.6,
        lag=timedelta(minutes=dice.choice([0, 0, 5, 40])),
        switch=dice.choice([0.05, 0.15]),
        resources=dice.choices(FOCUS, [5, 4, 1, 1])[0],
        starts=dice.choice([NOW, NOW, NEW_MONTH]),
        sets_clock=dice.random() < 0.25,
        unreadable=dice.choice([0.0, 0.0, 0.0, 0.2]),
    )


@dataclass
class History:
    """One history. `steps` is told when it went wrong."""

    seed: int
    shop: Workshop
    chosen: Mood | None = None
    steps: list[str] = field(default_factory=list)
    kills: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        dice = self.dice
        self.mood = mood = self.chosen or any_mood(dice)
        self.settings = self.shop.settings.model_copy(update={"resources": list(mood.resources)})
        self.kills_left = self.mood.kills
        self.clock, self.mis = FakeClock(mood.starts), SimulatedMis(dice, mood.resources)
        self.kiva = FakeKiva(
            dice, self.clock.world, self.pause, self.tell, mood.trouble, mood.drafts_visible, mood.lag, mood.faults,
            unreadable=mood.unreadable,
        )  # fmt: skip
        self.busy: list[str] = []
        self.calm = False
        self._read_to = -1
        self.lease: Lease | None = None
        self.witness: Witness | None = None
        self.shop.emptied()
        self.shop.outbox.pause, self.shop.outbox.shake = self.pause, self.shake
        self.outbox = self.shop.outbox
        self.loops: dict[str, Callable[[], Any]] = {}
        self.person = person.Person(self)

    # ---------------------------------------------------------------- the scheduler

    def run(self) -> list[str]:
        """Live through it; what is wrong with it in the end, nothing as a rule."""
        for _ in range(self.dice.randint(1, self.mood.loans)):
            key = self.mis.open_loan()
            if self.dice.random() < 0.4 or "loan_draft" not in self.settings.resources:
                self.kiva.add(f"L{key}", "payingBack", listed_from=self.clock.now())
        self._alive(self.begin)
        for who in ("refresher", "capture") if self.dice.random() < 0.8 else ():
            self._alive(partial(self._alone, who))
        for _ in range(self.mood.steps):
            self._alive(self.step)
        self.calm = True
        self.kiva.trouble = self.kiva.unreadable = 0
        self.mis.mend()
        self.clock.off = timedelta(0)
        self._alive(self.keep_time)
        self.person.patience = 0
        for rounds in range(30):
            before = judge.picture(self)
            if rounds and before.at_rest and not self.kiva.under_way() and self._read_to == self.mis.commit:
                break
            self.clock.moment += timedelta(days=1) if before.to_repeat else timedelta(minutes=20)
            self.kiva.arrive()
            self._read_to = self.mis.commit
            for act in (*self.loops.values(), self.person.settle_all):
                self._alive(act)
            released, self.person.released = self.person.released, False
            if judge.picture(self) == before and not released and not self.kiva.under_way():
                break
        else:
            return ["it does not come to rest"]
        return judge.wrongs(self)

    def step(self) -> None:
        """Somebody does the next thing."""
        actors = {**self.mood.actors, "clock": 2} if self.mood.sets_clock else self.mood.actors
        free = {who: weight for who, weight in actors.items() if who not in self.busy}
        who = self.dice.choices([*free], [*free.values()])[0]
        if who == "capture" and self.mis.commit == self._read_to and self.dice.random() < 0.8:
            who = "time"  # nothing is new: its cycle would only cost time
        self._alone(who)

    def _alone(self, who: str) -> None:
        """Let somebody act, of whom there is one: a loop of the relay is one thread, and does not begin within itself."""
        self.busy.append(who)
        try:
            self._act(who)
        finally:
            if who in self.busy:  # a kill has ended everybody
                self.busy.remove(who)

    def pause(self, where: str) -> None:
        """Others may act here, and the process may end here."""
        self.shake(where)
        if not self.calm and len(self.busy) <= _DEEPEST and self.dice.random() < self.mood.switch:
            self.tell(f"… {where}; meanwhile:")
            self.step()

    def shake(self, where: str) -> None:
        """The process may end here."""
        chance = 0.08 if where in _MOMENTS_OF_TRUTH or where.startswith(("request", "Kiva")) else 0.005
        if not self.calm and self.kills_left and self.busy and self.dice.random() < chance:
            self.kills_left -= 1
            self.kills += 1
            raise Killed(where)

    def tell(self, sentence: str) -> None:
        """Remember a step of the history."""
        self.steps.append(f"{self.clock.moment:%H:%M:%S}  {'    ' * max(len(self.busy) - 1, 0)}{sentence}")

    def keep_time(self) -> None:
        """Follow the machine's clock when somebody set it, as the main thread does, and keep the hour at Kiva."""
        clock_step.follow(self.outbox, self.hour, boot="one")
        with self.outbox.begin() as tx:
            self.kiva_time.keep(tx)

    def _act(self, who: str) -> None:
        if who == "institution":
            self.tell(self.mis.work())
        elif who == "coordinator":
            self.person.publishes()
        elif who == "person":
            self.person.settles()
        elif who == "clock":
            self.clock.off = self.dice.choice([timedelta(0), *_OFF])
            self.tell(f"somebody sets the clock of the machine; it is off by {self.clock.off}")
            if self.loops:
                self.keep_time()
        elif who == "time":
            self.clock.moment += timedelta(seconds=self.dice.choice([1, 20, 120, 700, 1200]))
            self.kiva.arrive()
            self.tell("time passes")
        elif who in self.loops:
            self.tell(f"{who}: begins")
            self._read_to = self.mis.commit if who == "capture" else self._read_to
            with self._tolerant():
                self.loops[who]()
            self.tell(f"{who}: is done")

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """What the daemon's loops live with."""
        try:
            yield
        except store.Overtaken as error:
            self.tell(f"overtaken: {error}")
        except errors.Unreachable as error:
            self.tell(f"not reached: {error}")

    def _alive(self, act: Callable[[], Any]) -> None:
        """Do it; when the process ends in its middle, start the relay again, however often."""
        while True:
            try:
                with self._tolerant():
                    act()
            except Killed as killed:
                self.busy = []
                self.tell(f"kill -9: {killed}")
                act = self.begin
            else:
                return

    # ---------------------------------------------------------------- the relay

    def end(self) -> None:
        """The process is gone; the kernel closes its files."""
        self.loops = {}
        if self.lease is not None and self.lease._lock is not None:
            self.lease._lock.close()
        if self.witness is not None:
            self.witness.close()
            self.witness = None
        self.outbox.guard = None

    def begin(self) -> None:
        """A new process: the lease, the recovery, three loops; from nothing but the outbox and the witness."""
        self.end()
        clock = self.hour = SteadyClock(self.clock)
        self.lease = Lease(self.outbox, clock=clock)
        self.busy.append("start")
        settings, kiva = self.settings, self.settings.kiva
        self.lease.acquire()
        with self.outbox.begin() as tx:
            binding.bind_destination(tx, settings)
        self.witness = Witness(settings.outbox.witness, api_url=kiva.api_url, partner_id=kiva.partner_id)
        client: Any = self.kiva
        with self.outbox.begin() as tx:
            clock_step.recall(tx, clock, boot="one")
        self.kiva_time = KivaTime(clock, boot="one")
        self.kiva.heard = self.kiva_time.hear
        with self.outbox.begin() as tx:
            self.kiva_time.recall(tx)
            self.kiva_time.keep(tx)
        context = DeliveryContext(
            outbox=self.outbox,
            settings=settings,
            clock=clock,
            client=client,
            tokens=Tokens(client, kiva, clock=clock),
            destination=breaker.Destination(clock=clock, dice=self.dice),
            lease=self.lease,
            witness=self.witness,
            started=clock.monotonic(),
            kiva_time=self.kiva_time,
        )
        start.recover(context)
        stop = threading.Event()
        mis: Any = self.mis
        capture = Capture(
            outbox=self.outbox,
            settings=settings,
            clock=clock,
            mis=mis,
            documents=[each for each in self.shop.documents if each.resource in settings.resources],
            stop=stop,
            at=self.pause,
            at_kiva=context.at_kiva,
            earliest=self.kiva_time.earliest,
        )
        self.loops = {
            "refresher": Refresher(context, at=self.pause).look,
            "capture": capture.cycle,
            "courier": Courier(context, stop=stop, at=self.pause).deliver,
        }
        self.busy.remove("start")
        self.tell("a relay runs")


def tried(
    seed: int,
    shop: Workshop,
    *,
    mood: Mood | None = None,
    kind: Callable[[int, Workshop, Mood | None], History] | None = None,
) -> History | None:
    """Live through one seed, of histories of a kind; the history when it went wrong."""
    history = (kind or History)(seed, shop, mood)
    try:
        wrongs = history.run()
    except (sa.exc.IntegrityError, errors.IllegalMove) as error:
        wrongs = [f"the outbox refuses what the relay does: {str(error).splitlines()[0]}"]
    finally:
        history.end()
    if not wrongs:
        return None
    history.steps += ["", *(f"WRONG: {wrong}" for wrong in wrongs)]
    return history


def tell(seed: int) -> int:
    """Tell one history from its beginning to its end; 1 when it went wrong."""
    with workshop() as shop:
        history = History(seed, shop)
        try:
            wrongs = history.run()
        finally:
            history.end()
    verdict = [f"WRONG: {wrong}" for wrong in wrongs] or ["nothing is wrong with it"]
    sys.stdout.write("\n".join([f"seed {seed}: {history.mood}", *history.steps, *verdict, ""]))
    return 1 if wrongs else 0


def went_wrong(seeds: range) -> list[int]:
    """The seeds whose histories went wrong."""
    with workshop() as shop:
        return [seed for seed in seeds if tried(seed, shop) is not None]


def main() -> int:
    """As a command."""
    parser = argparse.ArgumentParser(description="Lives through simulated histories of the relay.")
    parser.add_argument("--seed", type=int, help="tell this one")
    parser.add_argument("--seeds", type=int, default=3000, help="try so many")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    asked = parser.parse_args()
    if asked.seed is not None:
        return tell(asked.seed)
    began, step = time.monotonic(), 50
    last = asked.first + asked.seeds
    parts = [range(start, min(start + step, last)) for start in range(asked.first, last, step)]
    wrong: list[int] = []
    with multiprocessing.Pool() as pool:
        for done, found in enumerate(pool.imap_unordered(went_wrong, parts), 1):
            wrong += found
            if found:
                sys.stdout.writelines(f"seed {seed} went wrong:  make simulate SEED={seed}\n" for seed in found)
            tried_so_far, seconds = min(done * step, asked.seeds), time.monotonic() - began
            sys.stderr.write(f"\r{tried_so_far} of {asked.seeds} histories, {tried_so_far / seconds:.1f} a second")
    sys.stdout.write(f"\n{asked.seeds} histories, {len(wrong)} went wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
