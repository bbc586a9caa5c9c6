"""The commands, one file each: `kiva_relay.cli.outbox_show` is `kiva-relay outbox show`.

A command is a function `command` in a module of its own, listed in COMMANDS below. Its parameters are typer's, its
docstring is its help, and it returns its exit code (None is 0). What commands share is in `kiva_relay.cli.frame`.
What a person can mend is raised as a RelayError; it is printed here, with what to type next. Only the modules of
the command that was typed are imported, so that the map and the help are there at once.
"""

import contextlib
import functools
import gc
import importlib
import inspect
import os
import secrets
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import typer

from kiva_relay import __version__
from kiva_relay.errors import RelayError, UsageError, nearest
from kiva_relay.terminal import to_type, visible

COMMANDS: Mapping[str, str] = {
    "init": "Set it up: asks, tries each answer, writes the configuration",
    "config sample": "Print the complete configuration, each setting explained",
    "check": "Check everything the relay needs, change nothing",
    "mapping list": "The mappings, and what each reads and makes",
    "mapping check": "Check the mappings, also against the live database",
    "mapping show": "One mapping as a whole, with what it extends",
    "mapping test": "Run the examples beside the mappings",
    "mapping preview": "Show what would be sent for one loan, without sending",
    "mapping diff": "What an edited mapping, or an upgrade, would change in the present book",
    "mapping edit": "Edit a mapping: checked and compared before it comes into force",
    "mapping new": "Start a mapping for a table of your database",
    "mapping schema": "A JSON Schema, so that any editor completes and checks mappings",
    "lists": "Kiva's own lists: activities, themes, locations, languages, currencies",
    "rehearse": "Map the whole book, and send it to a stand-in for Kiva on this machine",
    "sandbox": "Run a stand-in for Kiva on this machine",
    "run": "Run the relay",
    "migrate": "Bring the outbox up to date, or make it",
    "status": "Is it working?",
    "fleet status": "Are all partners of this machine working? A line each",
    "report": "The month's repayments: every loan that Kiva expects, and where it stands",
    "review": "What waits for the coordinator?",
    "review done": "Mark what the coordinator has dealt with",
    "report send": "Send the report that waits for a person who has looked at it",
    "report decide": "Decide about loans that the report asks about",
    "report finalised": "The report is finalised in PA2: nothing more is sent for it",
    "report reopen": "It is not finalised after all",
    "report aliases": "Loans whose id at Kiva is another one, as persons said; take one back",
    "acts": "What persons did: who, when, about what, and why",
    "reconcile": "What MIS, outbox and Kiva say differently of a loan",
    "reconcile accept": "Take what is suggested: which loan one of Kiva's is",
    "reconcile done": "Nothing more is to be done about a difference",
    "page": "The coordinator's page, in a browser",
    "page user": "Who may open the page: add, remove, list",
    "mail test": "Send one mail now, and say what the server answered",
    "mail failed": "Tell everybody by mail that a unit of systemd has ended by an error",
    "outbox list": "What is owed to Kiva, and what became of it",
    "outbox show": "One entry: where it is, and why",
    "outbox settle": "Decide what only a person can decide",
    "outbox adopt": "Take drafts that were typed into PA2 by hand as delivered",
    "outbox backup": "Copy the outbox while the relay runs",
    "outbox forget": "A borrower asks to be forgotten",
    "outbox recover": "After a backup was restored: what is missing, what stays open",
    "support": "Write one bundle for who helps you: nothing personal, no secret",
    "watermark show": "How far the MIS was read",
    "watermark set": "Read the MIS again from the beginning, as after it was restored",
    "watch setup": "Get changes by PostgreSQL's stream: print the SQL, or run it",
    "watch drop": "Undo that: a slot that nobody reads fills the MIS's disk",
    "backfill": "Read the whole book: what would be owed, and how far it is",
    "sweep": "Compare the whole book with what is known of it, now",
    "hold": "Stop sending something",
    "release": "Send what was held",
    "reload": "Put edited settings and mappings into force",
}
"""Every command, with one line about it."""

_DETAILS = 20
"""Files with details that are kept in a folder."""

