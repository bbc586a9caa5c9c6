"""The history of an entry in words: what happened, oldest first, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kiva_relay.account.copies import Copies, Possible
from kiva_relay.cli import words
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import Act, Attempt, Divergence, History
from kiva_relay.outbox.state import State

_LONGEST = 200
_ORIGINS = {
    "poll": "seen in the MIS",
    "backfill": "seen in the MIS when the whole book was read",
    "sweep": "found in the MIS by the sweep",
    "report": "computed for the report",
    "person": "recorded as typed into PA2 by hand, before the MIS owed it",
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


def events(history: History) -> list[HistoryEvent]:
    """What happened to one entry, oldest first."""
    entry = history.entry
    found = [(entry.created_at, _made(entry))]
    if entry.refusals and not history.attempts:
        codes = words.joined(dict.fromkeys(reason.code for reason in entry.reasons))
        found.append((entry.created_at, f"refused before it was sent: {codes}"))
    for attempt in history.attempts:
        found += _tried(attempt)
    found += [(act.at, _done(act)) for act in history.acts]
    for divergence in history.divergences:
        found += _diverged(divergence)
    found += _looked(history)
    if entry.settled_at is not None:
        found += [(entry.settled_at, text) for text in _settled(history)]
    if entry.done_at is not None:
        found.append((entry.done_at, "the coordinator has dealt with it"))
    return [HistoryEvent(at, entry.id, text) for at, text in sorted(found, key=lambda one: one[0])]


def comes_to(one: Copies) -> str:
    """How often a loan's draft or journal can be at Kiva, in a sentence or two."""
    noun = words.noun(one.resource)
    return {
        Possible.SEVERAL: f"More than one {noun} is possible: Kiva may have taken one whose answer was lost."
        " If there are two in PA2, keep the newest and delete the other.",
        Possible.ONE: f"This {noun} was sent once by the relay. If there is another one, the relay did not make it"
        " (typed by hand?).",
        Possible.NONE: f"The relay has sent no {noun} of this loan. If there is one in PA2, the relay did not make it"
        " (typed by hand?).",
    }[one.possible]


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


def _looked(history: History) -> Iterator[tuple[datetime, str]]:
    """What Kiva's list said of an open doubt."""
    if history.entry.state is not State.IN_DOUBT or history.entry.resource != "loan_draft" or history.looked_at is None:
        return
    last = max((one.started_at for one in history.attempts), default=history.entry.created_at)
    if history.looked_at > last:
        yield (
            history.looked_at,
            "looked for at Kiva: not listed. That proves nothing: a draft need not be listed before it is published",
        )


def _settled(history: History) -> Iterator[str]:
    entry = history.entry
    if entry.state in _SETTLED:
        yield _SETTLED[entry.state] + (
            f": {words.reason(entry.reason)}" if entry.reason not in (None, "person") else ""
        )
    elif entry.evidence in ("look_up", "adopted"):
        yield words.why(entry)
