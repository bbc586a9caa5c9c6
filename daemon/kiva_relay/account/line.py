"""Where each thing stands that should be at Kiva: in exactly one line. Pure: values out of values.

A draft or journal is one thing an identity; a position is one thing a loan and period. How many there are is known from
three sides: what the outbox holds, what the MIS's book still has unread, and, while a report is open, Kiva's own list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import adoption, duplicate
from kiva_relay.outbox.census import SEEN, Census, EntryGroup
from kiva_relay.outbox.hold import ALL, STREAM, Hold
from kiva_relay.outbox.tally import ADOPTED, DELIVERED, Counted
from kiva_relay.resource.refusal import PERSON_DECIDES


class LineKind(StrEnum):
    """The lines, in the order in which they are shown."""

    DELIVERED = "delivered"
    ADOPTED = "adopted"  # Kiva had it before us
    ON_ITS_WAY = "on_its_way"  # until when: `until`
    WAITING = "waiting"  # for what: `cause`
    DECIDE = "decide"  # a person; why: `cause`
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    HELD = "held"  # why: `cause`, a reason of `outbox/reason.py`, or SWITCHED_OFF
    MISSING = "missing"  # Kiva expects it, the MIS does not give it
    LEFT_OUT = "left_out"  # by whom: `cause`
    NOT_LOOKED_AT_YET = "not_looked_at_yet"


BY_A_PERSON = "person"
SEEN_BY_A_PERSON = SEEN
BY_CLOSING = "window_closed"
"""The report closed before it was sent: nobody decided that. Where a person was asked, the question is the cause."""

SWITCHED_OFF = "sending_switched_off"
WARNED = "warned"
"""Kiva took it with a problem of the whole call: a person says whether it is there."""

ID_SHARED = "id_shared_at_kiva"
BACKFILL = "backfill"
TO_BE_READ = "to_be_read"

_ORDER = {kind: place for place, kind in enumerate(LineKind)}
_PERSON_DECIDES = PERSON_DECIDES | {adoption.PERHAPS, duplicate.PROBABLE}
_BY_ITSELF = (LineKind.ON_ITS_WAY, LineKind.WAITING)


@dataclass(frozen=True)
class AccountLine:
    """So many things of one resource that stand alike.

    `cause` is a code, empty where none is needed. `overdue`: it takes longer than it should. `until` is when the last
    of them goes, if nothing is in its way.
    """

    kind: LineKind
    number: int
    cause: str = ""
    overdue: bool = False
    until: datetime | None = None

    @property
    def is_ok(self) -> bool:
        """Has nobody to look at it?"""
        if self.kind in _BY_ITSELF:
            return not self.overdue
        if self.kind is LineKind.LEFT_OUT:
            return self.cause in (BY_A_PERSON, SEEN_BY_A_PERSON)
        return self.kind in (LineKind.DELIVERED, LineKind.ADOPTED)


@dataclass(frozen=True)
class Situation:
    """What decides where an entry stands, beside itself: holds in force, `kiva.send`, and the repayment report."""

    holds: Sequence[Hold]
    sends: bool
    period: str
    report_is_open: bool


def lines(resource: str, census: Census, now_is: Situation) -> tuple[AccountLine, ...]:
    """All lines of one resource, none of them empty. Their sum is what should be at Kiva."""
    found: Counter[tuple[LineKind, str, bool]] = Counter()
    until: dict[tuple[LineKind, str, bool], datetime] = {}
    for line in _each(resource, census, now_is):
        place = (line.kind, line.cause, line.overdue)
        found[place] += line.number
        if line.until is not None:
            until[place] = max(line.until, until.get(place, line.until))
    made = [
        AccountLine(kind, number, cause, overdue, until.get((kind, cause, overdue)))
        for (kind, cause, overdue), number in found.items()
        if number
    ]
    return tuple(sorted(made, key=lambda one: (_ORDER[one.kind], one.cause, one.overdue)))


def stand(entries: EntryGroup, now_is: Situation) -> tuple[LineKind, str]:
    """The line, and its cause, of things whose present entries are not settled.

    The one place to add to where an entry gets a new state, or a state a new reason: what is not named here waits for a
    person, so that nothing new can look like OK.
    """
    reason = entries.reason or ""
    match entries.state:
        case "ready":
            held = next((one.reason for one in now_is.holds if _keeps(one, entries)), None)
            if held is not None:
                return LineKind.HELD, held
            return (LineKind.ON_ITS_WAY, "") if now_is.sends else (LineKind.HELD, SWITCHED_OFF)
        case "sending":
            return LineKind.ON_ITS_WAY, ""
        case "waiting" if reason not in _PERSON_DECIDES:
            return LineKind.WAITING, reason
        case "refused":
            return (LineKind.LEFT_OUT, SEEN_BY_A_PERSON) if entries.handled else (LineKind.REFUSED, "")
        case "in_doubt":
            return LineKind.IN_DOUBT, reason
        case _:
            return LineKind.DECIDE, reason or entries.state


def _each(resource: str, census: Census, now_is: Situation) -> Iterator[AccountLine]:
    yield from _not_settled(resource, census, now_is)
    yield from _set_aside(resource, census)
    yield from _at_kiva(resource, census, now_is)
    yield from _not_here(resource, census)


def _not_settled(resource: str, census: Census, now_is: Situation) -> Iterator[AccountLine]:
    closed = resource == "repayment" and not now_is.report_is_open
    for entries in census.entries:
        if entries.resource == resource:
            kind, cause = stand(entries, now_is)
            by_itself = kind in _BY_ITSELF
            goes = entries.last_due if kind is LineKind.ON_ITS_WAY else None
            yield AccountLine(kind, entries.number, cause, by_itself and (entries.overdue or closed), goes)


def _set_aside(resource: str, census: Census) -> Iterator[AccountLine]:
    for one in census.discarded:
        if one.resource == resource:
            yield AccountLine(LineKind.LEFT_OUT, one.number, BY_A_PERSON)
    for one in census.left_at_closing:
        if one.resource == resource:
            yield AccountLine(LineKind.LEFT_OUT, one.number, one.cause)


def _at_kiva(resource: str, census: Census, now_is: Situation) -> Iterator[AccountLine]:
    """What is there, but for what stands in another line: it differs, Kiva named a problem, or a newer one goes."""
    period = now_is.period if resource == "repayment" else ""
    there = {adopted: census.at_kiva.get(Counted(resource, period, line), 0) for adopted, line in _TALLIED}
    for one in census.differing:
        if one.resource == resource:
            there[one.adopted] -= one.number
            kind, cause = (LineKind.LEFT_OUT, SEEN_BY_A_PERSON) if one.seen else (LineKind.DECIDE, one.kind)
            yield AccountLine(kind, one.number, cause)
    for one_call in census.warned:
        if one_call.resource == resource:
            there[False] -= one_call.number
            yield AccountLine(LineKind.DECIDE, one_call.number, WARNED)
    aside = (*census.discarded, *census.left_at_closing)
    there[False] -= sum(one.reported for one in census.entries if one.resource == resource)
    there[False] -= sum(one.reported for one in aside if one.resource == resource)
    yield AccountLine(LineKind.DELIVERED, max(there[False], 0))
    yield AccountLine(LineKind.ADOPTED, max(there[True], 0))


_TALLIED = ((False, DELIVERED), (True, ADOPTED))


def _not_here(resource: str, census: Census) -> Iterator[AccountLine]:
    """What the outbox holds nothing of: rows of the book that were not read, loans of Kiva's list."""
    unread = [one for one in census.unread if one.resource == resource]
    yield AccountLine(LineKind.NOT_LOOKED_AT_YET, census.to_read.get(resource, 0), TO_BE_READ)
    if resource != "repayment":
        yield AccountLine(LineKind.NOT_LOOKED_AT_YET, sum(one.rows or 0 for one in unread), BACKFILL)
        return
    # As long as the book was not read whole, nobody knows whether the MIS gives a loan.
    absent = len(census.unreported.unknown)
    yield AccountLine(LineKind.NOT_LOOKED_AT_YET, absent, BACKFILL) if unread else AccountLine(LineKind.MISSING, absent)
    alike = len({kiva_id for kiva_id, _ in census.unreported.alike})
    yield AccountLine(LineKind.DECIDE, alike, adoption.PERHAPS)
    yield AccountLine(LineKind.NOT_LOOKED_AT_YET, census.unreported.known, TO_BE_READ)
    yield AccountLine(LineKind.DECIDE, census.unreported.doubled, ID_SHARED)


def _keeps(one: Hold, entries: EntryGroup) -> bool:
    return one.what in (ALL, entries.resource, STREAM + entries.stream)