_MAP = """\
kiva-relay {version}: sends loans, repayments and journals from your MIS to Kiva, once each

  before it runs    init · config sample · check · mapping · lists · rehearse · sandbox
  while it runs     status     is it working?          review    what waits for the coordinator?
                    report     the month's repayments      outbox    one thing: where is it, and why?  outbox list|show
  several partners  fleet status     are all of them working?
  each month        report send|decide|finalised|reopen|aliases · reconcile
  when you decide   hold · release · reload · outbox settle|adopt · review done · run --once · migrate
                    backfill · sweep   the whole book, now
  for a bad day     support · acts · outbox backup|recover|forget · watermark show|set
  faster            watch setup|drop
  mail              mail test    does it arrive?

  Configuration: {configuration}
  All commands: kiva-relay --help      One command: kiva-relay check --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what it returns is the exit code.

    0: done. 1: found something that needs a person. 2: wrong use or configuration. 3: a server was not reached.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # a process of its own
        gc.disable()
    try:
        return _dispatch(given)
    except RelayError as error:
        _complain(str(error), error.hint)
        return error.exit_code
    except typer.TyperException as error:
        _complain(error.format_message(), f"kiva-relay {' '.join([*_words(given), '--help'])}")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered would fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: never a traceback on the terminal
        _complain(*_unexpected(error))
        return 1
    finally:
        to_type.forget()


def _dispatch(given: list[str]) -> int:
    """Find the command, build it alone, and run it."""
    given = _options_last(given)
    if not given:
        _print(_map())
        return 0
    if given[0] in ("--help", "-h", "help"):
        _print(_map() + "\n" + "\n".join(f"  {name:<17} {line}" for name, line in COMMANDS.items()))
        return 0
    if given[0] == "--version":
        _print(f"kiva-relay {__version__}")
        return 0
    word = given[0]
    if word.startswith("-"):
        raise UsageError(f"The command comes first; found {word}.", hint="kiva-relay --help")
    family = [name for name in COMMANDS if name.split()[0] == word]
    if not family:
        raise _unknown(word, {name.split()[0] for name in COMMANDS}, f"kiva-relay {word}")
    if len(given) == 1 and word not in family:
        _print("\n".join(f"  kiva-relay {name:<17} {COMMANDS[name]}" for name in family))
        return 0
    inner = [name.split()[1] for name in family if name != word]
    chosen = [name for name in family if name.split() == given[:2]]
    if not chosen and word in family and _is_for_itself(word, given[1:]):
        chosen = [word]
    if inner and not chosen and len(given) > 1 and not given[1].startswith("-"):
        raise _unknown(given[1], inner, f"kiva-relay {word} {given[1]}")
    run = _build(word, chosen or family)
    _use_what_is_named(given)
    if not gc.isenabled():
        # What was loaded stays to the end: Python need not look for garbage in it, neither now nor later.
        gc.freeze()
        gc.enable()
    result = run(args=given[1:], prog_name=f"kiva-relay {word}", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _use_what_is_named(given: Sequence[str]) -> None:
    """What is wrong before a command has read its configuration is told for the one that was named, too."""
    from kiva_relay.config import loader, partner  # noqa: PLC0415 - the command has loaded it by now, the map does not need it

    typed = [one.partition("=")[2] or "".join(given[at + 1 : at + 2]) for at, one in enumerate(given) if _names(one)]
    file = loader.meant(Path(typed[-1] if typed else os.environ.get(loader.VARIABLE, "")))
    if os.path.isfile(file):  # noqa: PTH113 - pathlib's raises where a folder cannot be looked into
        to_type.use(file, usual=loader.USUAL_PLACE, partner=partner.of(file))


def _names(option: str) -> bool:
    return option.partition("=")[0] == "--config"


def _build(word: str, family: Sequence[str]) -> Callable[..., object]:
    """A typer application of one command, or of the commands that share their first word."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 120},
    )
    if list(family) == [word]:
        app.command(word)(_function(word))
        return app
    if word in family:
        app.callback(invoke_without_command=True)(_alone(_function(word)))
    else:
        app.callback(help=f"kiva-relay {word}: {', '.join(name.split()[1] for name in family)}")(lambda: None)
    for name in family:
        if name != word:
            app.command(name.split()[1], short_help=COMMANDS[name])(_function(name))
    return app


