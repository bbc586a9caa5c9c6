"""`kiva-relay mapping new`: the beginning of a mapping, out of a table of the live database."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.cli import frame
from kiva_relay.clock import SystemClock
from kiva_relay.errors import RelayError, Unreachable, UsageError
from kiva_relay.mapping import draft
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis
from kiva_relay.terminal import to_type


def command(
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="loan_draft, repayment or journal.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table of the MIS whose rows are sent.")],
    config: frame.Config = None,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there; else it is printed.")
    ] = None,
) -> None:
    """Begin a mapping for a table of your database: the likely columns are filled in, the rest is explained.

    It is a beginning: look at each line that has an arrow, then `kiva-relay mapping check`.
    """
    settings = frame.load(config)
    name = frame.resource(resource)
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        columns = mis.columns(table)
        near = {kind: _first(mis, tables) for kind, tables in draft.neighbours(table, columns).items()}
        text = to_type.lines(draft.text(table, columns, name, **near))
    finally:
        mis.close()
    if out is None:
        frame.print_file(text)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{out} is there already; nothing was overwritten.") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from None
    frame.header(settings)
    frame.say(f"Written to {out}. Look at each line that has an arrow, then:   kiva-relay mapping check")


def _first(mis: Mis, tables: Sequence[str]) -> tuple[str, Mapping[str, str]] | None:
    """The first of the tables that is there, with its columns."""
    for table in tables:
        try:
            return table, mis.columns(table)
        except Unreachable:
            raise
        except RelayError:
            continue
    return None
