"""The model of the promise, first part: what there is. One loan, one outbox, the requests on their way, Kiva's ledger.

A state of the model is a `World`, small and immutable; a step is a name and the world after it. The moves of an
entry are `outbox/state.MOVES`: the model can make no other. Nothing here knows how the relay is programmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kiva_relay.outbox import state as machine
from kiva_relay.outbox.state import Actor, State

OURS, BY_HAND, CONTROL = "ours", "by hand", "control"
IDLE, CLAIMED, TESTIFIED, SENT, ANSWERED = "idle", "claimed", "testified", "sent", "answered"
NOWHERE, UNDER_WAY, CUT, VANISHED, TAKEN, JUDGED = "nowhere", "under way", "cut", "vanished", "taken", "judged"
WARNED = "warned"


class Entry(NamedTuple):
    """A version of what is owed for the loan. Its number is its place in `World.entries`: newer is higher.

    `warned`: Kiva took the call and named a problem of it, so that it is delivered and a person is asked. `late`: a person
    sends it although its report has closed.
    """

    content: str | None  # None: all that is known of it comes from the witness
    version: int  # of the loan in the MIS
    state: State
    waits_for: int | None = None
    attempt: int | None = None
    doubted: bool = False
    repeats: int = 0
    period: int = 0
    warned: bool = False
    late: bool = False


class Said(NamedTuple):
    """What a person decided: that this content goes for a report; `late` when it had closed."""

    content: str
    period: int
    late: bool


class Attempt(NamedTuple):
    """One request. `recorded` and `open` are what the outbox has of it; `wire` is the truth, which nobody knows.

    `settled_down`: `settle_after` has passed since it ended, so that it can no longer arrive.
    """

    entry: int
    version: int
    machine: int
    recorded: bool
    open: bool = True
    wire: str = NOWHERE
    settled_down: bool = False
    wrong: str = ""
    period: int = 0


class Relay(NamedTuple):
    """A process: which fence it holds, where its courier stands, what its capture has read, when its look began."""

    fence: int
    machine: int
    at: str = IDLE
    attempt: int | None = None
    answer: str | None = None
    read: int | None = None
    look: Look | None = None
    last_write: bool = False


class Look(NamedTuple):
    """What was known when a reading of Kiva's list began: attempts begun, and those that can no longer arrive."""

    begun: int
    settled_down: int


class Item(NamedTuple):
    """Something that Kiva has: ours (from which attempt), the same loan typed by hand, or another draft of ours.

    `period` is the report that it is of, `booked` the one in which Kiva got it.
    """

    what: str
    attempt: int | None = None
    known_after: Look | None = None
    version: int = -1
    deleted: bool = False
    published: bool = False
    period: int = 0
    booked: int = 0


class Mirror(NamedTuple):
    """The last complete reading: when it began, how much it listed, since when the loan, and which other drafts."""

    look: Look
    listed: int
    first_seen: Look | None
    controls: tuple[Look, ...]


class Copy(NamedTuple):
    """A backup of the outbox."""

    entries: tuple[Entry, ...]
    attempts: tuple[Attempt, ...]
    captured: int
    mirror: Mirror | None


