"""Which holds go when a person releases something, and which the relay lifts itself."""

from __future__ import annotations

from collections.abc import Iterable

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import hold
from kiva_relay.outbox.listing import Kept
from kiva_relay.resource.kind import RESOURCES


@dataclass(frozen=True)
class ReleasePlan:
    """`go` are the holds to release; `stay` are those that the relay lifts itself, and a person need not."""

    go: tuple[Kept, ...]
    stay: tuple[Kept, ...]


def plan(kept: Iterable[Kept], what: str, *, anyway: bool = False) -> ReleasePlan:
    """The holds that keep `what` back: its own, and for a resource also those on everything.

    `anyway`: also what the relay would lift itself.
    """
    whats = (what, hold.ALL) if what in RESOURCES else (what,)
    concerned = [one for one in kept if one.hold.what in whats]
    return ReleasePlan(
        go=tuple(one for one in concerned if anyway or not one.hold.why.lifts_itself),
        stay=tuple(one for one in concerned if not anyway and one.hold.why.lifts_itself),
    )
