"""`kiva-relay outbox show`: one entry, or all of one loan: where it is, why, and what to do about it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from kiva_relay import errors
from kiva_relay.account import copies
from kiva_relay.cli import entry_words, figure, frame, history_words, named_entry, words
from kiva_relay.cli.history_words import HistoryEvent
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import history, hold, meta, query
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import History
from kiva_relay.terminal import visible
from kiva_relay.words import personal

_ABOUT = 22

Number = Annotated[int | None, typer.Argument(metavar="[ID]", help="The entry's number, as status and list show it.")]


Curl = Annotated[bool, typer.Option("--curl", help="The last request as Kiva's support asks for it; persons masked.")]


def command(
    number: Number = None,
    config: frame.Config = None,
    *,
    loan: frame.Loan = None,
    curl: Curl = False,
    as_json: frame.AsJson = False,
) -> None:
    """Show one entry by its number, or with --loan all that was owed for one loan."""
    if (number is None) == (loan is None):
        raise errors.UsageError(
            "Expected the number of an entry, or --loan and the id that PA2 shows.",
            hint="kiva-relay outbox show 1042\nkiva-relay outbox show --loan 000000871",
        )
    settings = frame.load_to_look(config)
    if curl:
        _curl(settings, number)
        return
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        found = [named_entry.by_number(tx, number)] if number is not None else named_entry.of_loan(tx, loan or "")
        known = [history.of_entry(tx, entry) for entry in found]
        kept = [one for one in hold.in_force(tx) if any(one.keeps(entry) for entry in found)]
        last = found[-1]
        before = query.last_delivered(tx, last.resource, last.identity, before=last.version)
    if as_json:
        shown = [_json(one) for one in known]
        frame.print_json(shown[0] if number is not None else shown)
        return
    frame.header(settings)
    if number is not None:
        _one(known[0], settings, kept=kept, before=before)
    else:
        _loan(known, settings)


def _curl(settings: Settings, number: int | None) -> None:
    """The last attempt of an entry, with all that went in the same request."""
    from kiva_relay.delivery import batch  # noqa: PLC0415 - what sends takes long to import, and only this shows it
    from kiva_relay.delivery import curl as masked  # noqa: PLC0415 - as above

    if number is None:
        raise errors.UsageError("--curl is about one entry.", hint="kiva-relay outbox show 1042 --curl")
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        tried = history.attempts(tx, named_entry.by_number(tx, number).id)
        if not tried:
            raise errors.UsageError(
                f"Entry {number} was never sent: there is no request.", hint=f"kiva-relay outbox show {number}"
            )
        last = tried[-1]
        together = query.members(tx, last.batch_id)
        key = batch.key(meta.OUTBOX_ID.get(tx) or "", last.id)
    bodies = [entry.body for entry in together]
    frame.notice(f"Attempt {last.id}, begun {last.started_at:%Y-%m-%d %H:%M:%S} UTC: {_ended(last)}")
    if None in bodies:
        frame.notice(f"The bodies of {bodies.count(None)} of {len(bodies)} entries were deleted after a while.")
    frame.notice(f"{masked.MASKED} stands for the token, names, stories and photos. Nothing is sent by this command.")
    frame.say(masked.command(together[0].resource, bodies, settings.kiva, key=key, shown=("gender",)))


def _ended(last: history.Attempt) -> str:
    if last.outcome is None:
        return "under way, or its process ended"
    answered = "no answer came" if last.status is None else f"answered {last.status}"
    return f"{answered}{f', “{visible.text(last.detail)}”' if last.detail else ''}"


def _one(known: History, settings: Settings, *, kept: Sequence[hold.Hold], before: Entry | None) -> None:
    frame.say(_title(known.entry, settings), style="bold")
    frame.say()
    _print_events(history_words.events(known), settings)
    frame.say()
    for about, text in entry_words.advice(known, settings, kept=kept, before=before, now=frame.now()):
        frame.say(f"  {about:<{_ABOUT}}{text}".rstrip())


def _title(entry: Entry, settings: Settings) -> str:
    parts = [
        words.capital(f"loan {words.loan(entry)}" if entry.loan_id else words.loan(entry)),
        words.number(entry.id),
        words.noun(entry.resource),
    ]
    if entry.client_id:
        parts.append(f"client {entry.client_id}")
    if entry.period:
        parts.append(f"report of {entry.period}")
    if entry.amount is not None:
        parts.append(figure.amount(entry.amount, entry.currency))
    since = figure.moment(entry.changed_at, settings, at=frame.now())
    parts.append(f"{words.said_of(entry.state).upper()} since {since}")
    return " · ".join(parts)


def _print_events(events: Sequence[HistoryEvent], settings: Settings, *, numbers: bool = False) -> None:
    now = frame.now()
    for event in events:
        number = f"{words.number(event.number):<8}" if numbers else ""
        frame.say(f"  {figure.moment(event.at, settings, at=now):>18}   {number}{event.text}")


def _loan(known: Sequence[History], settings: Settings) -> None:
    last = known[-1].entry
    frame.say(
        f"Loan {visible.text(last.loan_id)}: what the relay owed Kiva for it, and what became of it", style="bold"
    )
    frame.say()
    events = sorted((event for one in known for event in history_words.events(one)), key=lambda event: event.at)
    _print_events(events, settings, numbers=True)
    frame.say()
    for one in known:
        entry = one.entry
        amount = f", {figure.amount(entry.amount, entry.currency)}" if entry.amount is not None else ""
        why = f" ({words.why(entry)})" if words.why(entry) else ""
        state = words.said_of(entry.state)
        frame.say(f"  {words.number(entry.id):<8}{words.noun(entry.resource)}{amount}: {state}{why}")
    frame.say()
    for each in copies.copies(known):
        frame.say(f"  → {history_words.comes_to(each)}")
    frame.say(f"  One of them, and what to do about it:   kiva-relay outbox show {last.id}")


def _json(known: History) -> dict[str, Any]:
    return words.entry_json(known.entry) | {
        "attempts": [vars(attempt) for attempt in known.attempts],
        "acts": [vars(act) for act in known.acts],
        "divergences": [
            {
                "kind": one.kind,
                "fields": [
                    {"field": each["field"]} if personal.is_personal(each["field"]) else each for each in one.fields
                ],
                "reasons": [personal.safe(each).to_json() for each in one.reasons],
                "since": one.since,
                "ended_at": one.ended_at,
                "ended_by": one.ended_by,
            }
            for one in known.divergences
        ],
        "versions": [{"number": one.id, "version": one.version, "state": one.state.value} for one in known.versions],
    }
