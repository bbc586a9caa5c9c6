"""What the commands share: options, settings, the first line, tables, JSON, and the question.

A command begins like this, and prints with `say` and `table`, or with `print_json` when --json was given:

    def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> int:
        settings = frame.load(config)
        if not as_json:
            frame.header(settings)
        with frame.outbox(settings) as outbox, outbox.read() as tx:
            ...

On a terminal there are colours and folded columns; in a pipe there is plain text, one line a row.
"""

import contextlib
import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from kiva_relay import __version__
from kiva_relay.clock import SystemClock
from kiva_relay.config import loader, partner
from kiva_relay.config.settings import RESOURCES, Settings
from kiva_relay.errors import UsageError, counted, nearest
from kiva_relay.outbox import act, opening
from kiva_relay.outbox.database import Outbox
from kiva_relay.terminal import to_type, visible
from kiva_relay.words import spoken
from kiva_relay.words.spoken import tr

if TYPE_CHECKING:
    import rich.console

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration, or a partner: north is /etc/kiva-relay/north/config.yaml. Else KIVA_RELAY_CONFIG, else"
        " /etc/kiva-relay/config.yaml.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, for the record.")]
Loan = Annotated[str | None, typer.Option("--loan", metavar="ID", help="The loan id, as PA2 shows it.")]
Lang = Annotated[
    str | None, typer.Option("--lang", metavar="en|fr|es", help="In which language; else that of the configuration.")
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting for this run only, like mis.poll_every=5s."),
]

STYLES: Mapping[str, str] = {
    "ok": "green",
    "off": "dim",
    "warning": "yellow",
    "error": "bold red",
    "OK": "bold green",
    "NOTE": "bold yellow",
    "WAITING": "bold yellow",
    "HELD": "bold magenta",
    "STOPPED": "bold red",
}
"""The colour of every verdict word."""

# The wide ones are those of a Chinese or Japanese keyboard: spreadsheets take them, too.
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\t\r")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
YES = ("y", "yes", "o", "oui", "s", "si", "sí")


# ---------------------------------------------------------------- settings and outbox


def load(config: Path | None, override: Sequence[str] | None = None) -> Settings:
    """The settings; `override` is `KEY=VALUE` from the command line.

    Raises:
        UsageError: there are none.
        ConfigurationError: all their mistakes.
    """
    overrides = {}
    for one in override or ():
        key, sign, value = one.partition("=")
        if not sign:
            raise UsageError('--set: expected KEY=VALUE, found a text without "="', hint="--set mis.poll_every=5s")
        overrides[key] = value
    file = loader.find(config, environ=os.environ)
    to_type.use(file, usual=loader.USUAL_PLACE, partner=partner.of(file))
    settings = loader.load(file, environ=os.environ, overrides=overrides)
    to_type.use(file, usual=loader.USUAL_PLACE, outbox=settings.outbox.file, partner=partner.of(file))
    return settings


def load_to_look(config: Path | None, *, needs: str = "outbox") -> Settings:
    """The settings, for a command that only looks at the outbox; other mistakes are said in a line, and it goes on.

    `needs` is the group of settings that must be right; empty: what is right of each is enough.

    Raises:
        UsageError: there are none.
        ConfigurationError: where the outbox is cannot be known.
    """
    file = loader.find(config, environ=os.environ)
    to_type.use(file, usual=loader.USUAL_PLACE, partner=partner.of(file))
    settings, mistakes = loader.load_to_look(file, environ=os.environ, needs=needs)
    to_type.use(file, usual=loader.USUAL_PLACE, outbox=settings.outbox.file, partner=partner.of(file))
    if mistakes:
        first = f"{mistakes[0].path}: {mistakes[0].message}" if mistakes[0].path else mistakes[0].message
        number = counted(len(mistakes), "mistake")
        notice(f"{file} holds {number} ({first}). What runs keeps its settings.   kiva-relay check")
    unknown = {each.path.rpartition(".")[2] for each in mistakes} & {"environment", "partner_id"}
    kiva = settings.kiva.model_copy(update=dict.fromkeys(unknown, "?"))
    return settings.model_copy(update={"kiva": kiva})


def language(wanted: str | None, settings: Settings) -> str:
    """The language that a person asked for, else that of the configuration.

    Raises:
        UsageError: there is no such language.
    """
    written = (wanted or settings.language).strip().lower()
    if written not in spoken.NAMES:
        known = ", ".join(spoken.NAMES)
        raise UsageError(f"There is no language “{visible.text(written)}”: expected {known}.", hint="--lang fr")
    return written


@contextlib.contextmanager
def outbox(settings: Settings) -> Iterator[Outbox]:
    """The outbox of a configuration, to look at or to settle things in; a command never makes one.

    Raises:
        UsageError: there is none yet, it belongs to the service, or it is of another version.
    """
    opened = None
    try:
        opened = opening.open_outbox(settings, create=False)
        yield opened
    except PermissionError:
        raise UsageError(
            f"The outbox {settings.outbox.file} belongs to the service and cannot be read by your user.",
            hint=with_sudo(),
        ) from None
    finally:
        if opened is not None:
            opened.close()


def now() -> datetime:
    """The moment, for commands: they run by the machine's clock."""
    return SystemClock().now()


def person() -> str:
    """Who is at the keyboard: the one who called sudo, not root."""
    return act.person()


def with_sudo() -> str:
    """The command that was typed, with sudo before it, to be pasted."""
    return to_type.again()