class World(NamedTuple):
    """Everything. `mis` and `captured` count versions of the loan's content, from 0; -1 is before the first.

    `period` counts reports of positions: when it moves, the one before is closed, and all is owed anew. In a case with a
    window it closes (`is_open`) some time before, and may be `finalised`; `said` is what a person decided, oldest first.
    """

    mis: int = -1
    captured: int = -1
    entries: tuple[Entry, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    relays: tuple[Relay, ...] = ()
    fence: int = 0
    witness: frozenset[tuple[int, int]] = frozenset()
    ledger: tuple[Item, ...] = ()
    mirror: Mirror | None = None
    backup: Copy | None = None
    period: int = 0
    is_open: bool = True
    finalised: bool = False
    said: tuple[Said, ...] = ()
    left: tuple[int, ...] = ()

    def decided(self, content: str, *, binds: bool = True) -> Said | None:
        """What a person decided last for the report of now, if it holds for this content."""
        newest = next((one for one in reversed(self.said) if one.period == self.period), None)
        return newest if newest is not None and (newest.content == content or not binds) else None

    @property
    def takes_late(self) -> bool:
        """Is the report closed, and not finalised?"""
        return not self.is_open and not self.finalised


EVENTS = (
    "crash", "takeover", "cut", "lost request", "judged", "warned", "control", "by hand", "person", "backup", "publish",
    "month", "close", "decide", "late", "finalise",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The bounds within which everything is tried.

    `contents` are the loan's versions in the MIS: a body, `unfinished` (its `when:` is not met), `refused` (it cannot
    be mapped), `gone` (out of scope), or a body with a `?` in front: a person has to decide about it first.
    `events` says how often each thing that nobody wishes for may happen. `without` is the rule that is left out.
    """

    resource: str = "loan_draft"
    contents: tuple[str, ...] = ("a", "b")
    visible: bool = True
    machines: int = 1
    attempts: int = 2
    events: tuple[tuple[str, int], ...] = ()
    without: str = ""
    window: bool = False

    @property
    def create_once(self) -> bool:
        """Is it sent once in its life?"""
        return self.resource == "loan_draft"

    def rule(self, name: str) -> bool:
        """Is this rule in force?"""
        assert name in RULES, name
        return self.without != name

    def first(self) -> World:
        """Nothing has happened yet."""
        allowed = dict(self.events)
        assert set(allowed) <= set(EVENTS)
        return World(left=tuple(allowed.get(event, 0) for event in EVENTS))


RULES = {
    "intent before send": "the attempt is durable before the first byte leaves",
    "witness": "a file outside the outbox knows what may have left, and a restored outbox believes it",
    "its own witness": "only the witness that would know of an attempt proves that it never left",
    "timer": "a process that slept past its lease ends before it can send",
    "fence": "a write of a relay whose lease is over is refused by the outbox",
    "in doubt": "a lost answer is a state of its own, not a reason to send again",
    "a doubt at start": "what was being sent when a process ended is in doubt",
    "version order": "a newer version waits for an older one in flight",
    "doubts stay in mind": "a position is sent again although it is what Kiva took last, if another may have arrived",
    "control": "absence is proved only by a reading that lists another draft of ours",
    "a late control": "that other draft was sent after the lost request could no longer arrive",
    "settle after": "nothing is settled as absent, or repeated, while the request can still arrive",
    "adopt": "what Kiva lists already is not sent",
    "once": "a draft that was delivered is not owed again",
    "most repeats": "a position is repeated six times a period at most",
    "a doubt gives way": "a newer position takes the place of one in doubt, however often that was repeated",
    "a report closes": "what is unknown when its report closes ends, and does not stand in the way of the next",
    "late alone": "once a report has closed, nothing goes but what a person sends late",
    "finalised": "nothing goes late once the report is finalised",
    "finalising waits": "nobody finalises a report while a call of it is under way",
    "the next opening": "what was sent late ends as the next report opens",
    "a margin": "nothing is begun so late that it may arrive when its report has closed, or the next one has opened",
    "a decision binds": "what a person decided holds for the amount that she saw",
    "late goes behind": "what a person sends late goes once more when it is in doubt as its report closes",
    "late is owed": "what a person sends late is owed by the next look",
    "a problem is asked about": "a problem of a whole call is no plain success: a person is asked",
    "supersede": "a newer version takes the place of one that was not sent",
    "withdraw": "what left the scope is not sent",
    "a deletion is believed": "what a person deleted in PA2 is not taken for present because an old list shows it",
    "the waiting one follows": "when the older version is settled, the newer one goes on",
}


def spend(world: World, event: str) -> World | None:
    """The world with one less of an event, or None when none is left."""
    place = EVENTS.index(event)
    if not world.left[place]:
        return None
    return world._replace(left=(*world.left[:place], world.left[place] - 1, *world.left[place + 1 :]))


def moved(world: World, number: int, target: State, by: Actor, **changes: object) -> World:
    """The world after a move of the state machine; one that `state.MOVES` lacks ends the run."""
    entry = world.entries[number]
    machine.check(entry.state, target, by)
    TAKEN_ARROWS.add((entry.state, target, by))
    after = entry._replace(**({"state": target, "waits_for": None} | changes))  # type: ignore[arg-type]
    return world._replace(entries=(*world.entries[:number], after, *world.entries[number + 1 :]))


def added(world: World, entry: Entry, by: Actor) -> World:
    """The world with a new entry."""
    machine.check(None, entry.state, by)
    TAKEN_ARROWS.add((None, entry.state, by))
    return world._replace(entries=(*world.entries, entry))


def changed(world: World, number: int, **changes: object) -> World:
    """The world with an attempt changed."""
    after = world.attempts[number]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(attempts=(*world.attempts[:number], after, *world.attempts[number + 1 :]))


def at_kiva(world: World) -> list[Item]:
    """Our drafts of this loan that Kiva has."""
    return [item for item in world.ledger if item.what == OURS and not item.deleted]


Arrow = tuple[State | None, State, Actor]

TAKEN_ARROWS: set[Arrow] = set()
"""Arrows of the state machine that the present search has used."""
