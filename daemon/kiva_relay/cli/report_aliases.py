"""`kiva-relay report aliases`: which loans of Kiva's are which of the MIS's, as persons said; and to take one back."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import figure, frame, words
from kiva_relay.outbox import decision
from kiva_relay.report import decide
from kiva_relay.resource import loan_id as spelled

Undo = Annotated[str | None, typer.Option("--undo", metavar="ID", help="Take back what was said of this id of Kiva's.")]


def command(
    config: frame.Config = None, *, undo: Undo = None, note: frame.Note = "", as_json: frame.AsJson = False
) -> int:
    """What persons said with `report decide --is`: it holds for the loan's whole life, until it is taken back."""
    settings = frame.load(config)
    if undo is not None:
        note = words.why_is_said(note)
    with frame.outbox(settings) as outbox:
        if undo is not None:
            with outbox.begin() as tx:
                its = [one for one in decision.for_life(tx) if spelled.key(one.loan_id) == spelled.key(undo)]
                if not its:
                    raise errors.UsageError(
                        f"Nobody said which loan {undo} is. Nothing was changed.", hint="kiva-relay report aliases"
                    )
                for one in its:
                    decide.undo(tx, one.kiva_id, by=frame.person(), note=note, now=frame.now())
        with outbox.read() as tx:
            known = decision.for_life(tx)
    if as_json:
        frame.print_json([{"at_kiva": one.loan_id, "in_the_mis": one.value, "by": one.person} for one in known])
        return 0
    frame.header(settings)
    if not known:
        frame.say("  None. What is written in lookup/loan_ids.csv is not listed here.")
    now = frame.now()
    rows = [(one.loan_id, one.value, one.person, figure.moment(one.at, settings, at=now), one.note) for one in known]
    if rows:
        frame.table(("at Kiva", "in the MIS", "said by", "when", "note"), rows)
    return 0
