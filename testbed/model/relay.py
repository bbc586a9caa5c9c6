"""The model of the promise, second part: what a relay does. Each step is one thing that happens at once.

What is written in one transaction is one step. Looking whether one may and doing it are two steps wherever they are
two in life: a relay that has claimed may be stopped before it sends, and go on when its lease is long over.
"""

from __future__ import annotations

from collections.abc import Iterator

from kiva_relay.outbox import state as machine
from kiva_relay.outbox.state import Actor, State
from testbed.model.world import (
    ANSWERED,
    CLAIMED,
    CUT,
    IDLE,
    JUDGED,
    OURS,
    SENT,
    TAKEN,
    TESTIFIED,
    UNDER_WAY,
    WARNED,
    Attempt,
    Case,
    Entry,
    Item,
    Look,
    Mirror,
    Relay,
    World,
    added,
    changed,
    moved,
)

Step = tuple[str, World]
_ANSWERS = {TAKEN: "accepted", JUDGED: "refused", CUT: "not sent", WARNED: "a problem of the call"}
_MOST_REPEATS = 6
_UNSENT = {True: State.WAITING, False: State.READY}
"""By whether it waits for a person."""


def steps(case: Case, world: World) -> Iterator[Step]:
    """Everything that any relay may do next."""
    for place, relay in enumerate(world.relays):
        name = f"relay {relay.fence}"
        if relay.last_write:
            yield from _writes(case, world, place, name)
            continue
        yield from _reads_and_sends(case, world, place, name)
        yield from _writes(case, world, place, name)


def _reads_and_sends(case: Case, world: World, place: int, name: str) -> Iterator[Step]:
    """What changes nothing in the outbox, so that nobody asks for the lease."""
    relay = world.relays[place]
    if relay.read is None and world.mis != world.captured:
        yield f"{name}: capture reads version {world.mis}", _at(world, place, read=world.mis)
    additive = case.create_once and case.rule("witness") and case.rule("intent before send")
    if relay.at == CLAIMED and additive:
        testified = world._replace(witness=world.witness | {(relay.machine, relay.attempt or 0)})
        yield f"{name}: the witness is synced", _at(testified, place, at=TESTIFIED)
    if relay.at == (TESTIFIED if additive else CLAIMED):
        assert relay.attempt is not None
        wrong = world.attempts[relay.attempt].wrong or _wrong_now(case, world, relay.attempt)
        yield f"{name}: sends", _at(changed(world, relay.attempt, wire=UNDER_WAY, wrong=wrong), place, at=SENT)
    if relay.at == SENT:
        assert relay.attempt is not None
        answer = _ANSWERS.get(world.attempts[relay.attempt].wire)
        if answer is not None:
            yield f"{name}: the answer is: {answer}", _at(world, place, at=ANSWERED, answer=answer)
        if answer != "not sent":
            yield f"{name}: no answer comes", _at(world, place, at=ANSWERED, answer="lost")
    if case.create_once and relay.look is None and _worth_a_look(world):
        yield f"{name}: begins to read Kiva's list", _at(world, place, look=_present(world))


def _wrong_now(case: Case, world: World, attempt: int) -> str:
    """Why a position must not leave as its report is now."""
    entry = world.entries[world.attempts[attempt].entry]
    if not case.window:
        return ""
    if entry.period != world.period:
        return "a position left for a report that is over"
    if world.finalised:
        return "a position left for a report that was finalised"
    if not world.is_open and not entry.late:
        return "a position left after its report had closed, and nobody sends it late"
    asked = (entry.content or "").startswith("?") or entry.late
    if asked and not any(one.content == entry.content and one.period == entry.period for one in world.said):
        return "a position left that nobody decided about"
    return ""


def _writes(case: Case, world: World, place: int, name: str) -> Iterator[Step]:
    """Transactions of the outbox: refused, whatever they are, when the fence is another's."""
    relay = world.relays[place]
    stale = relay.fence != world.fence
    for label, after in _transactions(case, world, place):
        if stale and case.rule("fence"):
            yield f"{name}: {label}: the outbox refuses it, and the relay ends", _ended(world, place)
            return
        yield f"{name}: {label}", _ended(after, place) if relay.last_write else after


def _transactions(case: Case, world: World, place: int) -> Iterator[Step]:
    relay = world.relays[place]
    if relay.read is not None:
        after = _at(owe(case, world, relay.read), place, read=None)
        yield f"capture puts down version {relay.read}", after._replace(captured=relay.read)
    if relay.at == ANSWERED:
        yield f"settles it: {relay.answer}", _settled(case, world, place)
    if relay.last_write:
        return
    if relay.at == IDLE and len(world.attempts) < case.attempts:
        for number, entry in enumerate(world.entries):
            if entry.state is State.READY:
                yield from _claims(case, world, place, number)
    if relay.look is not None:
        yield from _looks(case, world, place, relay.look)
    yield from _evidence(case, world)
    yield from _closes(case, world)


