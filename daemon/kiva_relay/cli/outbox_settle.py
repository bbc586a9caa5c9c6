"""`kiva-relay outbox settle`: a person's word on what only a person can decide. Shows the list, asks once."""

from typing import Annotated

import typer
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.cli import frame, named_entry, outbox_list, words
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import listing, settlement, store, warned_call
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Filter
from kiva_relay.outbox.settlement import Verb
from kiva_relay.outbox.state import State

_MOST = 500

_FOLLOWS: dict[Verb, str] = {
    "delivered": "The relay takes {them} as being at Kiva, and never sends {them}.",
    "resend": "The relay sends {them} again. What Kiva does have, it will then have twice: look in PA2 first.",
    "discard": "The relay does not send {them}. You can change that later.",
}

Numbers = Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="The entries' numbers.")]
Delivered = Annotated[bool, typer.Option("--delivered", help="It is at Kiva: seen in PA2, or typed by hand.")]
Resend = Annotated[bool, typer.Option("--resend", help="It is not at Kiva: send it again.")]
Discard = Annotated[bool, typer.Option("--discard", help="It must not go out.")]


def command(
    numbers: Numbers = None,
    config: frame.Config = None,
    *,
    delivered: Delivered = False,
    resend: Resend = False,
    discard: Discard = False,
    resource: outbox_list.Resource = None,
    state: outbox_list.State = None,
    reason: outbox_list.Reason = None,
    loan: frame.Loan = None,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Decide about entries, by their numbers or by a filter: about all of them or, if one cannot be settled, none."""
    verb = _verb(delivered=delivered, resend=resend, discard=discard)
    if not numbers and not any((resource, state, reason, loan)):
        raise errors.UsageError(
            "Which entries? Expected their numbers, or --loan, --state, --reason. Nothing was changed.",
            hint=f'kiva-relay outbox settle 1042 --{verb} --note "…"',
        )
    note = words.why_is_said(note)
    settings = frame.load(config)
    filtered = outbox_list.chosen_by(settings, resource=resource, state=state, reason=reason, loan=loan)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            chosen = _chosen(tx, numbers or [], filtered, filters=any((resource, state, reason, loan)))
        if not chosen:
            raise errors.UsageError("No entry matches. Nothing was changed.", hint="kiva-relay outbox list")
        if not as_json:
            frame.header(settings)
            _show(chosen, verb, settings)
        if not frame.agreed(f"{_asked(verb)} {errors.counted(len(chosen), 'entry')}?", yes=yes):
            frame.say("Nothing was changed.")
            return 0
        settled = _settle(outbox, chosen, verb, note=note)
    if as_json:
        frame.print_json([words.entry_json(entry) for entry in settled])
        return 0
    for entry in settled:
        frame.say(f"  {words.name(entry)}   {_became(entry, verb)}")
    frame.say()
    frame.say(f"Recorded with your name and note. It can be settled again: kiva-relay outbox show {settled[0].id}")
    return 0


def _verb(*, delivered: bool, resend: bool, discard: bool) -> Verb:
    given: list[Verb] = []
    if delivered:
        given.append("delivered")
    if resend:
        given.append("resend")
    if discard:
        given.append("discard")
    if len(given) != 1:
        raise errors.UsageError(
            "Expected one of --delivered (it is at Kiva), --resend (it is not: send it again) and"
            f" --discard (it must not go out); found {words.joined(f'--{one}' for one in given) or 'none'}."
            " Nothing was changed.",
            hint="kiva-relay outbox settle --help",
        )
    return given[0]


def _chosen(tx: Connection, numbers: list[int], filtered: Filter, *, filters: bool) -> list[Entry]:
    """Those that were numbered, and those that the filter finds and a person may settle."""
    named = [named_entry.by_number(tx, number) for number in numbers]
    # What Kiva said of a whole call is decided for all of it.
    chosen = {entry.id: entry for one in named for entry in warned_call.of_the_same_call(tx, one)}
    if filters:
        page = listing.entries(tx, filtered)
        if page.total > _MOST:
            raise errors.UsageError(
                f"That is {page.total:,} entries; at most {_MOST} can be settled at once. Nothing was changed.",
                hint="Choose more narrowly: --loan, --state, --reason, --resource",
            )
        movable = [entry for entry in page.entries if entry.state in listing.OPEN or filtered.states]
        chosen |= {entry.id: entry for entry in movable if entry.state is not State.SENDING}
    return list(chosen.values())


def _show(chosen: list[Entry], verb: Verb, settings: Settings) -> None:
    outbox_list.table(chosen, settings)
    frame.say()
    frame.say(_FOLLOWS[verb].format(them="it" if len(chosen) == 1 else "them"))


def _asked(verb: Verb) -> str:
    return {"delivered": "Take as delivered:", "resend": "Send again:", "discard": "Discard:"}[verb]


def _settle(outbox: Outbox, chosen: list[Entry], verb: Verb, *, note: str) -> list[Entry]:
    """All of them in one transaction, as they were shown."""
    try:
        with outbox.begin() as tx:
            return [
                settlement.settle(tx, _as_shown(tx, entry), verb, by=frame.person(), note=note, now=frame.now())
                for entry in chosen
            ]
    except errors.UsageError as error:
        if len(chosen) == 1:
            raise
        raise errors.UsageError(f"{error} Nothing was changed, nor any of the others.", hint=error.hint) from error
    except store.Overtaken as error:
        raise errors.UsageError(
            "The relay moved one of them while you were looking. Nothing was changed.", hint=frame.with_sudo()
        ) from error


def _as_shown(tx: Connection, entry: Entry) -> Entry:
    """The entry with its body, if it is still as the person saw it."""
    present = named_entry.by_number(tx, entry.id)
    if present.row_version != entry.row_version:
        raise store.Overtaken(f"entry {entry.id} is no longer {entry.state}")
    return present


def _became(entry: Entry, verb: Verb) -> str:
    match entry.state:
        case State.DELIVERED:
            return "is taken as being at Kiva, and is not sent"
        case State.READY:
            return "is sent again, within seconds when nothing holds it"
        case State.DISCARDED:
            return "does not go out"
        case State.SUPERSEDED:
            return "gives way to the newer version, which goes out"
        case _ if verb == "resend":
            return "is closed; what the MIS says now is sent in its place, within seconds when nothing holds it"
        case _:
            return words.said_of(entry.state)
