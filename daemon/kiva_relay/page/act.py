"""What a person does by a button: one act, guarded by what she saw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act as acts
from kiva_relay.outbox import adoption, discrepancy, duplicate, mirror, query, settlement, store
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.person import Person
from kiva_relay.outbox.state import UNSENT, State

DONE = {"done": "review done", "corrected": "review corrected", "deleted": "review deleted"}
"""What takes an entry off the list, and how the act is called."""
SETTLES = {
    "delivered": "delivered",
    "typed": "delivered",
    "resend": "resend",
    "again": "resend",
    "discard": "discard",
    "same": "discard",
}
"""What settles an entry, and by which word. `typed` by hand into PA2, deleted there and to be sent `again`."""
VERBS = (*DONE, *SETTLES, "another", "apart")
LONGEST_NOTE = 1_000
_LONGEST = 40
"""Letters of two numbers of an outbox."""


class Changed(Exception):
    """It is no longer as the person saw it: somebody else was quicker, or the relay."""


class Forbidden(Exception):
    """This is not hers to decide."""


@dataclass(frozen=True)
class Seen:
    """An entry as it stood on the page."""

    entry: int
    row_version: int

    @property
    def text(self) -> str:
        """As a form carries it."""
        return f"{self.entry}:{self.row_version}"


def seen(entries: Sequence[Entry]) -> str:
    """Entries, as a form carries them."""
    return ",".join(Seen(entry.id, entry.row_version).text for entry in entries)


def read(written: str) -> list[Seen]:
    """What a form brought back; nothing where it makes no sense."""
    found = []
    for one in written.split(","):
        number, _, version = one.partition(":")
        if not (number.isdigit() and version.isdigit() and one.replace(":", "").isascii() and len(one) < _LONGEST):
            return []
        found.append(Seen(int(number), int(version)))
    return found


def do(tx: Connection, person: Person, verb: str, entries: Sequence[Seen], *, note: str, now: datetime) -> None:
    """Do it for all of these entries, or for none.

    Raises:
        Changed: one of them is no longer as it was seen.
        Forbidden: the person's role does not reach that far.
        UsageError: the verb leads nowhere from here.
    """
    if verb not in VERBS or not entries:
        raise errors.UsageError("There is no such button.")
    by, note = acts.on_page(person.name), note.strip()[:LONGEST_NOTE]
    if verb == "apart":
        _apart(tx, entries, by=by, note=note, now=now)
        return
    for entry in [_as_seen(tx, one) for one in entries]:
        if not may(tx, person, verb, entry):
            raise Forbidden
        if verb in DONE and _is_done(tx, entry):
            continue  # with another one of the same page of PA2
        try:
            _do(tx, verb, entry, by=by, note=note, now=now)
        except store.Overtaken:
            raise Changed from None


def _as_seen(tx: Connection, one: Seen) -> Entry:
    entry = query.find(tx, one.entry)
    if entry is None or entry.row_version != one.row_version:
        raise Changed
    return entry


def _is_done(tx: Connection, seen: Entry) -> bool:
    now_is = query.find(tx, seen.id)
    return seen.done_at is None and now_is is not None and now_is.done_at is not None


def seen_apart(found: Sequence[KeptDiscrepancy]) -> str:
    """Differences between MIS, outbox and Kiva, as a form carries them: since when they are as they are."""
    return ",".join(Seen(one.id, _since(one)).text for one in found)


def _since(one: KeptDiscrepancy) -> int:
    return 0 if one.since is None else int(one.since.timestamp() * 1_000_000)


def _apart(tx: Connection, shown: Sequence[Seen], *, by: str, note: str, now: datetime) -> None:
    for each in shown:
        one = discrepancy.of(tx, each.entry)
        if one is None or _since(one) != each.row_version or one.seen_at is not None:
            raise Changed
        discrepancy.seen(tx, one, by=by, note=note, now=now)


def _do(tx: Connection, verb: str, entry: Entry, *, by: str, note: str, now: datetime) -> None:
    if verb == "another":
        try:
            duplicate.answer(tx, entry, by=by, note=note, now=now)
        except errors.UsageError:
            raise Changed from None  # it was answered, and nothing of the entry shows that yet
    elif verb in DONE:
        settlement.done(tx, entry, by=by, note=note, now=now, verb=DONE[verb])
    elif SETTLES[verb] == "delivered":
        settlement.settle(tx, entry, "delivered", by=by, note=note, now=now)
    elif SETTLES[verb] == "resend":
        settlement.settle(tx, entry, "resend", by=by, note=note, now=now)
    else:
        settlement.settle(tx, entry, "discard", by=by, note=note, now=now)


def may(tx: Connection, person: Person, verb: str, entry: Entry) -> bool:
    """May this person do this to an entry? A coordinator says what only PA2 can tell, and whose loan it is."""
    match verb:
        case "typed":
            return entry.resource == "loan_draft" and entry.state in UNSENT and entry.publish_by is not None
        case "again":
            return may_be_deleted(tx, entry)
        case "same" | "another":
            return entry.state is State.WAITING and entry.reason == duplicate.PROBABLE
        case "delivered" | "resend":
            return may_settle(person, entry)
        case "discard":
            return person.role == "administrator"
        case _:
            return True


def may_settle(person: Person, entry: Entry) -> bool:
    """May this person say what became of an entry? A coordinator of that which only PA2 can tell."""
    asked = entry.state is State.IN_DOUBT or entry.evidence == "warned" or is_in_other_case(entry)
    return person.role == "administrator" or asked


def is_in_other_case(entry: Entry) -> bool:
    """Is it a draft that waits because Kiva has its id in other letters?"""
    waits = entry.state is State.WAITING and entry.reason == adoption.PERHAPS
    return waits and entry.resource == "loan_draft"


def may_be_deleted(tx: Connection, entry: Entry) -> bool:
    """Is it something in PA2 that a person can have deleted there: ours, and not published?"""
    there = entry.state is State.DELIVERED and entry.evidence not in ("adopted", "warned")
    return there and entry.resource == "loan_draft" and not mirror.is_published(tx, entry)
