"""The life of an entry as a person reads it: what happened, oldest first, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kiva_relay.cli import words
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Act, Attempt, Divergence, Life
from kiva_relay.outbox.state import State

_LONGEST = 200
_ORIGINS = {
    "poll": "seen in the MIS",
    "backfill": "seen in the MIS when the whole book was read",
    "sweep": "found in the MIS by the sweep",
    "report": "computed for the report",
    "person": "noted as typed into PA2 by hand, before the MIS owed it",
    "witness": "known from the witness only: it was sent before the outbox was restored",
}
_OUTCOMES = {
    "accepted": "Kiva accepted it",
    "refused": "Kiva refused it",
    "not_processed": "surely not processed",
    "in_doubt": "the answer was lost",
}
_SETTLED = {
    State.SUPERSEDED: "replaced by a newer version before it was sent",
    State.WITHDRAWN: "withdrawn",
    State.DISCARDED: "discarded: it does not go out",
}


@dataclass(frozen=True)
class HistoryEvent:
    """Something that happened to an entry."""

    at: datetime
    number: int
    text: str


def events(life: Life) -> list[HistoryEvent]:
    """What happened to one entry, oldest first."""
    entry = life.entry
    told = [(entry.created_at, _made(entry))]
    if entry.refusals and not life.attempts:
        codes = words.joined(dict.fromkeys(reason.code for reason in entry.reasons))
        told.append((entry.created_at, f"refused before it was sent: {codes}"))
    for attempt in life.attempts:
        told += _tried(attempt)
    told += [(act.at, _done(act)) for act in life.acts]
    for divergence in life.divergences:
        told += _diverged(divergence)
    told += _looked(life)
    if entry.settled_at is not None:
        told += [(entry.settled_at, text) for text in _settled(life)]
    if entry.done_at is not None:
        told.append((entry.done_at, "the coordinator has dealt with it"))
    return [HistoryEvent(at, entry.id, text) for at, text in sorted(told, key=lambda one: one[0])]


def comes_to(lives: Sequence[Life]) -> list[str]:
    """Of one loan's drafts or journals: how often it can be at Kiva, in a sentence or two."""
    said = []
    for resource in ("loan_draft", "journal"):
        mine = [life for life in lives if life.entry.resource == resource]
        tried = sorted((one for life in mine for one in life.attempts), key=lambda one: one.id)
        accepted = [one for one in tried if one.outcome == "accepted"]
        lost = [one for one in tried if one.outcome == "in_doubt"]
        noun = words.noun(resource)
        if resource == "journal" and len({life.entry.identity for life in mine}) > 1:
            continue
        if len(accepted) + len(lost) > 1:
            said.append(
                f"More than one {noun} is possible: Kiva may have taken one whose answer was lost. If there are two in"
                " PA2, keep the newest and delete the other."
            )
        elif accepted:
            said.append(f"This {noun} was sent once by the relay. Another one was not made by it (typed by hand?).")
        elif mine and not lost:
            said.append(f"The relay has sent no {noun} of this loan. One in PA2 was not made by it (typed by hand?).")
    return said


def _made(entry: Entry) -> str:
    text = _ORIGINS.get(entry.origin, entry.origin)
    return f"{text}; mapped by {entry.stream} ({entry.fingerprint})" if entry.fingerprint else text


def _tried(attempt: Attempt) -> Iterator[tuple[datetime, str]]:
    others = f", with {attempt.entries - 1:,} others" if attempt.entries > 1 else ""
    yield attempt.started_at, f"attempt {attempt.id} began{others}"
    if attempt.ended_at is None or attempt.outcome is None:
        return
    text = _OUTCOMES[attempt.outcome]
    if attempt.status is not None:
        text += f" (status {attempt.status})"
    if attempt.detail and attempt.outcome != "accepted":
        text += f": “{' '.join(attempt.detail.split())[:_LONGEST]}”"
    yield attempt.ended_at, f"attempt {attempt.id}: {text}"


def _done(act: Act) -> str:
    return f"{act.person}: {act.verb}" + (f" “{act.note}”" if act.note else "")


def _diverged(divergence: Divergence) -> Iterator[tuple[datetime, str]]:
    if divergence.kind == "left_scope":
        yield divergence.since, "cancelled in the MIS after it was sent"
    else:
        fields = words.joined(one["field"] for one in divergence.fields)
        yield divergence.since, f"changed in the MIS after it was sent: {fields}"
    if divergence.ended_at is not None:
        yield divergence.ended_at, f"no longer open: {divergence.ended_by}"


def _looked(life: Life) -> Iterator[tuple[datetime, str]]:
    """What Kiva's list said of a doubt that stands."""
    if life.entry.state is not State.IN_DOUBT or life.entry.resource != "loan_draft" or life.looked_at is None:
        return
    last = max((one.started_at for one in life.attempts), default=life.entry.created_at)
    if life.looked_at > last:
        yield (
            life.looked_at,
            "looked for at Kiva: not listed. That proves nothing: a draft need not be listed before it is published",
        )


def _settled(life: Life) -> Iterator[str]:
    entry = life.entry
    if entry.state in _SETTLED:
        yield _SETTLED[entry.state] + (
            f": {words.reason(entry.reason)}" if entry.reason not in (None, "person") else ""
        )
    elif entry.evidence in ("look_up", "adopted"):
        yield words.why(entry)
