"""How often a loan's draft or journal can be at Kiva, by what the relay sent."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from kiva_relay.frozen import dataclass
from kiva_relay.outbox.history import History


class Possible(StrEnum):
    """How many the relay may have made."""

    NONE = "none"
    ONE = "one"
    SEVERAL = "several"


@dataclass(frozen=True)
class Copies:
    """Of one resource of a loan."""

    resource: str
    possible: Possible


def copies(histories: Sequence[History]) -> list[Copies]:
    """Of a loan's drafts and of its journal. Nothing is said where a lost answer alone leaves it open.

    Nor of journals where the loan has several: each of them is another one.
    """
    found = []
    for resource in ("loan_draft", "journal"):
        mine = [one for one in histories if one.entry.resource == resource]
        if resource == "journal" and len({one.entry.identity for one in mine}) > 1:
            continue
        # An attempt may stand in the history of several versions.
        outcomes = {attempt.id: attempt.outcome for one in mine for attempt in one.attempts}
        accepted = sum(outcome == "accepted" for outcome in outcomes.values())
        lost = sum(outcome == "in_doubt" for outcome in outcomes.values())
        if accepted + lost > 1:
            found.append(Copies(resource, Possible.SEVERAL))
        elif accepted:
            found.append(Copies(resource, Possible.ONE))
        elif mine and not lost:
            found.append(Copies(resource, Possible.NONE))
    return found
