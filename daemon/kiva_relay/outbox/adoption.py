"""What Kiva has already is adopted: taken as delivered, and never sent. Decided here and nowhere else.

It is asked when a draft becomes owed (capture), before one is sent (courier), after each reading of Kiva's list
(reconciler), and when a person says what was typed into PA2. All of them apply what these functions say.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror, query
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import UNSENT, State
from kiva_relay.resource import loan_id as spelled

_Key = TypeVar("_Key", bound=Hashable)

RESOURCE = "loan_draft"
"""Only drafts are adopted: of a position Kiva takes the newest, and a journal has no id that Kiva lists."""


PERHAPS = "perhaps_at_kiva"
"""Why what is owed waits: Kiva has a loan whose id differs in case only."""


@dataclass(frozen=True)
class Adoption:
    """Kiva has the loan. `receipt` is what is recorded of that: its Kiva id and status, or a person's note."""

    receipt: Mapping[str, Any]


def decide(ids: Sequence[str], listed: Mapping[str, MirroredLoan], noted: Mapping[str, str]) -> Adoption | None:
    """Whether Kiva has a draft already, under any of its ids, the first id first.

    `listed` is what Kiva lists, by the id's key; `noted` what persons said is in PA2, likewise, with their notes. What
    Kiva lists is the better evidence.
    """
    keys = [spelled.key(loan_id) for loan_id in ids]
    for loan_id in keys:
        if loan_id in listed:
            loan = listed[loan_id]
            return Adoption({"kiva_id": loan.kiva_id, "status": loan.status})
    for loan_id in keys:
        if loan_id in noted:
            return Adoption({"note": noted[loan_id]})
    return None


def is_open(resource: str, state: State | None, *, older_in_flight: bool) -> bool:
    """May it be adopted? `state` is None for what is owed just now.

    Not while it, or an older version of it, is on its way or in doubt: what Kiva lists may be just that one, and
    evidence settles it.
    """
    return resource == RESOURCE and (state is None or state in UNSENT) and not older_in_flight


def found(tx: Connection, wanted: Mapping[_Key, Sequence[str]]) -> dict[_Key, Adoption]:
    """Those of several drafts that Kiva has, by the caller's own key. `wanted` gives the ids of each."""
    every = {loan_id for ids in wanted.values() for loan_id in ids}
    listed, noted = mirror.by_loan_id(tx, every), query.by_hand(tx, every)
    decided = {key: decide(ids, listed, noted) for key, ids in wanted.items()}
    return {key: adoption for key, adoption in decided.items() if adoption is not None}


def perhaps(tx: Connection, ids: Sequence[str]) -> bool:
    """Of a draft that Kiva does not have: does it have one whose id differs in case only? Then a person is asked."""
    keys = {spelled.key(loan_id) for loan_id in ids}
    return bool(mirror.differing_in_case(tx, ids)) or bool(query.by_hand(tx, ids).keys() - keys)


def of_entries(tx: Connection, entries: Sequence[Entry]) -> dict[int, Adoption]:
    """Those of several entries that Kiva has, by entry id."""
    may = [entry for entry in entries if is_open(entry.resource, entry.state, older_in_flight=bool(entry.waits_for))]
    return found(tx, {entry.id: mirror.candidates(entry) for entry in may})


class Heard(StrEnum):
    """What a person's word that a loan is in PA2 means here."""

    BEING_SENT = "being_sent"
    KNOWN = "known"
    NOTED = "noted"
    OWED = "owed"


def heard(mine: Sequence[Entry], *, at_kiva: bool) -> tuple[Heard, list[Entry]]:
    """What the word means for one loan id, and the entries that it settles.

    `mine` are the drafts under this id that are owed or under way, `at_kiva` says whether one is delivered already.
    What is being sent is left alone; where a version is in doubt, the word is about that one, and what waits behind
    it follows.
    """
    in_doubt = [entry for entry in mine if entry.state is State.IN_DOUBT]
    if any(entry.state is State.SENDING for entry in mine):
        return Heard.BEING_SENT, in_doubt
    meant = [entry for entry in in_doubt or mine if entry.state in UNSENT | {State.IN_DOUBT}]
    if at_kiva:
        return Heard.KNOWN, meant
    return (Heard.OWED if mine else Heard.NOTED), meant
