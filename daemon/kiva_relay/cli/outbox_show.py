"""`kiva-relay outbox show`: one entry, or all of one loan: where it is, why, and what to do about it."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.cli import held as holds
from kiva_relay.cli import history as lives
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, listing, query
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Life
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import PERSON_DECIDES

_ABOUT = 20
_PLACES = {
    "loan_draft": "PA2 → home page → box “Loans” → “Drafts”",
    "journal": "PA2 → Journals",
    "repayment": "PA2 → Repayments",
}

_Line = tuple[str, str]

Number = Annotated[int | None, typer.Argument(metavar="[ID]", help="The entry's number, as status and list show it.")]


def command(
    number: Number = None, config: frame.Config = None, *, loan: frame.Loan = None, as_json: frame.AsJson = False
) -> None:
    """Show one entry by its number, or with --loan all that was owed for one loan."""
    if (number is None) == (loan is None):
        raise errors.UsageError(
            "Expected the number of an entry, or --loan and the id that PA2 shows.",
            hint="kiva-relay outbox show 1042\nkiva-relay outbox show --loan 000000871",
        )
    settings = frame.load(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        found = [found_by_number(tx, number)] if number is not None else of_loan(tx, loan or "")
        told = [listing.life(tx, entry) for entry in found]
        kept = [held for held in hold.in_force(tx) if any(_keeps(held, entry) for entry in found)]
        before = listing.last_position(tx, found[-1])
    if as_json:
        shown = [_json(one) for one in told]
        frame.print_json(shown[0] if number is not None else shown)
        return
    frame.header(settings)
    if number is not None:
        _one(told[0], settings, kept=kept, before=before)
    else:
        _loan(told, settings)


def found_by_number(tx: Connection, number: int) -> Entry:
    """The entry with this number.

    Raises:
        UsageError: there is none.
    """
    entry = query.find(tx, number)
    if entry is None:
        raise errors.UsageError(f"There is no entry {number} in this outbox.", hint="kiva-relay outbox list")
    return entry


def of_loan(tx: Connection, loan: str) -> list[Entry]:
    """The entries of a loan.

    Raises:
        UsageError: there are none; names the ids that end alike.
    """
    found = listing.of_loan(tx, loan)
    if not found:
        meant = listing.loans_like(tx, loan)
        raise errors.UsageError(
            f"The outbox knows nothing of loan {loan}: the relay never owed Kiva anything for it.",
            hint="\n".join(f"Did you mean: --loan {one}" for one in meant) or "kiva-relay mapping preview --help",
        )
    return found


def _keeps(held: hold.Hold, entry: Entry) -> bool:
    return held.what in (hold.ALL, entry.resource, hold.STREAM + entry.stream)


# ---------------------------------------------------------------- one entry


def _one(life: Life, settings: Settings, *, kept: list[hold.Hold], before: Entry | None) -> None:
    entry = life.entry
    frame.say(_title(entry, settings), style="bold")
    frame.say()
    _print_events(lives.events(life), settings)
    frame.say()
    advice = [*_advice(life, settings, kept), *_more(life, before)]
    for about, text in advice:
        frame.say(f"  {about:<{_ABOUT}}{text}".rstrip())


def _title(entry: Entry, settings: Settings) -> str:
    parts = [f"Loan {entry.loan_id}", f"n° {entry.id}", words.noun(entry.resource)]
    if entry.client_id:
        parts.append(f"client {entry.client_id}")
    if entry.period:
        parts.append(f"report of {entry.period}")
    if entry.amount is not None:
        parts.append(frame.amount(entry.amount, entry.currency))
    parts.append(f"{words.spoken(entry.state).upper()} since {frame.moment(entry.changed_at, settings)}")
    return " · ".join(parts)


def _print_events(events: list[lives.HistoryEvent], settings: Settings, *, numbers: bool = False) -> None:
    for event in events:
        number = f"n° {event.number:<7}" if numbers else ""
        frame.say(f"  {frame.moment(event.at, settings):>18}   {number}{event.text}")


def _advice(life: Life, settings: Settings, kept: list[hold.Hold]) -> Iterator[_Line]:
    entry = life.entry
    match entry.state:
        case State.IN_DOUBT:
            yield from _doubt(life, settings)
        case State.REFUSED:
            yield from _refused(entry)
        case State.WAITING:
            yield from _waiting(entry)
        case State.READY:
            yield from _ready(entry, settings, kept)
        case State.SENDING:
            yield "It is being sent", "The answer is awaited. Nothing can be changed until it is there."
        case State.DELIVERED:
            yield from _delivered(entry)
        case State.DISCARDED:
            yield "It does not go out", "If that was a mistake:"
            yield "", _settle(entry, "resend", "…")
        case _:
            newer = [one for one in life.versions if one.version > entry.version]
            text = (
                f"In its place: n° {newer[-1].id}, {words.spoken(newer[-1].state)}" if newer else "Nothing needs you."
            )
            yield "It was not sent" if not life.attempts else "It is settled", text


def _doubt(life: Life, settings: Settings) -> Iterator[_Line]:
    entry = life.entry
    last = life.attempts[-1].started_at if life.attempts else entry.created_at
    if entry.resource == "repayment" and entry.reason in ("answer_lost", "process_ended"):
        yield "Nothing needs you", "A position is sent again by itself; a second one does no harm. Nothing is lost."
        return
    noun = words.noun(entry.resource)
    yield (
        "Why it waits",
        f"Kiva may have it ({words.reason(entry.reason)}). A second {noun} could be made by sending it",
    )
    yield "", "again, so it is not sent: nothing is lost, nothing was sent twice."
    yield "What to look for", f"{_PLACES[entry.resource]}:"
    money = f", {frame.amount(entry.amount, entry.currency)}" if entry.amount is not None else ""
    yield "", f"loan id {entry.loan_id}{money}, about {frame.moment(last, settings)}"
    yield "Then", f"it is there           {_settle(entry, 'delivered', 'seen in PA2')}"
    yield "", f"it is not there       {_settle(entry, 'resend', 'not in PA2')}"
    yield "", f"it must not go out    {_settle(entry, 'discard', '…')}"
    if entry.resource == "loan_draft":
        yield "By itself", "If the coordinator publishes it, the relay sees that at its next look and settles it alone."
    else:
        yield "If nobody decides", "it stays as it is, and is not sent."


def _refused(entry: Entry) -> Iterator[_Line]:
    for place, reason in enumerate(entry.reasons):
        yield ("Why it was refused" if place == 0 else ""), words.sentence(reason)
        if remedy := words.remedy(reason):
            yield "", f"→ {remedy}"
    yield "By itself", "It is tried again when its row in the MIS or the mapping changes. Until then it is not sent."
    if entry.body is not None:
        yield "The same again", _settle(entry, "resend", "…")
    yield "Typed into PA2", _settle(entry, "delivered", "typed by hand")


def _waiting(entry: Entry) -> Iterator[_Line]:
    yield "Why it waits", words.reason(entry.reason)
    if entry.reason in PERSON_DECIDES:
        yield "Send it as it is", _settle(entry, "resend", "…")
        yield "Leave it out", _settle(entry, "discard", "…")
        yield "If nobody decides", "it is not sent, and Kiva bills the loan as if it were repaid on schedule."
    else:
        yield "By itself", "It goes when that is gone. Nothing is lost, nothing needs you."


def _ready(entry: Entry, settings: Settings, kept: list[hold.Hold]) -> Iterator[_Line]:
    for held in kept:
        yield "It is held", f"{holds.named(held.what)}: {held.sentence}, since {frame.moment(held.since, settings)}"
        yield "", f'sudo kiva-relay release {held.what} --note "…"'
    if not kept:
        yield "By itself", f"It is sent, once, when it is due: {frame.moment(entry.due_at, settings)}."
    yield "Typed into PA2", _settle(entry, "delivered", "typed by hand")
    yield "It must not go out", _settle(entry, "discard", "…")


def _delivered(entry: Entry) -> Iterator[_Line]:
    yield "How we know", words.why(entry)
    for name, value in sorted((entry.receipt or {}).items()):
        if name not in ("problems", "note"):
            yield "", f"{name}: {value}"
    for problem in (entry.receipt or {}).get("problems", ()):
        said = problem.get("details") or problem.get("message") or problem.get("code")
        yield "Kiva's own words", f"{problem.get('severity', 'problem')}: “{said}”"
    if entry.resource != "repayment":
        yield "Deleted in PA2?", f"To send what the MIS says now:   {_settle(entry, 'resend', 'deleted in PA2')}"


def _more(life: Life, before: Entry | None) -> Iterator[_Line]:
    entry = life.entry
    for divergence in life.divergences:
        if divergence.ended_at is not None:
            continue
        if divergence.kind == "left_scope":
            yield "Cancelled in the MIS", f"Delete it in {_PLACES[entry.resource]}, then:"
        for one in divergence.fields:
            yield "Changed in the MIS", words.difference(one, entry.currency)
        yield "When dealt with", f"sudo kiva-relay review done {entry.id}"
    if before is not None and entry.resource == "repayment" and before.id != entry.id:
        yield "Before", f"{frame.amount(before.amount, before.currency)} (n° {before.id}, report of {before.period})"
    if entry.publish_by is not None and entry.done_at is None:
        yield "Publish by", frame.day(entry.publish_by)
    others = [one for one in life.versions if one.id != entry.id]
    if others:
        listed = ", ".join(f"n° {one.id} {words.spoken(one.state)}" for one in others)
        yield "Other versions", listed


def _settle(entry: Entry, verb: str, note: str) -> str:
    return f'sudo kiva-relay outbox settle {entry.id} --{verb} --note "{note}"'


# ---------------------------------------------------------------- one loan


def _loan(told: list[Life], settings: Settings) -> None:
    loan = told[-1].entry.loan_id
    frame.say(f"Loan {loan}: what the relay owed Kiva for it, and what became of it", style="bold")
    frame.say()
    events = sorted((event for life in told for event in lives.events(life)), key=lambda event: event.at)
    _print_events(events, settings, numbers=True)
    frame.say()
    for life in told:
        entry = life.entry
        amount = f", {frame.amount(entry.amount, entry.currency)}" if entry.amount is not None else ""
        why = f" ({words.why(entry)})" if words.why(entry) else ""
        frame.say(f"  n° {entry.id:<7}{words.noun(entry.resource)}{amount}: {words.spoken(entry.state)}{why}")
    frame.say()
    for line in lives.comes_to(told):
        frame.say(f"  → {line}")
    frame.say(f"  One of them, and what to do about it:   sudo kiva-relay outbox show {told[-1].entry.id}")


def _json(life: Life) -> dict[str, Any]:
    return words.entry_json(life.entry) | {
        "attempts": [vars(attempt) for attempt in life.attempts],
        "acts": [vars(act) for act in life.acts],
        "divergences": [
            {
                "kind": one.kind,
                "fields": [
                    {"field": each["field"]} if words.is_personal(each["field"]) else each for each in one.fields
                ],
                "since": one.since,
                "ended_at": one.ended_at,
                "ended_by": one.ended_by,
            }
            for one in life.divergences
        ],
        "versions": [{"number": one.id, "version": one.version, "state": one.state.value} for one in life.versions],
    }