# ---------------------------------------------------------------- capture


def owe(case: Case, world: World, version: int) -> World:
    """What `outbox/store.owe` promises, said again."""
    content = case.contents[version]
    unsent = [number for number, entry in enumerate(world.entries) if entry.state in machine.UNSENT]
    decided = world.decided(content, binds=case.rule("a decision binds"))
    late = not world.is_open
    goes_late = decided is not None and decided.late and world.takes_late and case.rule("late is owed")
    if content == "gone" or (late and not goes_late):
        for number in unsent if content != "gone" or case.rule("withdraw") else ():
            world = moved(world, number, State.WITHDRAWN, Actor.INTAKE)
        return world
    in_flight = _newest(world, *machine.IN_FLIGHT)
    delivered = _newest(world, State.DELIVERED)
    discarded = [entry for entry in world.entries if entry.state is State.DISCARDED]
    if case.create_once and delivered is not None and case.rule("once"):
        return world
    if any(case.create_once or entry.content == content for entry in discarded):
        return world
    same = [entry.content == content and entry.period == world.period for entry in world.entries]
    behind = late and in_flight is not None and not world.entries[in_flight].late and case.rule("late goes behind")
    if in_flight is not None and same[in_flight] and not behind:
        return _superseded(case, world, unsent)
    adopted = _listed(case, world)
    adopted = adopted and in_flight is None  # else it may be ours that Kiva lists: evidence settles that
    waits = content.startswith("?") and decided is None
    kept = unsent and (world.entries[unsent[-1]].state, world.entries[unsent[-1]].late) == (_UNSENT[waits], late)
    if unsent and not adopted and same[unsent[-1]] and (kept or not case.window):
        return world
    world = _superseded(case, world, unsent)
    if in_flight is None and delivered is not None and same[delivered]:
        doubts = any(entry.doubted for entry in world.entries[delivered + 1 :])
        if not (doubts and case.rule("doubts stay in mind")):
            return world
    state = State.READY
    if adopted:
        state = State.DELIVERED
    elif content == "refused":
        state = State.REFUSED
    elif content == "unfinished" or waits or (in_flight is not None and case.rule("version order")):
        state = State.WAITING
    waits_for = None if state is State.READY else in_flight
    return added(world, Entry(content, version, state, waits_for, period=world.period, late=late), Actor.INTAKE)


def _closes(case: Case, world: World) -> Iterator[Step]:
    """What was not sent in its period is not owed any more; what is in doubt, once it can no longer arrive."""
    for number, entry in enumerate(world.entries):
        if entry.period == world.period and world.is_open:
            continue
        goes_late = entry.late and entry.period == world.period and world.takes_late
        if entry.state in machine.UNSENT and not goes_late:
            after = moved(world, number, State.WITHDRAWN, Actor.INTAKE)
            yield f"version {entry.version} was not sent before its report closed", after
        doubt = entry.state is State.IN_DOUBT and entry.attempt is not None and case.rule("a report closes")
        if doubt and world.attempts[entry.attempt or 0].settled_down:
            after = moved(world, number, State.WITHDRAWN, Actor.INTAKE)
            yield (
                f"version {entry.version} is unknown when its report closes",
                follow(case, after, number, Actor.INTAKE),
            )


def _superseded(case: Case, world: World, numbers: list[int]) -> World:
    for number in numbers if case.rule("supersede") else ():
        world = moved(world, number, State.SUPERSEDED, Actor.INTAKE)
    return world


# ---------------------------------------------------------------- courier


def _claims(case: Case, world: World, place: int, number: int) -> Iterator[Step]:
    entry, relay = world.entries[number], world.relays[place]
    if _newest(world, *machine.IN_FLIGHT) is not None and case.rule("version order"):
        return
    if case.window and not _may_go_now(case, world, entry):
        return
    if _listed(case, world):
        yield f"adopts version {entry.version}", moved(world, number, State.DELIVERED, Actor.COURIER)
        return
    wrong = ""
    if world.mirror is not None and world.mirror.first_seen is not None:
        wrong = "a draft was sent that Kiva's list shows"
    elif world.captured >= 0 and case.contents[world.captured] != entry.content:
        wrong = f"version {entry.version} was claimed when version {world.captured} was known"
    intent = case.rule("intent before send")
    attempt = Attempt(number, entry.version, relay.machine, recorded=intent, wrong=wrong, period=entry.period)
    after = world._replace(attempts=(*world.attempts, attempt))
    if intent:
        after = moved(after, number, State.SENDING, Actor.COURIER, attempt=len(world.attempts))
    yield f"claims version {entry.version}", _at(after, place, at=CLAIMED, attempt=len(world.attempts))


