"""Man pages and completions, out of what `--help` says.

    manual.py FOLDER

Into FOLDER go man1/*.1, and for each shell the file that its own folder of completions takes.
"""
# ruff: noqa: INP001 - a script of the package's making, no module

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from kiva_relay import __version__, cli


@dataclass(frozen=True)
class Told:
    """What a command says of itself: its options, each with its spellings, what it takes and what it is for."""

    name: str
    usage: str
    help: str
    arguments: list[tuple[str, str]]
    options: list[tuple[list[str], str, str]]


def told() -> list[Told]:
    """Every command, in the order of `kiva-relay --help`."""
    return [_told(name) for name in cli.COMMANDS]


def _told(name: str) -> Told:
    app: Any = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(cli._function(name))  # noqa: SLF001 - the same source as --help
    command: Any = typer.main.get_command(app)
    context = command.make_context(f"kiva-relay {name}", [], resilient_parsing=True)
    arguments, options = [], []
    for one in command.get_params(context):
        term, text = one.get_help_record(context) or ("", "")
        if one.param_type_name == "argument":
            arguments.append((term, text))
        elif term:
            names = [*one.opts, *one.secondary_opts]
            takes = "" if one.is_flag else term.rpartition(" ")[2]
            options.append((names, takes, text))
    usage = " ".join(command.collect_usage_pieces(context))
    return Told(name, usage, (command.help or "").strip(), arguments, options)


def page(one: Told) -> str:
    """A man page."""
    title = f"kiva-relay-{one.name.replace(' ', '-')}"
    lines = [f'.TH "{title.upper()}" 1 "" "kiva-relay {__version__}" "kiva-relay"', ".SH NAME"]
    lines += [f"{_roff(title)} \\- {_roff(cli.COMMANDS[one.name])}", ".SH SYNOPSIS"]
    lines += [f".B kiva-relay {one.name}", _roff(one.usage), ".SH DESCRIPTION"]
    for paragraph in one.help.split("\n\n"):
        lines += [".PP", _roff(" ".join(paragraph.split()))]
    for heading, entries in (
        ("ARGUMENTS", one.arguments),
        ("OPTIONS", [(", ".join(names) + (f" {takes}" if takes else ""), text) for names, takes, text in one.options]),
    ):
        if entries:
            lines.append(f".SH {heading}")
            for term, text in entries:
                lines += [".TP", f".B {_roff(term)}", _roff(text or "…")]
    lines += [".SH FILES", ".TP", ".I /etc/kiva\\-relay/config.yaml", "The configuration, where nothing else is named."]
    lines += [".SH SEE ALSO", ".BR kiva\\-relay (1)"]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """The page of the program itself."""
    lines = [f'.TH "KIVA-RELAY" 1 "" "kiva-relay {__version__}" "kiva-relay"', ".SH NAME"]
    lines += ["kiva\\-relay \\- sends loans, repayments and journals from a MIS to Kiva, once each", ".SH COMMANDS"]
    for name, about in cli.COMMANDS.items():
        lines += [".TP", f".BR kiva\\-relay\\-{_roff(name.replace(' ', '-'))} (1)", _roff(about)]
    lines += [".SH EXIT STATUS", "0 done; 1 found something that needs a person; 2 wrong use or configuration;"]
    lines += ["3 a server was not reached."]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Text that is no request and no escape."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe[:1] in {".", "'"} else safe


def bash(every: list[Told]) -> str:
    """Completion for bash: first the words of a command, then its options."""
    firsts = " ".join(dict.fromkeys(one.name.split()[0] for one in every))
    lines = [
        "# bash completion for kiva-relay",
        "_kiva_relay() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" words=""',
    ]
    lines += ['    case "${COMP_WORDS[*]:1:COMP_CWORD-1}" in', f'        "") words="{firsts}" ;;']
    lines += [f'        "{one.name}"*) words="{_after(one.name, every)}" ;;' for one in _longest_first(every)]
    families = dict.fromkeys(one.name.split()[0] for one in every if " " in one.name)
    named = {one.name for one in every}
    lines += [f'        "{word}"*) words="{_seconds(word, every)}" ;;' for word in families if word not in named]
    lines += ["    esac", '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")']
    lines += ['    [ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")', "}"]
    return "\n".join([*lines, "complete -F _kiva_relay kiva-relay"]) + "\n"


def zsh(every: list[Told]) -> str:
    """Completion for zsh."""
    lines = ["#compdef kiva-relay", 'local typed="${(j: :)words[2,CURRENT-1]}"', "local -a known", 'case "$typed" in']
    lines += [f'  "") known=({" ".join(dict.fromkeys(one.name.split()[0] for one in every))}) ;;']
    lines += [f'  "{one.name}"*) known=({_after(one.name, every)}) ;;' for one in _longest_first(every)]
    families = dict.fromkeys(one.name.split()[0] for one in every if " " in one.name)
    named = {one.name for one in every}
    lines += [f'  "{word}"*) known=({_seconds(word, every)}) ;;' for word in families if word not in named]
    return "\n".join([*lines, "esac", "compadd -- $known", "_files"]) + "\n"


def fish(every: list[Told]) -> str:
    """Completion for fish."""
    lines = ["# fish completion for kiva-relay"]
    for one in every:
        first, _, second = one.name.partition(" ")
        about = _quoted(cli.COMMANDS[one.name])
        if second:
            lines.append(f"complete -c kiva-relay -n '__fish_seen_subcommand_from {first}' -a {second} -d {about}")
        else:
            lines.append(f"complete -c kiva-relay -n __fish_use_subcommand -a {first} -d {about}")
        for names, takes, text in one.options:
            spelled = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in names)
            value = " -r" if takes else ""
            seen = f"'__fish_seen_subcommand_from {second or first}'"
            lines.append(f"complete -c kiva-relay -n {seen} {spelled}{value} -d {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _after(name: str, every: list[Told]) -> str:
    """What may follow a command: the commands below it, and its options."""
    options = next((one.options for one in every if one.name == name), [])
    below = [one.name.split()[1] for one in every if one.name.startswith(f"{name} ")]
    return " ".join([*below, *(spelled for names, _, _ in options for spelled in names), "--help"])


def _seconds(word: str, every: list[Told]) -> str:
    return " ".join(one.name.split()[1] for one in every if one.name.startswith(f"{word} "))


def _longest_first(every: list[Told]) -> Iterator[Told]:
    return iter(sorted(every, key=lambda one: -len(one.name)))


def write(folder: Path) -> None:
    """All of them."""
    every = told()
    files = {"man1/kiva-relay.1": overview(), "bash/kiva-relay": bash(every)}
    files |= {"zsh/_kiva-relay": zsh(every), "fish/kiva-relay.fish": fish(every)}
    files |= {f"man1/kiva-relay-{one.name.replace(' ', '-')}.1": page(one) for one in every}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
