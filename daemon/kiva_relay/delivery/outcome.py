"""What became of an attempt, decided in one table from the evidence. Evidence first, exception class never.

The order of the rules is the argument; `TABLE` is printed in docs/delivery.md and checked against it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from kiva_relay.delivery import http_date
from kiva_relay.delivery.client import Answer
from kiva_relay.frozen import dataclass


class Outcome(StrEnum):
    """The four things that can have become of a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_PROCESSED = "not_processed"
    IN_DOUBT = "in_doubt"


JUDGES_THE_BODY = frozenset({400, 411, 413, 414, 422, 431})
JUDGES_US = frozenset({401, 403, 404, 405, 407, 410, 415, 426, 501})
JUDGES_OUR_TOKEN = frozenset({401, 403})
COME_BACK = frozenset({425, 429})
SUCCESS = range(200, 300)
_UNAVAILABLE = 503
_LONGEST_RETRY_AFTER = timedelta(hours=6)

TABLE: tuple[tuple[str, Outcome, str], ...] = (
    ("2xx and a receipt: all its signs, and nothing that says no", Outcome.ACCEPTED, "delivered, with the receipt"),
    ("2xx otherwise", Outcome.IN_DOUBT, "never sent again by rule"),
    ("400, 411, 413, 414, 422, 431", Outcome.REFUSED, "Kiva judged the body; a batch is split"),
    (
        "401, 403, 404, 405, 407, 410, 415, 426, 501",
        Outcome.NOT_PROCESSED,
        "ready; after one new token the resource is held, and status says which setting to look at",
    ),
    ("425, 429; 503 with Retry-After", Outcome.NOT_PROCESSED, "ready, due then"),
    (
        "3xx, 408, 409, 503 without it, every other status",
        Outcome.IN_DOUBT,
        "evidence or a person settles it",
    ),
    ("no status line, the body not completely sent", Outcome.NOT_PROCESSED, "ready, with back-off"),
    (
        "no status line, the body complete; the process ended",
        Outcome.IN_DOUBT,
        "evidence or a person settles it",
    ),
)


@dataclass(frozen=True)
class Meaning:
    """The outcome, and what follows from it for the destination.

    `success_seen`: a 2xx status line came; then nothing is ever sent again by rule. `blame`: Kiva refuses us,
    not the body. `retry_after`: Kiva named the moment. `unreachable`: no byte of an answer, nothing processed.
    """

    outcome: Outcome
    success_seen: bool = False
    blame: bool = False
    unreachable: bool = False
    retry_after: timedelta | None = None


def decide(answer: Answer, *, shape: bool, now: datetime) -> Meaning:
    """Apply the table. `shape` says whether the answer is a receipt for this resource (`receipt.read`)."""
    status = answer.status
    if status is None:
        if answer.body_complete:
            return Meaning(Outcome.IN_DOUBT)
        return Meaning(Outcome.NOT_PROCESSED, unreachable=True)
    if status in SUCCESS:
        return Meaning(Outcome.ACCEPTED if shape else Outcome.IN_DOUBT, success_seen=True)
    if status in JUDGES_THE_BODY:
        return Meaning(Outcome.REFUSED)
    if status in JUDGES_US:
        return Meaning(Outcome.NOT_PROCESSED, blame=True)
    after = retry_after(answer.headers.get("retry-after"), now=now)
    if status in COME_BACK or (status == _UNAVAILABLE and after is not None):
        return Meaning(Outcome.NOT_PROCESSED, retry_after=after)
    return Meaning(Outcome.IN_DOUBT)


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """`Retry-After` (RFC 9110, 10.2.3): seconds or a date; at most six hours; None when absent or unreadable."""
    written = "" if value is None else value.strip()
    if written.isascii() and written.isdecimal():
        return min(timedelta(seconds=int(written[:9])), _LONGEST_RETRY_AFTER)
    moment = http_date.read(written)
    return None if moment is None else min(max(moment - now, timedelta(0)), _LONGEST_RETRY_AFTER)