def _may_go_now(case: Case, world: World, entry: Entry) -> bool:
    """By the report's window."""
    if entry.period != world.period:
        return not case.rule("the next opening")
    if world.is_open:
        return True
    return (entry.late or not case.rule("late alone")) and not (world.finalised and case.rule("finalised"))


def _settled(case: Case, world: World, place: int) -> World:
    """The answer and what follows from it, in one transaction."""
    relay = world.relays[place]
    assert relay.attempt is not None
    attempt = world.attempts[relay.attempt]
    after = _at(world, place, at=IDLE, attempt=None, answer=None)
    number = attempt.entry
    if not case.rule("intent before send") and after.entries[number].state is State.READY:
        after = moved(after, number, State.SENDING, Actor.COURIER, attempt=relay.attempt)
    if after.entries[number].state is not State.SENDING or not attempt.open:
        return after
    after = changed(after, relay.attempt, open=False, recorded=True)
    warned = relay.answer == "a problem of the call"
    target = {"accepted": State.DELIVERED, "refused": State.REFUSED, "not sent": State.READY}.get(relay.answer or "")
    if warned:
        target = State.DELIVERED
    if target is None:
        target = State.IN_DOUBT if case.rule("in doubt") else State.READY
    doubted = after.entries[number].doubted or relay.answer == "lost"
    warned = warned and case.rule("a problem is asked about")
    after = moved(after, number, target, Actor.COURIER, doubted=doubted, warned=warned)
    return follow(case, after, number, Actor.COURIER)


def follow(case: Case, world: World, number: int, by: Actor) -> World:
    """What the end of a version means for the newer one that waited behind it, and for itself."""
    settled = world.entries[number]
    if settled.state in machine.IN_FLIGHT or not case.rule("the waiting one follows"):
        return world
    newer = next((n for n, entry in enumerate(world.entries) if entry.waits_for == number), None)
    if newer is None:
        gone = world.captured >= 0 and case.contents[world.captured] == "gone" and case.rule("withdraw")
        return moved(world, number, State.WITHDRAWN, by) if gone and settled.state is State.READY else world
    if settled.state in (State.DELIVERED, State.DISCARDED) and case.create_once:
        return moved(world, newer, State.WITHDRAWN, by)
    if settled.state in (State.READY, State.REFUSED):
        world = moved(world, number, State.SUPERSEDED, by)
    if world.entries[newer].state is State.WAITING and _is_complete(world, world.entries[newer]):
        return moved(world, newer, State.READY, by)
    alone = world.entries[newer]._replace(waits_for=None)
    return world._replace(entries=(*world.entries[:newer], alone, *world.entries[newer + 1 :]))


def _is_complete(world: World, entry: Entry) -> bool:
    content = entry.content or ""
    return content != "unfinished" and not (content.startswith("?") and world.decided(content) is None)


# ---------------------------------------------------------------- refresher and reconciler


def _looks(case: Case, world: World, place: int, look: Look) -> Iterator[Step]:
    """The list is read: whatever was published, and of the drafts as many as the list has caught up with."""
    before = world.mirror
    shown = before.listed if before is not None else 0
    for listed in range(shown, len(world.ledger) + 1) if case.visible else (0,):
        items = [item for n, item in enumerate(world.ledger) if not item.deleted and (n < listed or item.published)]
        seen = any(item.what != "control" for item in items)
        first = (before.first_seen if before is not None else None) or look if seen else None
        controls = tuple(item.known_after for item in items if item.known_after is not None)
        after = _at(world._replace(mirror=Mirror(look, listed, first, controls)), place, look=None)
        for number, entry in enumerate(after.entries):
            if entry.state in machine.UNSENT and entry.waits_for is None and _listed(case, after):
                after = moved(after, number, State.DELIVERED, Actor.RECONCILER)
        yield f"Kiva's list shows {listed} of {len(world.ledger)} drafts", after


