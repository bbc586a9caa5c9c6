"""A person's word about an entry. Guarded by state and row version; never touches what is being sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import (
    act,
    adoption,
    closing,
    divergence,
    duplicate,
    history,
    listing,
    mirror,
    query,
    store,
    watermark,
)
from kiva_relay.outbox.adoption import Heard
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.refusal import PERSON_DECIDES

Verb = Literal["delivered", "resend", "discard"]

_DECIDES = PERSON_DECIDES | {adoption.PERHAPS, duplicate.PROBABLE}
"""Why something waits until a person decides."""

_FROM: Mapping[Verb, set[State]] = {
    "delivered": {State.IN_DOUBT, State.READY, State.WAITING, State.REFUSED, State.DISCARDED, State.DELIVERED},
    "resend": {State.IN_DOUBT, State.WAITING, State.REFUSED, State.DELIVERED, State.DISCARDED},
    "discard": {State.IN_DOUBT, State.READY, State.WAITING, State.REFUSED},
}


def settle(tx: Connection, entry: Entry, verb: Verb, *, by: str, note: str, now: datetime) -> Entry:
    """Move an entry on a person's word, and write down who said it and why.

    Raises:
        UsageError: the entry is in a state from which this verb leads nowhere; the message says what does.
        Overtaken: the relay moved it meanwhile.
    """
    if entry.state not in _FROM[verb] or not _possible(entry, verb):
        raise errors.UsageError(
            f"Entry {entry.id} is {_said(entry)}: --{verb} does not apply to it.",
            hint=f"kiva-relay outbox show {entry.id}",
        )
    older = query.stand(tx, entry.resource, entry.identity).in_flight
    if older is not None and older.id != entry.id:
        raise errors.UsageError(
            f"Entry {entry.id} waits for entry {older.id}, an older version, which is {_said(older)}.",
            hint=f"Settle that one first: kiva-relay outbox show {older.id}",
        )
    act.record(tx, by=by, verb=f"settle --{verb}", about={"entry": entry.id, "was": entry.state}, note=note, now=now)
    if verb == "delivered":
        settled = store.move(
            tx,
            entry,
            State.DELIVERED,
            Actor.PERSON,
            now=now,
            evidence="person",
            receipt=_receipt(entry, note),
            reason=None,
        )
    elif verb == "discard":
        settled = store.move(tx, entry, State.DISCARDED, Actor.PERSON, now=now, reason="person")
    else:
        if entry.reason == duplicate.PROBABLE:
            duplicate.put(tx, entry, by=by, note=note, now=now)
        settled = _send_again(tx, entry, now=now)
    return store.follow(tx, settled, by=Actor.PERSON, now=now)


def possible(tx: Connection, entry: Entry) -> tuple[Verb, ...]:
    """The words that a person may say of an entry as it stands; none while an older version of it is on its way."""
    older = query.stand(tx, entry.resource, entry.identity).in_flight
    if older is not None and older.id != entry.id:
        return ()
    return tuple(verb for verb, states in _FROM.items() if entry.state in states and _possible(entry, verb))


@dataclass(frozen=True)
class Adopted:
    """What became of loan ids that a person found in PA2. `noted`: the MIS does not owe them yet, and never will."""

    moved: tuple[Entry, ...]
    noted: tuple[str, ...]
    known: tuple[str, ...]
    being_sent: tuple[str, ...]


def adopt(tx: Connection, loan_ids: Sequence[str], *, by: str, note: str, now: datetime) -> Adopted:
    """Take loans as being in PA2 on a person's word, under any of the ids that their drafts hold."""
    owed: dict[str, list[int]] = {}
    for entry in query.drafts(tx):
        for loan in {entry.identity, *mirror.candidates(entry)}:
            owed.setdefault(spelled.key(loan), []).append(entry.id)
    at_kiva = query.drafts_at_kiva(tx)
    moved: dict[int, Entry] = {}
    heard: dict[Heard, list[str]] = {means: [] for means in Heard}
    for loan in loan_ids:
        versions = [query.find(tx, number) for number in dict.fromkeys(owed.get(spelled.key(loan), ()))]
        mine = [version for version in versions if version is not None]
        means, settled = adoption.heard(mine, at_kiva=spelled.key(loan) in at_kiva)
        heard[means].append(loan)
        if means is Heard.NOTED:
            store.put_by_hand(tx, loan, note=note, now=now)
        for version in settled:
            moved[version.id] = settle(tx, version, "delivered", by=by, note=note, now=now)
    about = {"moved": len(moved), "noted": heard[Heard.NOTED]}
    act.record(tx, by=by, verb="adopt", about=about, note=note, now=now)
    noted, known, being_sent = (tuple(heard[means]) for means in (Heard.NOTED, Heard.KNOWN, Heard.BEING_SENT))
    return Adopted(tuple(moved.values()), noted, known, being_sent)


