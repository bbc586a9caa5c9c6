"""`kiva-relay reconcile done N…`: nothing more is to be done about differences, until they change."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.outbox import discrepancy, store
from kiva_relay.outbox.discrepancy import KeptDiscrepancy

Numbers = Annotated[list[int], typer.Argument(metavar="N…", help="The numbers that reconcile shows.")]


def command(numbers: Numbers, config: frame.Config = None, *, note: frame.Note = "") -> int:
    """Say that nothing more is to be done about differences: they count no more until what each side says changes."""
    note = words.why_is_said(note)
    settings = frame.load(config)
    try:
        with frame.outbox(settings) as outbox, outbox.begin() as tx:
            found = [discrepancy.must_be(tx, number) for number in dict.fromkeys(numbers)]
            for one in found:
                discrepancy.seen(tx, one, by=frame.person(), note=note, now=frame.now())
    except store.Overtaken as error:
        raise errors.UsageError(f"{error}. Nothing was changed.", hint="kiva-relay reconcile") from error
    frame.header(settings)
    for one in found:
        frame.say(f"  {named(one)}   marked, with your name and note")
    return 0


def named(one: KeptDiscrepancy) -> str:
    """Number and loan, as Kiva shows it."""
    return f"{one.id}   loan {one.loan_id or one.kiva_id}"