def _evidence(case: Case, world: World) -> Iterator[Step]:
    """What evidence settles now."""
    number = _newest(world, State.IN_DOUBT)
    if number is None:
        return
    entry = world.entries[number]
    assert entry.attempt is not None
    if not case.create_once:
        down = world.attempts[entry.attempt].settled_down or not case.rule("settle after")
        repeated = sum(each.repeats for each in world.entries if each.period == entry.period)
        few = repeated < _MOST_REPEATS or not case.rule("most repeats")
        if not down or entry.period != world.period or not world.is_open:
            return
        if any(each.waits_for == number for each in world.entries):
            if few or case.rule("a doubt gives way"):
                after = moved(world, number, State.SUPERSEDED, Actor.RECONCILER)
                yield f"version {entry.version} gives way", follow(case, after, number, Actor.RECONCILER)
        elif few:
            after = moved(world, number, State.READY, Actor.RECONCILER, repeats=entry.repeats + 1)
            yield f"version {entry.version} is to be repeated", follow(case, after, number, Actor.RECONCILER)
    elif world.mirror is not None and world.mirror.first_seen is not None:
        if world.mirror.first_seen.begun > entry.attempt:
            after = moved(world, number, State.DELIVERED, Actor.RECONCILER)
            yield f"version {entry.version} is at Kiva", follow(case, after, number, Actor.RECONCILER)
    elif world.mirror is not None and entry.content is not None and _proves_absence(case, world.mirror, entry.attempt):
        after = moved(world, number, State.READY, Actor.RECONCILER)
        yield f"version {entry.version} is not at Kiva", follow(case, after, number, Actor.RECONCILER)


def _proves_absence(case: Case, mirror: Mirror, attempt: int) -> bool:
    began = mirror.look.settled_down if case.rule("settle after") else mirror.look.begun
    if began <= attempt:
        return False
    if not case.rule("control"):
        return True
    late = case.rule("a late control")
    return any((look.settled_down if late else look.begun) > attempt for look in mirror.controls)


# ---------------------------------------------------------------- start


def start(case: Case, world: World, machine_number: int) -> World:
    """A relay takes the lease, puts what was being sent in doubt, and believes its witness."""
    world = world._replace(fence=world.fence + 1)
    for number, attempt in enumerate(world.attempts):
        if not (attempt.recorded and attempt.open):
            continue
        witnessed = (machine_number, number) in world.witness
        mine = attempt.machine == machine_number or not case.rule("its own witness")
        never_left = case.create_once and case.rule("witness") and mine and not witnessed
        world = changed(world, number, open=False)
        doubt = not never_left and case.rule("a doubt at start")
        target = State.IN_DOUBT if doubt else State.READY
        doubted = world.entries[attempt.entry].doubted or doubt
        world = moved(world, attempt.entry, target, Actor.START, doubted=doubted)
        world = follow(case, world, attempt.entry, Actor.START)
    for number, attempt in enumerate(world.attempts):
        if not attempt.recorded and (machine_number, number) in world.witness and case.rule("witness"):
            world = _told(world, number)
    return world._replace(relays=(*world.relays, Relay(world.fence, machine_number)))


def _told(world: World, number: int) -> World:
    """The witness saw it leave, and the outbox knows nothing of it."""
    world = changed(world, number, recorded=True, open=False)
    if any(entry.state in (*machine.IN_FLIGHT, State.DELIVERED) or entry.content is None for entry in world.entries):
        return world
    for place, entry in enumerate(world.entries):
        if entry.state in machine.UNSENT:
            world = moved(world, place, State.WITHDRAWN, Actor.START)
    return added(world, Entry(None, -1, State.IN_DOUBT, attempt=number, doubted=True), Actor.START)


# ---------------------------------------------------------------- small questions


def _newest(world: World, *states: State) -> int | None:
    return next((n for n in range(len(world.entries) - 1, -1, -1) if world.entries[n].state in states), None)


def _listed(case: Case, world: World) -> bool:
    """Does the mirror show the loan, so that it is adopted?"""
    return case.rule("adopt") and world.mirror is not None and world.mirror.first_seen is not None


def _worth_a_look(world: World) -> bool:
    shown = world.mirror.listed if world.mirror is not None else -1
    doubt = any(entry.state is State.IN_DOUBT for entry in world.entries)
    news = any(item.what != OURS and n >= shown for n, item in enumerate(world.ledger))
    return (doubt or news) and (
        world.mirror is None or world.mirror.look != _present(world) or shown < len(world.ledger)
    )


def _present(world: World) -> Look:
    down = next((n for n, attempt in enumerate(world.attempts) if not attempt.settled_down), len(world.attempts))
    return Look(len(world.attempts), down)


def _at(world: World, place: int, **changes: object) -> World:
    after = world.relays[place]._replace(**changes)  # type: ignore[arg-type]
    return world._replace(relays=(*world.relays[:place], after, *world.relays[place + 1 :]))


def _ended(world: World, place: int) -> World:
    return world._replace(relays=world.relays[:place] + world.relays[place + 1 :])


def taken(world: World, attempt: int) -> World:
    """Kiva takes a request: from now on it is in the ledger."""
    request = world.attempts[attempt]
    item = Item(OURS, attempt=attempt, version=request.version, period=request.period, booked=world.period)
    return changed(world, attempt, wire=TAKEN)._replace(ledger=(*world.ledger, item))
