"""The state machine of an entry: states, moves, and who makes each move. Nothing else.

The store, the simulation and the model take their moves from here; a move that is not in MOVES does not exist.
"""

from __future__ import annotations

from enum import StrEnum

from kiva_relay.errors import IllegalMove
from kiva_relay.frozen import dataclass


class State(StrEnum):
    """Where an entry is."""

    READY = "ready"  # the courier sends it when it is due
    WAITING = "waiting"  # capture or the mirror makes it ready when `reason` is gone
    REFUSED = "refused"  # the mapping, our checks or Kiva said no; a newer version replaces it
    SENDING = "sending"  # an attempt is open; the courier ends it, or the next start
    IN_DOUBT = "in_doubt"  # sent, and the answer was lost; evidence or a person settles it
    DELIVERED = "delivered"  # at Kiva; `evidence` says how we know
    SUPERSEDED = "superseded"  # a newer version took its place before it was sent
    WITHDRAWN = "withdrawn"  # no longer owed
    DISCARDED = "discarded"  # a person said that it must not go out


class Actor(StrEnum):
    """Who moves an entry."""

    INTAKE = "capture"
    COURIER = "courier"
    RECONCILER = "reconciler"
    START = "start"
    PERSON = "person"


UNSENT = frozenset({State.READY, State.WAITING, State.REFUSED})
IN_FLIGHT = frozenset({State.SENDING, State.IN_DOUBT})
FINAL = frozenset({State.DELIVERED, State.SUPERSEDED, State.WITHDRAWN, State.DISCARDED})

EVIDENCE = ("receipt", "look_up", "adopted", "person", "warned")
"""How we know that an entry is at Kiva. `warned`: Kiva took the call and named a problem of it: a person looks."""


@dataclass(frozen=True)
class Move:
    """One arrow: from a state (None: a new entry) to another, by somebody, when."""

    source: State | None
    target: State
    by: Actor
    when: str


S, A = State, Actor

