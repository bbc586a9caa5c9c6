"""`kiva-relay review done ID…`: the coordinator has dealt with it."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, named_entry
from kiva_relay.outbox import settlement, store
from kiva_relay.outbox.entry import Entry
from kiva_relay.words import language, task

Numbers = Annotated[list[int], typer.Argument(metavar="ID…", help="The numbers (#) that review shows.")]


def command(
    numbers: Numbers,
    config: frame.Config = None,
    *,
    note: frame.Note = "",
    lang: frame.Lang = None,
    as_json: frame.AsJson = False,
) -> int:
    """Take things off the coordinator's list: published, confirmed, deleted, seen. Nothing is sent by this."""
    settings = frame.load(config)
    spoken = language.of(lang or settings.language)
    done: list[tuple[Entry, bool]] = []
    try:
        with frame.outbox(settings) as outbox, outbox.begin() as tx:
            for number in dict.fromkeys(numbers):
                entry = named_entry.by_number(tx, number)
                complete = settlement.done(tx, entry, by=frame.person(), note=note, now=frame.now())
                done.append((entry, complete))
    except store.Overtaken as error:
        raise errors.UsageError(
            "The relay moved one of them just now. Nothing was changed.", hint=frame.with_sudo()
        ) from error
    if as_json:
        frame.print_json([{"number": entry.id, "loan_id": entry.loan_id, "done": complete} for entry, complete in done])
        return 0
    frame.header(settings)
    for entry, complete in done:
        frame.say(f"  {task.marked(entry, spoken, complete=complete)}")
    return 0
