"""`kiva-relay report reopen`: the report is not finalised in PA2 after all."""

from typing import Annotated

import typer

from kiva_relay.cli import frame, report_named
from kiva_relay.report import finalising

Period = Annotated[str | None, typer.Argument(metavar="[YYYY-MM]", help="The report; usually the last one.")]


def command(
    period: Period = None,
    config: frame.Config = None,
    *,
    note: frame.Note = "",
    as_json: frame.AsJson = False,
) -> int:
    """The report is not finalised in PA2 after all: while its window is open, it goes on."""
    settings = frame.load(config)
    with frame.outbox(settings) as outbox, report_named.not_meanwhile(), outbox.begin() as tx:
        found = report_named.of(tx, period)
        now_is = finalising.reopen(tx, settings, found.period, by=frame.person(), note=note, now=frame.now())
    goes_on = now_is.closed_at is None
    if as_json:
        frame.print_json({"period": found.period, "finalised": False, "open": goes_on})
        return 0
    frame.header(settings)
    if goes_on:
        frame.say(f"The report of {found.period} goes on: what changed since is sent with it.")
    else:
        frame.say(f"The report of {found.period} is not finalised. Its window has closed.")
        frame.say("What is still to go:   kiva-relay report decide … --late")
    return 0