MOVES: tuple[Move, ...] = (
    Move(None, S.READY, A.INTAKE, "mapped, in scope, different from what was last owed for the identity"),
    Move(None, S.REFUSED, A.INTAKE, "the mapping or our checks say no: no body, all the reasons"),
    Move(None, S.WAITING, A.INTAKE, "incomplete; the loan is not at Kiva yet; an older version is in flight"),
    Move(None, S.DELIVERED, A.INTAKE, "adopted: Kiva has the loan already"),
    Move(None, S.DELIVERED, A.PERSON, "typed into PA2 by hand, before the MIS owed it"),
    Move(None, S.IN_DOUBT, A.START, "known from the witness, missing in the outbox"),
    Move(S.WAITING, S.READY, A.INTAKE, "the reason is gone, or a person decided about it"),
    Move(S.WAITING, S.READY, A.RECONCILER, "the loan is at Kiva now; the older version is settled"),
    Move(S.WAITING, S.READY, A.COURIER, "the older version is settled"),
    Move(S.WAITING, S.READY, A.START, "the older version is settled"),
    Move(
        S.WAITING,
        S.READY,
        A.PERSON,
        "a person confirmed it (a position that fell, an id that differs in case, a probable duplicate); the older is"
        " settled",
    ),
    *(Move(s, S.SUPERSEDED, A.INTAKE, "a newer version of the same identity") for s in sorted(UNSENT)),
    *(
        Move(S.READY, S.SUPERSEDED, by, "it came back unsent, and a newer version waited behind it")
        for by in (A.COURIER, A.RECONCILER, A.PERSON, A.START)
    ),
    Move(S.REFUSED, S.SUPERSEDED, A.COURIER, "Kiva judged it, and a newer version waited behind it"),
    *(
        Move(S.READY, S.WITHDRAWN, by, "it came back unsent, and meanwhile it had left the scope")
        for by in (A.COURIER, A.RECONCILER, A.PERSON)
    ),
    *(
        Move(s, S.WITHDRAWN, A.INTAKE, "left the scope, gone from the MIS, left out of the report, window closed")
        for s in sorted(UNSENT)
    ),
    *(Move(s, S.WITHDRAWN, A.START, "the witness says that an older version may be at Kiva") for s in sorted(UNSENT)),
    *(
        Move(s, S.WITHDRAWN, by, "the older version is at Kiva: a divergence, not a second draft")
        for s in (S.REFUSED, S.WAITING)
        for by in (A.COURIER, A.RECONCILER, A.PERSON)
    ),
    Move(S.READY, S.DELIVERED, A.COURIER, "adopted: Kiva has the loan already, nothing is sent"),
    *(
        Move(s, S.DELIVERED, A.RECONCILER, "adopted: Kiva has the loan now, somebody typed it into PA2")
        for s in sorted(UNSENT)
    ),
    Move(
        S.READY,
        S.WAITING,
        A.RECONCILER,
        "Kiva lists an id that differs in case only, or a loan of the same client and amount: a person says whose it"
        " is; or a journal's loan takes none now",
    ),
    Move(S.READY, S.REFUSED, A.COURIER, "its last day has passed"),
    Move(
        S.READY,
        S.SENDING,
        A.COURIER,
        "due, lease held, not on hold, no older version in flight; attempt durable",
    ),
    Move(S.SENDING, S.DELIVERED, A.COURIER, "accepted; the receipt in the same transaction"),
    Move(
        S.SENDING,
        S.READY,
        A.COURIER,
        "surely not processed; or its batch was refused as a whole and is split",
    ),
    Move(
        S.SENDING,
        S.READY,
        A.START,
        "the process ended before the witness knew of the attempt: no byte had left; or the witness has that Kiva did"
        " not take it",
    ),
    Move(S.SENDING, S.DELIVERED, A.START, "the process ended, and the witness has Kiva's answer"),
    Move(S.SENDING, S.REFUSED, A.COURIER, "Kiva judged the body"),
    Move(S.SENDING, S.IN_DOUBT, A.COURIER, "the answer was lost"),
    Move(S.SENDING, S.IN_DOUBT, A.START, "the process ended with the attempt open"),
    Move(
        S.IN_DOUBT,
        S.DELIVERED,
        A.RECONCILER,
        "found at Kiva, and was not there before; or the sender's witness has Kiva's answer",
    ),
    Move(S.IN_DOUBT, S.DELIVERED, A.PERSON, "seen in PA2"),
    Move(
        S.IN_DOUBT,
        S.READY,
        A.RECONCILER,
        "harmless to repeat, and settled; absent, with a control; or by the sender's witness it never left",
    ),
    Move(S.IN_DOUBT, S.READY, A.PERSON, "not in PA2: send it again"),
    Move(S.IN_DOUBT, S.SUPERSEDED, A.RECONCILER, "a position: settled, and a newer one waited behind it"),
    Move(
        S.IN_DOUBT, S.WITHDRAWN, A.INTAKE, "a position: settled, and its report is closed. What Kiva holds is unknown"
    ),
    *(Move(s, S.DISCARDED, A.PERSON, "it must not go out") for s in (S.IN_DOUBT, S.REFUSED, S.READY, S.WAITING)),
    *(Move(s, S.DELIVERED, A.PERSON, "typed into PA2 by hand") for s in (S.READY, S.WAITING, S.REFUSED)),
    Move(S.REFUSED, S.READY, A.PERSON, "the same bytes again (a refusal of Kiva's only)"),
    Move(S.DELIVERED, S.WITHDRAWN, A.PERSON, "deleted in PA2, or never there: the present version becomes ready"),
    Move(S.DELIVERED, S.DELIVERED, A.PERSON, "Kiva named a problem of its call; seen in PA2 all the same"),
    Move(S.DISCARDED, S.DELIVERED, A.PERSON, "the first word was wrong: it is in PA2"),
    Move(S.DISCARDED, S.WITHDRAWN, A.PERSON, "the first word was wrong: the present version becomes ready"),
)

_ALLOWED = {(move.source, move.target, move.by) for move in MOVES}


def check(source: State | None, target: State, by: Actor) -> None:
    """Raise IllegalMove unless `by` may move an entry from `source` to `target`."""
    if (source, target, by) not in _ALLOWED:
        raise IllegalMove(f"{by} cannot move an entry from {source or 'nothing'} to {target}")
