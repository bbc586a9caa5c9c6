"""The model of the promise, third part: everybody else. The MIS, the network, Kiva, time, a person, and misfortune."""

from __future__ import annotations

from collections.abc import Iterator

from kiva_relay.outbox.state import Actor, State
from testbed.model.relay import Step, follow, start, taken
from testbed.model.world import (
    ANSWERED,
    BY_HAND,
    CLAIMED,
    CONTROL,
    CUT,
    JUDGED,
    OURS,
    SENT,
    TAKEN,
    TESTIFIED,
    UNDER_WAY,
    VANISHED,
    WARNED,
    Case,
    Copy,
    Item,
    Look,
    Said,
    World,
    changed,
    moved,
    spend,
)


def certain(case: Case, world: World) -> Iterator[Step]:
    """What happens sooner or later by itself."""
    if not world.relays:
        for number in range(case.machines):
            yield f"a relay starts on machine {number}", start(case, world, number)
    for number, attempt in enumerate(world.attempts):
        if attempt.wire == UNDER_WAY:
            yield f"Kiva takes request {number}", taken(world, number)
        at_work = any(relay.attempt == number and relay.at in (SENT, ANSWERED) for relay in world.relays)
        ended = not attempt.open or not attempt.recorded
        if ended and not attempt.settled_down and attempt.wire != UNDER_WAY and not at_work:
            yield f"settle_after passes for request {number}", changed(world, number, settled_down=True)


def uncertain(case: Case, world: World) -> Iterator[Step]:
    """What may happen, or not: the world's doings, each so many times as the case allows."""
    if world.mis + 1 < len(case.contents):
        yield f"the MIS commits version {world.mis + 1}", world._replace(mis=world.mis + 1)
    for number, attempt in enumerate(world.attempts):
        if attempt.wire == UNDER_WAY:
            for event, wire in (("cut", CUT), ("lost request", VANISHED), ("judged", JUDGED)):
                after = spend(world, event)
                if after is not None:
                    yield f"request {number}: {event}", changed(after, number, wire=wire)
            if (after := spend(world, "warned")) is not None:
                yield (
                    f"Kiva has a problem with request {number}, and did not take it",
                    changed(after, number, wire=WARNED),
                )
                there = changed(taken(after, number), number, wire=WARNED)
                yield f"Kiva has a problem with request {number}, and took it", there
    yield from _calendar(case, world)
    yield from _kiva(world)
    yield from _misfortune(case, world)
    if (after := spend(world, "person")) is not None:
        yield from _person(case, after)


def _calendar(case: Case, world: World) -> Iterator[Step]:
    """Reports open and close, and a person says what goes."""
    after = spend(world, "month")
    if not case.create_once and after is not None and not case.window:
        yield "the report closes, the next one opens", after._replace(period=world.period + 1, captured=-1)
    if not case.window:
        return
    none_begun = all(relay.at not in (CLAIMED, TESTIFIED, SENT) for relay in world.relays)
    quiet = none_begun or not case.rule("a margin")
    # Between a close and the next opening lie days: only what was begun just before it is still on its way.
    arrived = all(one.wire != UNDER_WAY for one in world.attempts) or not case.rule("a margin")
    if after is not None and not world.is_open and quiet and arrived:
        opened = after._replace(period=world.period + 1, captured=-1, is_open=True, finalised=False)
        yield "the next report opens", opened
    if world.is_open and quiet and (after := spend(world, "close")) is not None:
        yield "the report closes", after._replace(is_open=False)
    sending = any(entry.state is State.SENDING for entry in world.entries) and case.rule("finalising waits")
    if world.takes_late and not sending and (after := spend(world, "finalise")) is not None:
        yield "a person finalises the report", after._replace(finalised=True)
    content = case.contents[world.captured] if world.captured >= 0 else ""
    if world.is_open and content.startswith("?") and (after := spend(world, "decide")) is not None:
        said = (*world.said, Said(content, world.period, late=False))
        yield f"a person decides that {content} goes", after._replace(said=said, captured=-1)
    if world.takes_late and content and (after := spend(world, "late")) is not None:
        said = (*world.said, Said(content, world.period, late=True))
        yield f"a person sends {content} late", after._replace(said=said, captured=-1)


def _kiva(world: World) -> Iterator[Step]:
    if (after := spend(world, "control")) is not None and world.attempts:
        control = Item(CONTROL, known_after=_known(world))
        yield "another draft of ours is accepted", after._replace(ledger=(*world.ledger, control))
    if (after := spend(world, "by hand")) is not None and world.mis >= 0:
        yield "somebody types the loan into PA2", after._replace(ledger=(*world.ledger, Item(BY_HAND)))
    if (after := spend(world, "publish")) is not None:
        for place, item in enumerate(world.ledger):
            if item.what == OURS and not item.deleted:
                ledger = (*world.ledger[:place], item._replace(published=True), *world.ledger[place + 1 :])
                yield "the coordinator publishes the draft", after._replace(ledger=ledger)


def _misfortune(case: Case, world: World) -> Iterator[Step]:
    if world.relays and (after := spend(world, "crash")) is not None:
        yield "kill -9", after._replace(relays=world.relays[:-1])
    if world.relays and (after := spend(world, "takeover")) is not None:
        for number in range(case.machines):
            yield f"the lease ends, machine {number} takes over", start(case, _asleep(case, after), number)
    if (after := spend(world, "backup")) is not None and world.backup is None:
        copy = Copy(world.entries, world.attempts, world.captured, world.mirror)
        yield "the outbox is copied", after._replace(backup=copy)
    if world.backup is not None and not world.relays:
        yield "the copy is restored", _restored(world, world.backup)