def done(tx: Connection, entry: Entry, *, by: str, note: str, now: datetime, verb: str = "review done") -> bool:
    """The coordinator has dealt with an entry; false when only a change in the MIS was acknowledged.

    `verb` is what she said that she did.

    A draft that the MIS changed has been corrected by that, not published: it stays on the list. One that the MIS
    cancelled has been deleted in PA2.

    Raises:
        UsageError: nobody has to do anything about it, or what is to be done is to settle it.
    """
    gravest = next((open_.kind for open_ in history.open_divergences(tx, entry.id)), None)
    if gravest is None and (not _dealt_with(entry) or entry.done_at is not None):
        settles = entry.state is State.IN_DOUBT or entry.reason in _DECIDES or entry.evidence == "warned"
        raise errors.UsageError(
            f"Entry {entry.id} (loan {entry.loan_id}) is {_said(entry)}: "
            + ("only a decision ends that." if settles else "there is nothing to mark as done."),
            hint=f"kiva-relay outbox show {entry.id}",
        )
    act.record(tx, by=by, verb=verb, about={"entry": entry.id, "was": entry.state}, note=note, now=now)
    divergence.end(tx, entry.id, by=by, now=now)
    if gravest == "changed":
        store.acknowledge(tx, entry)  # else a second click would take it off the list
        return False
    if _dealt_with(entry):
        for each in (entry, *_of_the_same_page(tx, entry)):
            store.mark_done(tx, each, now=now)
    return True


def _of_the_same_page(tx: Connection, entry: Entry) -> list[Entry]:
    """Journals that are confirmed on the same page of Kiva's, and that nothing else is to be done about."""
    page = (entry.receipt or {}).get("confirm_url")
    if entry.resource != "journal" or page is None:
        return []
    others = [one for one in listing.to_confirm(tx) if (one.receipt or {}).get("confirm_url") == page]
    return [one for one in others if one.id != entry.id and not history.open_divergences(tx, one.id)]


def _dealt_with(entry: Entry) -> bool:
    """Can the coordinator deal with it, so that nothing more is to be decided?"""
    if entry.state is State.DELIVERED:
        return entry.evidence != "warned"
    undecided = entry.state is State.WITHDRAWN and entry.reason in PERSON_DECIDES
    return entry.state is State.REFUSED or entry.reason == closing.CLOSED_UNKNOWN or undecided


def _possible(entry: Entry, verb: Verb) -> bool:
    if verb == "delivered":
        return entry.state is not State.DELIVERED or entry.evidence == "warned"
    if verb != "resend":
        return True
    if entry.state is State.REFUSED:
        return entry.body is not None or _was_purged(entry) or _another_row(entry)
    if entry.state is State.WAITING:
        return entry.reason in _DECIDES and entry.waits_for is None
    return True


def _send_again(tx: Connection, entry: Entry, *, now: datetime) -> Entry:
    """The same bytes again; or, where it was settled for good or its body is not here, the present version."""
    if entry.body is None and (entry.state is State.IN_DOUBT or _was_purged(entry) or _another_row(entry)):
        entry = store.move(tx, entry, State.DISCARDED, Actor.PERSON, now=now, reason="person")
    if entry.state in (State.DELIVERED, State.DISCARDED):
        gone = store.move(tx, entry, State.WITHDRAWN, Actor.PERSON, now=now, reason="person")
        divergence.end(tx, entry.id, by="a person", now=now)
        mirror.forget(tx, mirror.candidates(entry))
        watermark.take_as_new(tx, entry.resource, entry.identity)
        return gone
    is_position = entry.resource == "repayment"
    reason = store.SETTLED if is_position else None
    return store.move(tx, entry, State.READY, Actor.PERSON, now=now, reason=reason, due_at=now, repeats=0)


def _receipt(entry: Entry, note: str) -> dict[str, Any]:
    """What Kiva gave back, where it did, and a person's note."""
    return {**(entry.receipt or {}), "note": note} if entry.state is State.DELIVERED else {"note": note}


def _was_purged(entry: Entry) -> bool:
    """Did Kiva refuse a body of it that was deleted since? Then the row is mapped anew."""
    return entry.state is State.REFUSED and entry.body is None and entry.body_sha256 is not None


def _another_row(entry: Entry) -> bool:
    """Was it refused only because its number was another row's before?"""
    return entry.state is State.REFUSED and [reason.code for reason in entry.reasons] == ["id_used_twice"]


def _said(entry: Entry) -> str:
    return entry.state.replace("_", " ") + (f" ({entry.reason})" if entry.reason else "")
