"""`kiva-relay demo`: everything at once on this machine, and what became of it."""

import sys
from typing import Annotated

import typer

from kiva_relay.config import duration
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.errors import UsageError


def command(
    *,
    work: Annotated[str, typer.Option("--for", metavar="30s", help="How long the tellers work.")] = "30s",
    clients: Annotated[int, typer.Option("--clients", min=100, help="How many clients the MIS has.")] = 3_000,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes another institution.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end, to look around in it.")] = False,
) -> int:
    """See it work: a MIS with tellers at work, a stand-in for Kiva, and the relay between them.

    Everything is started by the demo itself, on loopback and in a temporary folder. No other database is looked for
    or touched. Answers are lost and the relay is killed on purpose; at the end everything is compared. Exit codes:
    0 nothing was lost or sent twice, 1 something was not as it should be; it is listed.
    """
    from kiva_relay.demo import play  # noqa: PLC0415 - a MIS and its photos take longer to import than the help

    try:
        span = duration.parse(work)
    except Mismatch as wrong:
        raise UsageError(f"--for: {wrong}", hint=wrong.remedy or "--for 30s") from None
    if not span:
        raise UsageError("--for: expected more than 0.", hint="--for 30s")
    return play.play(play.Plan(work=span, clients=clients, seed=seed, keep=keep), sys.stdout)
