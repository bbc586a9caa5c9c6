"""`kiva-relay outbox forget --client ID`: a borrower asks to be forgotten."""

from collections.abc import Sequence
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.outbox import forgetting
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.forgetting import LoanOfClient
from kiva_relay.words import catalogue, language

Client = Annotated[str, typer.Option("--client", metavar="ID", help="The client's id, as the MIS spells it.")]
Letter = Annotated[
    str | None,
    typer.Option("--letter", metavar="LANGUAGE", help="Only print a text for Kiva's partner support: en, fr or es."),
]


def command(
    client: Client,
    config: frame.Config = None,
    *,
    letter: Letter = None,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Delete what the relay keeps of a person; their loans are never sent again, and are reported as long as Kiva asks.

    It shows what will be deleted, what is kept and what only others can do, and asks once.
    """
    settings = frame.load(config)
    if letter is not None and letter not in catalogue.NAMES:
        raise errors.UsageError(f"--letter takes {', '.join(catalogue.NAMES)}; found {letter}.")
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            loans = forgetting.of_client(tx, client)
        if not loans:
            raise errors.UsageError(
                f"The relay knows no loan of a client {client}. Nothing was changed.",
                hint="kiva-relay outbox list --loan ID    (its first lines show the client)",
            )
        if letter is not None:
            _letter(loans, letter)
            return 0
        note = words.why_is_said(note)
        if not as_json:
            frame.header(settings)
            _show(client, loans)
        if not frame.agreed("Go on?", yes=yes):
            frame.say("Nothing was changed.")
            return 0
        with outbox.begin() as tx:
            forgetting.forget(tx, forgetting.of_client(tx, client), by=frame.person(), note=note, now=frame.now())
        scrubbed = outbox.scrub(whole=True)
        if as_json:
            frame.print_json([{"status": loan.status, "kept": not loan.over} for loan in loans])
            return 0
        _done(outbox, scrubbed=scrubbed)
    return 0


def _show(client: str, loans: Sequence[LoanOfClient]) -> None:
    frame.say(f"The relay knows {errors.counted(len(loans), 'loan')} of client {client}:")
    for loan in loans:
        where = "not listed by Kiva" if loan.status is None else f"{loan.status} at Kiva"
        frame.say(f"  {loan.loan_id}   {where}")
    bodies = sum(one.body is not None for loan in loans for one in loan.entries)
    journals = sum(loan.number("journal") for loan in loans)
    over, live = [loan for loan in loans if loan.over], [loan for loan in loans if not loan.over]
    frame.say()
    frame.say("  will be deleted here   names, texts and photos of all of them, and every quote of them")
    held = errors.counted(bodies, "body")
    frame.say(
        f"                         ({held}, {errors.counted(journals, 'follow-up')}); what was not sent is not sent"
    )
    frame.say("                         copies that were made before still hold them: delete those, too")
    for loan in over:
        frame.say(
            f"  will be kept           for {loan.loan_id}: a hash that does not tell the number, so that it is never"
        )
        frame.say("                         sent again (the witness and Kiva's own list name numbers as before)")
    for loan in live:
        frame.say(f"  will be kept           for {loan.loan_id}: its number and amounts, as long as Kiva expects")
        frame.say("                         repayments; without them Kiva bills the loan by its schedule")
    frame.say(
        "  only others can do     Kiva: ask partner support to remove profile and photo (a text: --letter en|fr|es)"
    )
    frame.say("                         your MIS: it is the source; the relay will not send these loans from it again")


def _done(outbox: Outbox, *, scrubbed: bool) -> None:
    frame.say("Forgotten, with your name and note.")
    if scrubbed:
        frame.say("The file was written anew: nothing deleted is left in it, nor in its log.")
    elif outbox.is_file:
        frame.say(
            "The file is in use just now: its log may hold what was deleted until the relay next empties it. To be"
        )
        frame.say("sure, type the same command again when it is quiet, or with the relay stopped.")
    else:
        frame.say("A PostgreSQL server keeps what was deleted until it cleans up, and longer in its WAL and backups:")
        frame.say("  VACUUM FULL entry; VACUUM FULL attempt; VACUUM FULL divergence; VACUUM FULL upload")


def _letter(loans: Sequence[LoanOfClient], name: str) -> None:
    numbers = ", ".join(number for loan in loans for number in loan.kiva_ids) or "?"
    frame.print_file(language.of(name).say("screen.letter", numbers=numbers))