def resource(written: str) -> str:
    """The name of a resource as a person writes it: `loan-draft`, `loan_drafts`, `Journal`.

    Raises:
        UsageError: there is no such resource; names the nearest.
    """
    name = written.strip().lower().replace("-", "_").replace(" ", "_")
    known = {spelled: one for one in RESOURCES for spelled in (one, f"{one}s")}
    if name in known:
        return known[name]
    close = nearest(name, RESOURCES, limit=1)
    raise UsageError(
        f"There is no resource {written}.",
        hint=f"Did you mean: {close[0]}" if close else f"There are: {', '.join(RESOURCES)}",
    )


# ---------------------------------------------------------------- printing


def shown(text: str) -> str:
    """A text of several lines as it is printed: its commands in full, and nothing in it that a terminal obeys."""
    return to_type.lines(visible.lines(text))


def console(*, stderr: bool = False) -> "rich.console.Console":
    """Where things are printed: folded and coloured on a terminal, one line a row elsewhere."""
    import rich.console  # noqa: PLC0415 - in a pipe nothing of it is used

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return rich.console.Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def header(settings: Settings) -> None:
    """The first line of every command: version, where it points, which file was read."""
    sends = "" if settings.kiva.send else " · sends nothing (kiva.send: false)"
    place = f"{settings.kiva.environment.upper()}, partner {settings.kiva.partner_id}"
    say(f"kiva-relay {__version__} · {place}{sends} · {settings.file}", style="bold")
    say()


def say(text: str = "", *, style: str = "") -> None:
    """Print a line or several, as they are."""
    _print([(shown(text), style)])


def notice(text: str, *, style: str = "") -> None:
    """Print to standard error: what is no part of the answer."""
    _print([(shown(text), style)], stderr=True)


def verdict(word: str, text: str, *, margin: str = "  ", width: int = 8) -> None:
    """Print `  HELD  first start …`: a coloured word, then text whose further lines stand below its first."""
    indent = " " * (len(margin) + max(width, len(word) + 1))
    first, *further = shown(text).split("\n")
    _print([(margin, ""), (f"{word:<{width}}" if len(word) < width else f"{word} ", STYLES.get(word, "")), (first, "")])
    for more in further:
        say(f"{indent}{more}" if more else "")


def _print(parts: Sequence[tuple[str, str]], *, stderr: bool = False) -> None:
    """Print texts one behind the other, each in its style where there are colours."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        stream.write("".join(text for text, _style in parts) + "\n")
        stream.flush()
        return
    import rich.text  # noqa: PLC0415 - as above

    console(stderr=stderr).print(rich.text.Text.assemble(*parts), soft_wrap=True)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = (), margin: str = "  "
) -> None:
    """Print rows in columns; those named in `right` are aligned to the right. None is an empty cell."""
    cells = [["" if cell is None else visible.text(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in _columns(columns, cells, right=right):
            say(f"{margin}{line}")
        return
    import rich.padding  # noqa: PLC0415 - as above
    import rich.table  # noqa: PLC0415
    import rich.text  # noqa: PLC0415

    grid = rich.table.Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in columns:
        side = "right" if name in right else "left"
        grid.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]  # a literal of rich's own
    for row in cells:
        grid.add_row(*map(rich.text.Text, row))
    console().print(rich.padding.Padding(grid, (0, 0, 0, len(margin))))


def _columns(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str]) -> Iterator[str]:
    """Lines of a table, none folded. A letter of Chinese or Korean is as wide as two."""
    from rich.cells import cell_len  # noqa: PLC0415 - it loads nothing else of rich

    every = [columns, *rows]
    wide = [max(cell_len(row[place]) for row in every) for place in range(len(columns))]
    for row in every:
        gaps = [" " * (width - cell_len(cell)) for width, cell in zip(wide, row, strict=True)]
        padded = [
            gap + cell if name in right else cell + gap for name, gap, cell in zip(columns, gaps, row, strict=True)
        ]
        yield "   ".join(padded).rstrip()


def print_json(value: object) -> None:
    """Print JSON. Moments are in UTC, in ISO's spelling; amounts are texts, so that nobody rounds them."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    sys.stdout.write(visible.json(orjson.dumps(value, default=_plain, option=option).decode()) + "\n")
    sys.stdout.flush()


def print_file(text: str) -> None:
    """Print a file as it is, to be kept; on a terminal nothing in it is obeyed."""
    text = text if text.endswith("\n") else f"{text}\n"
    sys.stdout.write(visible.lines(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV for a spreadsheet, in which no cell is a formula."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    sys.stdout.flush()


def _cell(value: object) -> str:
    """A cell as a spreadsheet shows it: an apostrophe before what it would compute, but not before a number."""
    text = "" if value is None else str(value)
    computed = text.lstrip()[:1] in _FORMULA and not _NUMBER.fullmatch(text)
    return visible.text(f"'{text}" if computed or text[:1] in {"\t", "\r", "\n"} else text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


@contextlib.contextmanager
def working(on: str) -> Iterator[None]:
    """Show that something takes a while, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(on):
        yield


# ---------------------------------------------------------------- the question


def agreed(question: str, *, yes: bool) -> bool:
    """Ask once; y, o and s all mean yes, everything else is no. With --yes nothing is asked.

    Raises:
        UsageError: nobody is there to answer, and --yes was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        nobody = tr("There is nobody to answer; nothing was done.")
        raise UsageError(f"{question}  {nobody}", hint=tr("To say yes beforehand: {flag}", flag="--yes"))
    sys.stdout.write(f"{shown(question)} {tr('[y/N]')} ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in YES
