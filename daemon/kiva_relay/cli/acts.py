"""`kiva-relay acts`: what persons did, newest first: who, when, what, about what, and why."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kiva_relay import errors
from kiva_relay.cli import figure, frame
from kiva_relay.outbox import act
from kiva_relay.outbox.act import Done

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show at most N.")]
Person = Annotated[str | None, typer.Option("--person", metavar="NAME", help="Only what this one did.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print all of it as CSV, for a spreadsheet.")]


def command(
    config: frame.Config = None,
    *,
    person: Person = None,
    limit: Limit = 50,
    as_csv: AsCsv = False,
    as_json: frame.AsJson = False,
) -> int:
    """Every decision, release, hold, settlement and edit, with its person and note. The page shows the same."""
    if as_csv and as_json:
        raise errors.UsageError("--csv and --json were given; one is enough.")
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        found = act.latest(tx, most=None if as_csv else limit, by=person)
    if as_json:
        frame.print_json([vars(one) for one in found])
        return 0
    if as_csv:
        frame.print_csv(("at", "person", "act", "about", "note"), [_row(one, one.at.isoformat()) for one in found])
        return 0
    frame.header(settings)
    if not found:
        frame.say("Nobody did anything yet." if person is None else f"{person} did nothing yet.")
        return 0
    now = frame.now()
    rows = [_row(one, figure.moment(one.at, settings, at=now)) for one in found]
    frame.table(("when", "person", "act", "about", "note"), rows)
    if len(found) == limit:
        frame.say(f"The newest {limit}. More: kiva-relay acts --limit {limit * 10}")
        frame.say("All: kiva-relay acts --csv")
    return 0


def _row(one: Done, at: str) -> tuple[str, str, str, str, str]:
    return at, one.person, one.verb, about(one.about), one.note


def about(what: Any) -> str:
    """Ids and codes of an act, in a line."""
    if isinstance(what, Mapping):
        return " ".join(f"{name}={value}" for name, value in what.items() if value not in (None, "", []))
    return " ".join(map(str, what)) if isinstance(what, list) else str(what)
