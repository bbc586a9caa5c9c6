"""The promise, and a search through everything that can happen within the bounds of a case for a way to break it.

The search is breadth-first, so the trace that it shows is the shortest. It remembers of each world only a 64-bit
hash and where it came from: two worlds of a million would share one by chance once in 36 million runs.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from kiva_relay.outbox import state as machine
from kiva_relay.outbox.state import State
from testbed.model import others, relay
from testbed.model.world import BY_HAND, OURS, TAKEN_ARROWS, Arrow, Case, World, at_kiva

WITH_A_PERSON = frozenset({State.IN_DOUBT, State.REFUSED, State.DISCARDED})


@dataclass
class Found:
    """What the search found: how many worlds there are, and the shortest way to one in which the promise is broken."""

    worlds: int
    broken: str | None = None
    trace: list[str] = field(default_factory=list)
    arrows: frozenset[Arrow] = frozenset()

    def __str__(self) -> str:
        """The trace, a step a line."""
        lines = [f"{number:>3}  {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([self.broken or f"kept in all {self.worlds:,} worlds", *lines])


def broken(case: Case, world: World) -> str | None:
    """The part of the promise that this world breaks; None when it breaks none."""
    live = at_kiva(world)
    if case.create_once and len(live) > 1:
        return "the draft is at Kiva twice"
    if not case.create_once and [item.version for item in live] != sorted(item.version for item in live):
        return "an older position was applied after a newer one"
    if case.window and any(item.booked != item.period for item in live):
        return "a position was booked in the next report"
    for attempt in world.attempts:
        if attempt.wrong:
            return attempt.wrong
    return _records(case, world)


def _records(case: Case, world: World) -> str | None:
    flying = [entry for entry in world.entries if entry.state in machine.IN_FLIGHT]
    if len(flying) > 1:
        return "two versions are in flight"
    for number, entry in enumerate(world.entries):
        if entry.state is State.DELIVERED and not entry.warned and not _applied(case, world, number):
            return f"version {entry.version} is delivered and was never applied"
        if entry.waits_for is not None and entry.state is State.WAITING:
            older = world.entries[entry.waits_for]
            if older.state not in machine.IN_FLIGHT:
                return f"version {entry.version} waits for one that is {older.state}"
    if not case.create_once and any(times > 6 for times in _repeats(world).values()):
        return "a position was repeated more than six times in a period by itself"
    return None


def _repeats(world: World) -> Counter[int]:
    times: Counter[int] = Counter()
    for entry in world.entries:
        times[entry.period] += entry.repeats
    return times


def forgotten(case: Case, world: World) -> str | None:
    """What is still owed in a world in which nothing more happens by itself; None when nothing is."""
    content = case.contents[world.mis] if world.mis >= 0 else "gone"
    flying = [number for number, entry in enumerate(world.entries) if entry.state in machine.IN_FLIGHT]
    if not case.create_once and any(entry.waits_for in flying for entry in world.entries):
        return "a newer position waits behind one in doubt, and nothing ends that"
    if not case.create_once and any(world.entries[number].period != world.period for number in flying):
        return "a position of a closed report is still in doubt"
    on_record = any(
        entry.state in WITH_A_PERSON or entry.content == "unfinished" or entry.warned for entry in world.entries
    )
    exhausted = len(world.attempts) >= case.attempts and any(entry.state is State.READY for entry in world.entries)
    if content == "gone" or on_record or exhausted:
        return None
    if case.window and not world.is_open:
        return _late_forgotten(case, world, content)
    if content.startswith("?") and world.decided(content) is None:
        return None  # its line asks
    live = [item for item in world.ledger if item.what in (OURS, BY_HAND) and not item.deleted]
    if not live:
        return "the loan is not at Kiva, and nobody is asked"
    last = live[-1]
    if not case.create_once and case.contents[last.version] != content:
        return "the newest position is not the last that Kiva has, and nobody is asked"
    if not case.create_once and last.period != world.period:
        return "the position of this report is not at Kiva, and nobody is asked"
    return None


def _late_forgotten(case: Case, world: World, content: str) -> str | None:
    """Of a closed report each line keeps its reason; what a person sends late has to arrive, or to be said unknown."""
    decided = world.decided(content)
    if decided is None or not decided.late or world.finalised:
        return None
    if any(entry.late and entry.doubted and entry.period == world.period for entry in world.entries):
        return None
    live = [item for item in world.ledger if item.what == OURS]
    if live and (case.contents[live[-1].version], live[-1].period) == (content, world.period):
        return None
    return "what a person sends late is not at Kiva, and nobody is asked"


def _applied(case: Case, world: World, number: int) -> bool:
    if case.create_once:
        return any(item.what in (OURS, BY_HAND) and not item.deleted for item in world.ledger)
    mine = {n for n, attempt in enumerate(world.attempts) if attempt.entry == number}
    return any(item.attempt in mine for item in world.ledger)


def search(case: Case, *, most: int = 200_000) -> Found:
    """Try everything. Ends at the first broken promise, or when every world has been seen.

    Raises:
        IllegalMove: somebody made a move that the state machine does not have.
        MemoryError: there are more worlds than `most`.
    """
    TAKEN_ARROWS.clear()
    first = case.first()
    came: dict[int, tuple[int, str]] = {hash(first): (0, "")}
    queue = deque([first])
    while queue:
        world = queue.popleft()
        wrong = broken(case, world)
        if wrong is not None:
            return Found(len(came), wrong, _trace(came, world))
        here, moves = hash(world), False
        for label, after in (*relay.steps(case, world), *others.certain(case, world)):
            moves = moves or after != world
            _put(came, queue, after, here, label)
        if not moves and (missing := forgotten(case, world)) is not None:
            return Found(len(came), missing, _trace(came, world))
        for label, after in others.uncertain(case, world):
            _put(came, queue, after, here, label)
        if len(came) > most:
            raise MemoryError(f"more than {most:,} worlds: take the bounds in")
    return Found(len(came), arrows=frozenset(TAKEN_ARROWS))


def _put(came: dict[int, tuple[int, str]], queue: deque[World], world: World, origin: int, label: str) -> None:
    number = hash(world)
    if number not in came:
        came[number] = (origin, label)
        queue.append(world)


def _trace(came: dict[int, tuple[int, str]], world: World) -> list[str]:
    steps = []
    number = hash(world)
    while came[number][1]:
        number, label = came[number]
        steps.append(label)
    return steps[::-1]
