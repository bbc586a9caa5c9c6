"""`python -m testbed.kiva`: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kiva_relay import errors
from kiva_relay.sandbox.config import AUDIENCE, PARTNER, SCOPES, Delays
from testbed.kiva import fault, server
from testbed.kiva.config import KivaConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; the exit code."""
    given = _parser().parse_args(arguments)
    config = KivaConfig(
        partner=given.partner,
        client_id=given.client_id,
        client_secret=given.client_secret,
        audience=given.audience or None,
        scopes=tuple(given.scopes.split()),
        ledger=given.ledger,
        coordinator=given.coordinator,
        drafts_visible=given.drafts_visible,
        listing_lag=given.listing_lag,
        spelling=given.spelling,
        receipts=given.receipts,
    )

    def ready(url: str) -> None:
        sys.stdout.write(f"Stand-in for Kiva, partner {config.partner}, listens on {url}\n")
        sys.stdout.flush()

    try:
        server.run(given.listen, config=config, faults=tuple(given.fault), ready=ready)
    except errors.RelayError as why:
        sys.stderr.write(f"{why}\n{why.hint + chr(10) if why.hint else ''}")
        return why.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed.kiva", description="A stand-in for Kiva's Partner API on this machine."
    )
    add = parser.add_argument
    add("--listen", default="127.0.0.1:8765", metavar="ADDRESS:PORT", help="port 0 takes a free one")
    add("--partner", default=PARTNER, help="the one partner id that exists (default %(default)s)")
    add("--client-id", help="the only one that gets tokens; without it any does")
    add("--client-secret", help="its secret; without it any will do")
    add("--audience", default=AUDIENCE, help="of tokens; empty takes any (default %(default)s)")
    add("--scopes", default=" ".join(SCOPES), help="what is granted at most (default: all four)")
    add("--ledger", type=Path, metavar="FILE", help="keeps what was accepted, so that a restart knows it")
    add(
        "--coordinator",
        type=_pace,
        default=Delays(),
        metavar="publish_after=5s,fund_after=10s",
        help="publishes drafts and funds loans after these times; without it only on request",
    )
    add("--drafts-visible", action="store_true", help="GET /loans lists unpublished drafts")
    add("--listing-lag", type=_duration, default=timedelta(0), help="how long GET /loans misses a new loan")
    add("--spelling", choices=("snake", "camel"), default="snake", help="of the keys in answers")
    add("--receipts", choices=("object", "list"), default="object", help="shape of some answers")
    add(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="JSON",
        help="in force from the start; repeatable",
    )
    return parser


def _pace(text: str) -> Delays:
    times: dict[str, timedelta] = {}
    for part in filter(None, text.split(",")):
        name, _, duration = part.partition("=")
        if name not in ("publish_after", "fund_after"):
            raise argparse.ArgumentTypeError(f"{name!r} is not one of publish_after, fund_after")
        times[name] = _duration(duration)
    return Delays(**times)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a duration with its unit, as 500ms, 5s or 2m; found {text!r}")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _fault(text: str) -> fault.Fault:
    try:
        return fault.parse(json.loads(text))
    except (ValueError, TypeError, AttributeError) as why:
        raise argparse.ArgumentTypeError(str(why)) from why


if __name__ == "__main__":
    sys.exit(main())
