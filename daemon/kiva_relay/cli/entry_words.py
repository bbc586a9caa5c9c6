"""What to do about one entry, in words: by its state, what holds it, and what the MIS changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kiva_relay.cli import figure, hold_words, words
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import adoption, duplicate
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import History
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import PERSON_DECIDES
from kiva_relay.terminal import visible
from kiva_relay.words import language, task

Line = tuple[str, str]


def advice(
    known: History, settings: Settings, *, kept: Sequence[Hold], before: Entry | None, now: datetime
) -> Iterator[Line]:
    """What to know of one entry, and what to type, as (about, text); a line that continues the one above has no about.

    `kept` are the holds that keep it back, `before` is the position of the same loan that Kiva took last.
    """
    yield from _by_state(known, settings, kept=kept, now=now)
    if known.is_unseen:
        yield "In the MIS", "Its row was not there when it was last looked for, and neither were many others."
        yield "", "Nothing was withdrawn for them; a person is asked whether they left:   kiva-relay status"
    yield from _more(known, before)


def _by_state(known: History, settings: Settings, *, kept: Sequence[Hold], now: datetime) -> Iterator[Line]:
    entry = known.entry
    match entry.state:
        case State.IN_DOUBT:
            yield from _doubt(known, settings, now=now)
        case State.REFUSED:
            yield from _refused(entry)
        case State.WAITING:
            yield from _waiting(entry, settings, kept=kept, now=now)
        case State.READY:
            yield from _ready(entry, settings, kept=kept, now=now)
        case State.SENDING:
            yield "It is being sent", "Its answer is awaited. Nothing can be changed until then."
        case State.DELIVERED:
            yield from _delivered(known)
        case State.DISCARDED:
            yield "It does not go out", "If that was a mistake:"
            yield "", _settle(entry, "resend", "…")
        case _:
            newer = [one for one in known.versions if one.version > entry.version]
            text = f"In its place: #{newer[-1].id}, {words.said_of(newer[-1].state)}" if newer else "Nothing needs you."
            yield "It was not sent" if not known.attempts else "It is settled", text


def _doubt(known: History, settings: Settings, *, now: datetime) -> Iterator[Line]:
    entry = known.entry
    last = known.attempts[-1].started_at if known.attempts else entry.created_at
    if entry.repeats_itself:
        yield "Nothing needs you", "A position is sent again by itself; a second one does no harm. Nothing is lost."
        return
    noun = words.noun(entry.resource)
    yield (
        "Why it waits",
        f"Kiva may have it ({words.reason(entry.reason)}). A second {noun} could be made by sending it",
    )
    yield "", "again, so it is not sent: nothing is lost, nothing was sent twice."
    yield "What to look for", f"{_place(entry)}:"
    money = f", {figure.amount(entry.amount, entry.currency)}" if entry.amount is not None else ""
    yield "", f"loan id {visible.text(entry.loan_id)}{money}, about {figure.moment(last, settings, at=now)}"
    yield "Then", f"it is there           {_settle(entry, 'delivered', 'seen in PA2')}"
    yield "", f"it is not there       {_settle(entry, 'resend', 'not in PA2')}"
    yield "", f"it must not go out    {_settle(entry, 'discard', '…')}"
    if entry.resource == "loan_draft":
        yield (
            "By itself",
            "If the coordinator publishes it, the relay sees that at its next look, and settles it alone.",
        )
    else:
        yield "If nobody decides", "it stays as it is, and is not sent."


def _refused(entry: Entry) -> Iterator[Line]:
    for place, reason in enumerate(entry.reasons):
        yield ("Why it was refused" if place == 0 else ""), words.sentence(reason)
        if remedy := words.remedy(reason):
            yield "", f"→ {remedy}"
    yield "By itself", "It is tried again when its row in the MIS or the mapping changes. Until then it is not sent."
    if entry.body is not None:
        yield "The same again", _settle(entry, "resend", "…")
    elif entry.body_sha256 is not None:
        yield "Map it anew", _settle(entry, "resend", "…")
    yield "Typed into PA2", _settle(entry, "delivered", "typed by hand")


def _waiting(entry: Entry, settings: Settings, *, kept: Sequence[Hold], now: datetime) -> Iterator[Line]:
    yield "Why it waits", words.reason(entry.reason)
    if entry.reason in PERSON_DECIDES:
        yield "Send it as it is", _settle(entry, "resend", "…")
        yield "Leave it out", _settle(entry, "discard", "…")
        yield "If nobody decides", "it is not sent, and Kiva bills the loan as if it were repaid on schedule."
    elif entry.reason == adoption.PERHAPS:
        yield "The same loan", _settle(entry, "delivered", "the same loan, spelled otherwise")
        yield "Another loan", _settle(entry, "resend", "another loan")
        yield "If nobody decides", "it is not sent, so that there are not two."
    elif entry.reason == duplicate.PROBABLE:
        yield "Another loan", _settle(entry, "resend", "another loan")
        yield "The same loan", _settle(entry, "discard", "the same loan, entered twice")
        yield "If nobody decides", "it is not sent, so that there are not two."
    elif not kept:
        yield "By itself", "It goes as soon as that has changed. Nothing is lost, nothing needs you."
    else:
        yield from _kept("When that has changed", settings, kept=kept, now=now)


def _kept(about: str, settings: Settings, *, kept: Sequence[Hold], now: datetime) -> Iterator[Line]:
    for held in kept:
        yield about, hold_words.sentence(held, settings, now=now)
        by_itself = "Nothing to release: the relay lifts this by itself."
        yield "", by_itself if held.why.lifts_itself else hold_words.release(held.what)


def _ready(entry: Entry, settings: Settings, *, kept: Sequence[Hold], now: datetime) -> Iterator[Line]:
    yield from _kept("Why it waits", settings, kept=kept, now=now)
    if not kept:
        yield "By itself", f"It is sent, once, when it is due: {figure.moment(entry.due_at, settings, at=now)}."
    yield "Typed into PA2", _settle(entry, "delivered", "typed by hand")
    yield "It must not go out", _settle(entry, "discard", "…")


def _delivered(known: History) -> Iterator[Line]:
    entry, receipt = known.entry, known.entry.receipt or {}
    cancelled = any(one.kind == "left_scope" and one.ended_at is None for one in known.divergences)
    yield "How we know", words.why(entry)
    for name, value in sorted(receipt.items()):
        if name not in ("problems", "note"):
            yield "", f"{name}: {value}"
    for problem in receipt.get("problems", ()):
        said = problem.get("details") or problem.get("message") or problem.get("code")
        yield "Kiva's own words", f"{problem.get('severity', 'problem')}: “{said}”"
    if entry.evidence == "warned":
        yield "Then", f"all of its call is there        {_settle(entry, 'delivered', 'seen in PA2')}"
        yield "", f"send all of its call again      {_settle(entry, 'resend', 'not in PA2')}"
    elif entry.resource != "repayment" and not cancelled:
        yield "Deleted in PA2?", f"To send what the MIS says now:   {_settle(entry, 'resend', 'deleted in PA2')}"


def _more(known: History, before: Entry | None) -> Iterator[Line]:
    entry = known.entry
    for divergence in known.divergences:
        if divergence.ended_at is not None:
            continue
        if divergence.kind == "left_scope":
            yield "Cancelled in the MIS", f"Delete it in {_place(entry)}, then:"
        for reason in divergence.reasons:
            yield "No longer maps", words.sentence(reason)
        for one in divergence.fields:
            yield "Changed in the MIS", words.difference(one, entry.currency)
        yield "When it is done", f"kiva-relay review done {entry.id}"
    if before is not None and entry.resource == "repayment" and before.id != entry.id:
        yield "Before", f"{figure.amount(before.amount, before.currency)} (#{before.id}, report of {before.period})"
    if entry.publish_by is not None and entry.done_at is None:
        yield "Publish by", figure.day(entry.publish_by)
    others = [one for one in known.versions if one.id != entry.id]
    if others:
        listed = ", ".join(f"#{one.id} {words.said_of(one.state)}" for one in others)
        yield "Other versions", listed


def _place(entry: Entry) -> str:
    return task.place(entry.resource, language.of("en"))


def _settle(entry: Entry, verb: str, note: str) -> str:
    return f'kiva-relay outbox settle {entry.id} --{verb} --note "{note}"'
