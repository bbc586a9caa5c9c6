"""`kiva-relay reconcile accept N…`: these loans of Kiva's are the MIS's that were suggested."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.account import reconciling
from kiva_relay.cli import frame, reconcile_done, words
from kiva_relay.outbox import discrepancy

Numbers = Annotated[list[int], typer.Argument(metavar="N…", help="The numbers that reconcile --suggest shows.")]


def command(numbers: Numbers, config: frame.Config = None, *, note: frame.Note = "", yes: frame.Yes = False) -> int:
    """Take what is suggested: from now on a loan of Kiva's is this one of the MIS's, for its whole life.

    It is the same as `report decide --is`, and is taken back with `report aliases --undo`.
    """
    note = words.why_is_said(note)
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            found = [discrepancy.must_be(tx, number) for number in dict.fromkeys(numbers)]
        frame.header(settings)
        for one in found:
            if one.suggested is None:
                raise errors.UsageError(
                    f"Nothing is suggested for {one.loan_id or one.kiva_id} (number {one.id}). Nothing was changed.",
                    hint="kiva-relay reconcile --suggest",
                )
            frame.say(f"  {reconcile_done.named(one)} at Kiva is {one.suggested} in the MIS")
        if not frame.agreed(f"Take {errors.counted(len(found), 'loan')} so?", yes=yes):
            frame.say("Nothing was changed.")
            return 0
        with outbox.begin() as tx:
            for one in found:
                current = discrepancy.must_be(tx, one.id)
                if current != one:
                    raise errors.UsageError(
                        f"Number {one.id} is no longer as it was shown. Nothing was changed.",
                        hint="kiva-relay reconcile --suggest",
                    )
                reconciling.accept(tx, one, by=frame.person(), note=note, now=frame.now())
    frame.say("Taken, with your name and note.   Take one back: kiva-relay report aliases --undo ID --note …")
    return 0
