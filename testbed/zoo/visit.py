"""A visit: the animals of one engine are made and changed while a way of watching looks on; what it missed is told.

What really changed is what a sweep would find: every key read before and after. Of that, what the way gave at once was
seen, and the rest waits for the sweep.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.source import slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.replication import Tail
from kiva_relay.source.stream import Stream
from testbed.rig import patience
from testbed.zoo import postgresql
from testbed.zoo.animal import Animal

CUTOFF = date(2026, 11, 30)
NONE = "nothing"
STEPS = ("inserts", "updates", "deletes")
_PAGE = 2


class Keeper(Protocol):
    """Whoever makes and changes the animals."""

    url: str

    def run(self, sql: str) -> None:
        """A statement, committed.

        Raises:
            Refused: the server does not take it.
        """
        ...


class Refused(Exception):
    """A statement that the server does not take."""


@dataclass
class Outcome:
    """What became of an animal: which steps wait for the sweep, and why it cannot be mapped or changed at all."""

    animal: Animal
    waits: set[str] = field(default_factory=set)
    refused: str = ""
    harmed: str = ""

    @property
    def told(self) -> str:
        """As it stands in the docs."""
        if self.harmed:
            return f"the MIS cannot write: {self.harmed}"
        if self.refused:
            return "refused"
        return "all" if len(self.waits) == len(STEPS) else ", ".join(one for one in STEPS if one in self.waits) or NONE


@dataclass
class Visit:
    """The outcomes; `missing` are animals that this server does not have, with what it said."""

    outcomes: list[Outcome]
    missing: dict[str, str]

    def by_kind(self) -> dict[str, dict[str, list[str]]]:
        """Of each kind, what became of it, and the names."""
        found: dict[str, dict[str, list[str]]] = {}
        for one in self.outcomes:
            found.setdefault(one.animal.kind, {}).setdefault(one.told, []).append(one.animal.name)
        return found


class Polling:
    """Polls, but what is `followed`."""

    def __init__(self, mis: Mis, streams: Sequence[Stream], followed: Mapping[str, frozenset[str]]) -> None:
        self.failed: dict[str, str] = {}
        self._mis, self._streams, self._followed = mis, streams, followed
        self._marks: dict[str, str | None] = {one.name: None for one in streams}
        self.look()
        self.look()

    def look(self) -> dict[str, set[str]]:
        cycle = self._mis.changes(self._streams, self._marks, followed=self._followed)
        self.failed |= {name: str(error) for name, error in cycle.failed.items()}
        self._marks.update({name: mark for name, mark in cycle.next.items() if name not in cycle.failed})
        self._mis.processed(cycle)
        return {name: set(keys) for name, keys in cycle.keys.items()}


class Following:
    """Follows the stream of a PostgreSQL, and polls what is not in it, as capture does."""

    def __init__(self, mis: Mis, keeper: Keeper, streams: Sequence[Stream]) -> None:
        self._mis, self._streams, self._keeper = mis, streams, keeper
        found = mis.slot(postgresql.SLOT, streams)
        for statement in slot.setup(found, streams, mis.dialect):
            keeper.run(statement)
        found = mis.slot(postgresql.SLOT, streams)
        self._followed = slot.covered(found, streams)
        self._oids = {name: table.oid for name, table in found.tables.items()}
        self._polling = Polling(mis, streams, self._followed)
        url = sa.make_url(keeper.url)
        self._tail = Tail(url, password=url.password, name=postgresql.SLOT, news=lambda: None)
        self._tail.want(slot.wanted(found, streams))
        self._tail.start()

    @property
    def failed(self) -> dict[str, str]:
        return self._polling.failed

    def look(self) -> dict[str, set[str]]:
        seen = self._polling.look()
        written = self._mis.written()
        self._keeper.run("SELECT pg_logical_emit_message(true, 'zoo', '')")
        patience.eventually(lambda: self._tail.session is not None and self._took(seen) > written)
        return seen

    def _took(self, seen: dict[str, set[str]]) -> int:
        pending = self._tail.pending()
        if pending:
            streams = [one for one in self._streams if one.name not in self.failed]
            routed = self._mis.follow(
                streams, pending, oids=self._oids, cutoff=CUTOFF, most=dict.fromkeys([one.name for one in streams], 0)
            )
            self.failed.update({name: str(error) for name, error in routed.failed.items()})
            for name, keys in routed.keys.items():
                seen.setdefault(name, set()).update(keys)
            self._tail.done(routed.done)
        return self._tail.reached(self._tail.session)

    def close(self) -> None:
        self._tail.close()


def visit(keeper: Keeper, mis: Mis, animals: Sequence[Animal], *, stamped: bool, follow: bool = False) -> Visit:
    """Make the animals, change each, and look: at all of them at once after each step."""
    outcomes: dict[str, Outcome] = {}
    streams: dict[str, Stream] = {}
    missing: dict[str, str] = {}
    for number, animal in enumerate(animals):
        stream = animal.stream(number, stamped=stamped)
        lacking = _made(keeper, animal)
        if lacking:
            missing[animal.name] = lacking
        else:
            outcomes[stream.name], streams[stream.name] = Outcome(animal), stream
    with _watching(keeper, mis, [*streams.values()], follow=follow) as watching:
        before = _contents(mis, streams, outcomes, {})
        for step in STEPS:
            for outcome in outcomes.values():
                _changed(keeper, outcome, step)
            seen = watching.look()
            after = _contents(mis, streams, outcomes, before)
            for name, outcome in outcomes.items():
                changed = {key for key, content in after[name].items() if before[name].get(key) != content}
                if not changed and not outcome.harmed and not outcome.refused:
                    outcome.refused = f"the sweep does not see its {step}"
                if not changed <= seen.get(name, set()):
                    outcome.waits.add(step)
            before = after
        for name, why in watching.failed.items():
            outcomes[name].refused = why
    return Visit([*outcomes.values()], missing)


def _made(keeper: Keeper, animal: Animal) -> str:
    """Make it; what the server said when it does not have such."""
    try:
        for statement in animal.make:
            keeper.run(statement)
    except Refused as refused:
        return str(refused)
    return ""


def _changed(keeper: Keeper, outcome: Outcome, step: str) -> None:
    statements: str = getattr(outcome.animal, step.removesuffix("s"))
    try:
        for one in statements.split(";;"):
            keeper.run(one)
    except Refused as refused:
        outcome.harmed = outcome.harmed or str(refused)


@contextlib.contextmanager
def _watching(keeper: Keeper, mis: Mis, streams: Sequence[Stream], *, follow: bool) -> Iterator[Polling | Following]:
    if not follow:
        yield Polling(mis, streams, {})
        return
    following = Following(mis, keeper, streams)
    try:
        yield following
    finally:
        following.close()


def _contents(
    mis: Mis, streams: Mapping[str, Stream], outcomes: Mapping[str, Outcome], before: Mapping[str, Mapping[str, object]]
) -> dict[str, dict[str, object]]:
    """What a sweep finds: every key in scope, page by page, and those that were there before; with their rows."""
    found: dict[str, dict[str, object]] = {}
    for name, stream in streams.items():
        found[name] = {}

        def sweep(stream: Stream = stream, name: str = name) -> None:
            keys = dict.fromkeys(before.get(name, ()))
            page = mis.scan(stream, after=None, limit=_PAGE)
            while page:
                keys |= dict.fromkeys(page)
                page = mis.scan(stream, after=page[-1], limit=_PAGE) if len(page) == _PAGE else []
            for content in mis.read(stream, [*keys], cutoff=CUTOFF):
                found[name][content.key] = repr(content.root)  # NaN is not equal to itself

        _told(sweep, outcomes[name])
    return found


def _told(do: Callable[[], None], outcome: Outcome) -> None:
    try:
        do()
    except (errors.RelayError, UnicodeError) as error:
        outcome.refused = f"the sweep: {error}"
