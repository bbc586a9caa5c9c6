"""`make demo`, `python -m testbed.demo`: everything at once on this machine, and what became of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta

from kiva_relay.config import duration
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.errors import RelayError
from testbed.demo import play

_LEAST_CLIENTS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """See it work: a MIS with tellers at work, a stand-in for Kiva, and the relay between them.

    Everything is started by the demo itself, on loopback and in a temporary folder. No other database is looked for
    or touched. Answers are lost and the relay is killed on purpose; at the end everything is compared. Exit codes:
    0 nothing was lost or sent twice, 1 something was not as it should be; it is listed.
    """
    given = _parser().parse_args(arguments)
    try:
        return play.play(
            play.Plan(work=given.work, clients=given.clients, seed=given.seed, keep=given.keep), sys.stdout
        )
    except RelayError as why:
        sys.stderr.write(f"{why}\n{why.hint + chr(10) if why.hint else ''}")
        return why.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.demo", description="See it work, on this machine.")
    add = parser.add_argument
    add("--for", dest="work", type=_span, default="30s", metavar="30s", help="how long the tellers work")
    add("--clients", type=_clients, default=3_000, help="how many clients the MIS has (default %(default)s)")
    add("--seed", type=int, default=1, help="another number makes another institution (default %(default)s)")
    add("--keep", action="store_true", help="leave it running at the end, to look around in it")
    return parser


def _span(text: str) -> timedelta:
    try:
        span = duration.parse(text)
    except Mismatch as wrong:
        raise argparse.ArgumentTypeError(f"{wrong} {wrong.remedy or 'as in --for 30s'}") from None
    if not span:
        raise argparse.ArgumentTypeError("expected more than 0, as in --for 30s")
    return span


def _clients(text: str) -> int:
    if not text.isdecimal() or int(text) < _LEAST_CLIENTS:
        raise argparse.ArgumentTypeError(f"expected a number of {_LEAST_CLIENTS} or more, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
