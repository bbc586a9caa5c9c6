"""`kiva-relay watch setup`: the SQL that lets changes come by the MIS's stream; printed, or run with --apply."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, watched_mis
from kiva_relay.source import slot

Admin = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="URL",
        help="With --apply: as whom, postgresql://WHO@HOST/DATABASE; the password in PGPASSWORD. Else mis.url.",
    ),
]
Apply = Annotated[bool, typer.Option("--apply", help="Run it, instead of only printing it.")]


def command(
    config: frame.Config = None, *, apply: Apply = False, admin: Admin = None, as_json: frame.AsJson = False
) -> int:
    """Print the SQL that makes publication and slot for exactly the tables of the mappings; it goes into psql.

    Run again after a mapping was added: it prints what is missing, and nothing when nothing is. The slot makes the
    server keep its log for the relay; without a relay it has to go: kiva-relay watch drop
    """
    settings = frame.load(config)
    with watched_mis.opened(settings) as found:
        statements = found.setup()
        if apply:
            watched_mis.run(settings, statements, admin=admin, command=slot.SETUP)
            return _applied(found, statements)
    if as_json:
        frame.print_json(statements)
        return 0
    for line in [*_about(found, statements), *statements]:
        frame.say(line)
    return 0


def _applied(found: watched_mis.WatchedMis, statements: list[str]) -> int:
    for statement in statements:
        frame.say(f"done: {statement}")
    if found.facts.wal_level != "logical":
        raise errors.RelayError(
            "The server has to be restarted before it can have a slot.",
            hint="Restart PostgreSQL, then: kiva-relay watch setup --apply",
        )
    frame.say("Nothing was missing." if not statements else "The relay uses it with its next look; `status` says so.")
    return 0


def _about(found: watched_mis.WatchedMis, statements: list[str]) -> list[str]:
    """What somebody who runs it should know, as comments of SQL."""
    facts = found.facts
    polled = [f"-- Polled, not in the stream: {table}: {why}." for table, why in sorted(found.untold().items())]
    if not statements:
        if not facts.published:
            return [*polled, "-- No table of the mappings can be followed: nothing to set up, all are polled."]
        return [*polled, f"-- Nothing is missing: publication and slot {facts.name} are there."]
    who = slot.needs(statements)
    lines = [f"-- To be run in the MIS's database by {who}; {facts.role} then needs nothing more."]
    if facts.wal_level != "logical":
        lines.append("-- wal_level needs a restart of PostgreSQL. The slot can only be made after it: run this again.")
    if any("IDENTITY" in statement for statement in statements):
        lines += [
            "-- REPLICA IDENTITY FULL tells which root a deleted or moved row belonged to; it makes the server's log",
            "-- longer. A unique index over NOT NULL columns that has these does as well (USING INDEX):",
        ]
        lines += [f"--   {table}: {', '.join(columns)}" for table, columns in sorted(found.silent().items())]
    if any("slot(" in statement for statement in statements):
        lines += [
            "-- From then on the server keeps its log while the relay is away; max_slot_wal_keep_size bounds that.",
            "-- The slot is made when all transactions that are open now have ended. To undo: kiva-relay watch drop",
        ]
    return [*polled, *lines]