def _asleep(case: Case, world: World) -> World:
    """The holder slept past its lease: the kernel's timer has ended it. What it had handed to the database may be late.

    Without the timer it wakes up and goes on where it stood.
    """
    if not case.rule("timer"):
        return world
    if case.rule("fence"):
        return world._replace(relays=())
    writing = [relay for relay in world.relays if relay.at == ANSWERED or relay.read is not None]
    late = tuple(relay._replace(last_write=True) for relay in writing)
    return world._replace(relays=late)


def _restored(world: World, copy: Copy) -> World:
    attempts = []
    for number, attempt in enumerate(world.attempts):
        inside = number < len(copy.attempts)
        known = copy.attempts[number] if inside else attempt._replace(recorded=False, open=True)
        again = attempt.settled_down and attempt.open == known.open
        attempts.append(attempt._replace(recorded=known.recorded, open=known.open, settled_down=again))
    return world._replace(
        entries=copy.entries, attempts=tuple(attempts), captured=copy.captured, mirror=copy.mirror, backup=None
    )


# ---------------------------------------------------------------- a person


def _person(case: Case, world: World) -> Iterator[Step]:
    """A person says what PA2 shows, once nothing can arrive any more; whatever else she may say of an entry."""
    in_flight = [n for n, entry in enumerate(world.entries) if entry.state in (State.SENDING, State.IN_DOUBT)]
    for number, entry in enumerate(world.entries):
        if in_flight and number not in in_flight:
            continue  # the older version is settled first
        if entry.state is State.IN_DOUBT:
            yield from _doubt(case, world, number)
        elif entry.state in (State.READY, State.WAITING, State.REFUSED):
            yield from _unsent(case, world, number)
        elif entry.state is State.DELIVERED and entry.warned:
            yield from _warned(case, world, number)
        elif entry.state is State.DELIVERED and case.create_once and world.backup is None and _all_quiet(world):
            gone = [item._replace(deleted=True) if item.what != CONTROL else item for item in world.ledger]
            after = moved(world, number, State.WITHDRAWN, Actor.PERSON)._replace(ledger=tuple(gone), captured=-1)
            if case.rule("a deletion is believed") and after.mirror is not None:
                after = after._replace(mirror=after.mirror._replace(first_seen=None))
            yield f"a person deletes version {entry.version} in PA2, and says so", after
        elif entry.state is State.DISCARDED and case.create_once and _all_quiet(world):
            target = State.DELIVERED if _is_there(case, world, number) else State.WITHDRAWN
            after = moved(world, number, target, Actor.PERSON)
            yield f"a person corrects her word on version {entry.version}", after._replace(captured=-1)


def _doubt(case: Case, world: World, number: int) -> Iterator[Step]:
    entry = world.entries[number]
    if not _all_quiet(world):
        return  # what PA2 shows now may not be the last word
    if _is_there(case, world, number):
        after = moved(world, number, State.DELIVERED, Actor.PERSON)
        yield f"a person sees version {entry.version} in PA2", follow(case, after, number, Actor.PERSON)
        return
    discarded = moved(world, number, State.DISCARDED, Actor.PERSON)
    yield f"a person discards version {entry.version}", follow(case, discarded, number, Actor.PERSON)
    if entry.content is None:
        after = moved(discarded, number, State.WITHDRAWN, Actor.PERSON)._replace(captured=-1)
    else:
        after = moved(world, number, State.READY, Actor.PERSON, repeats=0)
    after = follow(case, after, number, Actor.PERSON)
    yield f"a person sees that version {entry.version} is not in PA2", after


def _warned(case: Case, world: World, number: int) -> Iterator[Step]:
    entry = world.entries[number]
    if not _all_quiet(world):
        return
    if _is_there(case, world, number):
        after = moved(world, number, State.DELIVERED, Actor.PERSON, warned=False)
        yield f"a person sees version {entry.version} in PA2, in spite of Kiva's problem", after
        return
    after = moved(world, number, State.WITHDRAWN, Actor.PERSON, doubted=True, warned=False)._replace(captured=-1)
    yield f"a person does not see version {entry.version} in PA2: send it again", after


def _unsent(case: Case, world: World, number: int) -> Iterator[Step]:
    entry = world.entries[number]
    yield f"a person discards version {entry.version}", moved(world, number, State.DISCARDED, Actor.PERSON)
    if entry.state is State.REFUSED and entry.content in ("a", "b", "c"):
        again = moved(world, number, State.READY, Actor.PERSON)
        yield f"a person has version {entry.version} sent again", again
    if case.create_once:
        typed = world._replace(ledger=(*world.ledger, Item(BY_HAND)))
        after = moved(typed, number, State.DELIVERED, Actor.PERSON)
        yield f"a person types version {entry.version} into PA2, and says so", after


def _is_there(case: Case, world: World, number: int) -> bool:
    if case.create_once:
        return any(not item.deleted and item.what != CONTROL for item in world.ledger)
    mine = {n for n, attempt in enumerate(world.attempts) if attempt.entry == number}
    last = world.ledger[-1] if world.ledger else None
    return last is not None and last.attempt in mine


def _all_quiet(world: World) -> bool:
    return all(attempt.settled_down or attempt.wire in (TAKEN, WARNED) for attempt in world.attempts)


def _known(world: World) -> Look:
    down = next((n for n, attempt in enumerate(world.attempts) if not attempt.settled_down), len(world.attempts))
    return Look(len(world.attempts), down)