def _is_for_itself(word: str, rest: Sequence[str]) -> bool:
    """Is `report 2026-11` typed, where there is a `report send`, too? A group would take 2026-11 for a command."""
    if {"--help", "-h"} & {*rest} or (rest and not rest[0].startswith("-") and not rest[0][:1].isdigit()):
        return False
    annotations = [one.annotation for one in inspect.signature(_function(word), eval_str=True).parameters.values()]
    given = [one for annotation in annotations for one in getattr(annotation, "__metadata__", ())]
    return any(isinstance(one, typer.models.ArgumentInfo) for one in given)


def _alone(function: Callable[..., object]) -> Callable[..., object]:
    """A command that has others below it: it runs only when none of them was typed."""

    @functools.wraps(function)
    def call(context: typer.Context, **options: object) -> object:
        return function(**options) if context.invoked_subcommand is None else None

    signature = inspect.signature(function, eval_str=True)
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _function(name: str) -> Callable[..., object]:
    module = importlib.import_module(f"kiva_relay.cli.{name.replace(' ', '_')}")
    function: Callable[..., object] = module.command
    return function


def _options_last(given: list[str]) -> list[str]:
    """`--config FILE check` is `check --config FILE`: an option before the command is moved behind it."""
    before: list[str] = []
    rest = list(given)
    while rest and _names(rest[0]):
        taken = 1 if "=" in rest[0] else 2
        before, rest = before + rest[:taken], rest[taken:]
    words = len(_words(rest))
    return [*rest[:words], *before, *rest[words:]] if rest else before


def _words(given: Sequence[str]) -> list[str]:
    """The words at the beginning that name a command."""
    for number in (2, 1):
        words = [*given[:number]]
        if any(name.split()[:number] == words for name in COMMANDS):
            return words
    return []


def _unknown(found: str, known: Sequence[str] | set[str], typed: str) -> UsageError:
    close = nearest(found, known)
    hint = f"Did you mean: {', '.join(close)}" if close else f"There are: {', '.join(sorted(known))}"
    return UsageError(f"There is no command {typed}.", hint=hint)


def _map() -> str:
    from kiva_relay.config import loader  # noqa: PLC0415 - pydantic takes longer to import than the map to read

    named = os.environ.get(loader.VARIABLE)
    file = loader.meant(Path(named)) if named else loader.USUAL_PLACE
    try:
        there = file.exists()
    except OSError:
        there = True
    missing = " (not there yet: kiva-relay init)"
    return _MAP.format(version=__version__, configuration=f"{file}{'' if there else missing}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text.rstrip()}\n")
    sys.stdout.flush()


def _complain(message: str, hint: str | None = None) -> None:
    sys.stdout.flush()
    lines = [message, *(f"  {line}" for line in (hint or "").splitlines())]
    sys.stderr.write(to_type.lines(visible.lines("\n".join(lines))) + "\n")
    sys.stderr.flush()


def _unexpected(error: Exception) -> tuple[str, str]:
    """One sentence, a number, and the file that holds the details; only its owner can read it.

    The file says where it happened and what kind of error it was. The words of an error may quote a row: they stay out.
    """
    number = secrets.token_hex(3)
    named = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    text = "".join(_places(error))
    for folder in filter(None, (named, tempfile.gettempdir())):
        file = Path(folder) / f"kiva-relay-error-{number}.txt"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as details:
            details.write(f"kiva-relay {__version__}\n{text}")
        _keep_the_newest(Path(folder))
        break
    else:
        return f"Something unexpected happened ({type(error).__name__}, number {number}). Nothing is lost.", ""
    return (
        f"Something unexpected happened ({type(error).__name__}, number {number}). Nothing is lost.",
        f"The details are in {file}. It says where it happened, and holds nothing of your data.",
    )


def _places(error: BaseException) -> Iterator[str]:
    """The errors behind an error, the first one first: the class of each, and the lines of code it came through."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _places(before)
        yield "\nand then\n\n"
    yield f"{type(error).__module__}.{type(error).__qualname__}\nTraceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)


def _keep_the_newest(folder: Path) -> None:
    """Restarts that end alike must not fill the disk."""
    with contextlib.suppress(OSError):
        files = [(file.lstat().st_mtime, file) for file in folder.glob("kiva-relay-error-*.txt")]
        for _, file in sorted(files, reverse=True)[_DETAILS:]:
            file.unlink()
