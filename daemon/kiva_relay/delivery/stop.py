"""When the courier sends nothing of a resource: one table of reasons, the first that applies."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from kiva_relay.frozen import dataclass

MOST_DOUBTS = 3
MOST_REFUSALS = 10


class Stop(StrEnum):
    """Why nothing of a resource is sent now."""

    HELD = "held"
    SHADOW = "shadow"  # kiva.send is false
    PAUSE = "pause"  # Kiva is away, or asked us to come back later
    NO_ROOM = "no_room"
    WINDOW_CLOSED = "window_closed"
    LIST_UNKNOWN = "list_unknown"  # what Kiva has was not read whole since this process started
    ANSWER_LOST = "answer_lost"  # no harmless request succeeded since


@dataclass(frozen=True)
class SendingSituation:
    """What is known when something of a resource is due and the courier is about to send it.

    `passes`: how many entries holds let pass, None without a hold. `fault_may_be_over`: nothing else holds it, and it
    is time to try. `last_doubt`: when the last answer was lost, None when none was since the last accepted one.
    `last_harmless`: when a harmless request succeeded last.
    """

    resource: str
    passes: int | None
    fault_may_be_over: bool
    sends: bool
    pause: timedelta
    has_room: bool
    report_is_open: bool
    list_is_known: bool
    last_doubt: datetime | None
    last_harmless: datetime | None


def why_not(now_is: SendingSituation) -> Stop | None:
    """Why nothing is sent; None: something is."""
    answer_lost = now_is.last_doubt is not None and (
        now_is.last_harmless is None or now_is.last_harmless <= now_is.last_doubt
    )
    table = (
        (now_is.passes == 0 and not now_is.fault_may_be_over, Stop.HELD),
        (not now_is.sends, Stop.SHADOW),
        (bool(now_is.pause), Stop.PAUSE),
        (not now_is.has_room, Stop.NO_ROOM),
        (now_is.resource == "repayment" and not now_is.report_is_open, Stop.WINDOW_CLOSED),
        (now_is.resource == "loan_draft" and not now_is.list_is_known, Stop.LIST_UNKNOWN),
        (answer_lost, Stop.ANSWER_LOST),
    )
    return next((stop for applies, stop in table if applies), None)


def at_once(limit: int, *, doubts: int) -> int:
    """How many entries go in one request; one alone while answers were lost since the last accepted one."""
    return 1 if doubts else limit


def hold_after(outcome: str, *, doubts: int, refusals: int) -> str | None:
    """The reason for which a resource is held after an attempt; None: it is not.

    `doubts` and `refusals` are counted since the last accepted one, this attempt included.
    """
    if outcome == "in_doubt" and doubts >= MOST_DOUBTS:
        return "many_in_doubt"
    if outcome == "refused" and refusals >= MOST_REFUSALS:
        return "many_refusals"
    return None
