"""Commands that a person types next, for the configuration and the outbox that are in use.

Texts say them as words: `kiva-relay review`. What prints them asks here, and a person of a trial reads
`kiva-relay review --config trial.yaml`; one whose outbox belongs to the service reads `sudo kiva-relay review`.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kiva_relay.frozen import dataclass

_COMMANDS = (
    *("mapping list", "mapping check", "mapping show", "mapping test", "mapping preview", "mapping diff"),
    *("mapping edit", "mapping new", "review done", "outbox list", "outbox show", "outbox settle", "outbox adopt"),
    *(
        "outbox backup",
        "outbox recover",
        "outbox forget",
        "watermark show",
        "watermark set",
        "watch setup",
        "watch drop",
        "check",
    ),
    *("page user", "page", "lists", "init", "reconcile accept", "reconcile done", "reconcile"),
    *("report send", "report decide", "report finalised", "report reopen", "report aliases", "report"),
    *("rehearse", "sandbox", "run", "migrate", "status", "review", "backfill", "sweep", "hold", "release", "reload"),
    *("mail test", "mail failed", "support"),
    "acts",
)
"""The commands that read a configuration, the longer of two before the shorter."""

# A command ends at two blanks, at the end of its line, or where a bracket or a backtick closes behind it.
_ARGUMENT = r"""(?: (?:"[^"\n]*"|'[^'\n]*'|[^\s"'`()])+?)"""
_COMMAND = re.compile(
    rf"(?<![\w/.=-])(?:sudo )?(?P<command>kiva-relay (?:{'|'.join(_COMMANDS)})\b(?![\w-]){_ARGUMENT}*?)"
    r"(?P<end>[.,;:]?(?=\s\s|\s?$|[`()]|\n))",
    re.MULTILINE,
)
_START = re.compile(r"sudo systemctl (?:re)?start kiva-relay\b")
_OF_UNIT = re.compile(
    r"(?P<asks>systemctl [a-z-]+ (?:--now )?|journalctl -u )kiva-relay(?=\.service\b|\.?(?:[\s),;:`]|$))"
)


@dataclass(frozen=True)
class InUse:
    """The configuration in use: how it is named, where it is not the usual one, and whether commands need sudo.

    `partner`: it is that of one of several partners, and named so.
    """

    config: str = ""
    sudo: bool = False
    partner: str = ""


_in_use = InUse()


def use(file: Path, *, usual: Path, outbox: Path | None = None, partner: str = "") -> None:
    """Say which configuration is in use, whose it is, and which file its outbox is, as far as it is known."""
    global _in_use  # noqa: PLW0603 - a process is one command, with one configuration
    config = "" if file == usual else partner or str(file)
    _in_use = InUse(config, sudo=not _is_own(outbox, file), partner=partner)


def forget() -> None:
    """The command has ended."""
    global _in_use  # noqa: PLW0603 - as above
    _in_use = InUse()


def lines(text: str) -> str:
    """A text with each command in it as it has to be typed."""
    if _in_use.partner:
        text = _OF_UNIT.sub(rf"\g<asks>kiva-relay@{_in_use.partner}", text)
    elif _in_use.config:
        text = _START.sub(f"kiva-relay run --config {shlex.quote(_in_use.config)}", text)
    return _COMMAND.sub(_whole, text)


def again(arguments: Sequence[str] | None = None, *, sudo: bool = True) -> str:
    """The command that was typed, with sudo before it; what was set for this run only is left out."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    for at, one in enumerate(typed):
        name, sign, value = (one if at and typed[at - 1] == "--set" else one.removeprefix("--set=")).partition("=")
        if sign and value and (one.startswith("--set=") or (at and typed[at - 1] == "--set")):
            typed[at] = f"{'--set=' if one.startswith('--set=') else ''}{name}=…"
    return shlex.join([*(["sudo"] if sudo else []), "kiva-relay", *typed])


def _whole(said: re.Match[str]) -> str:
    if "--config" in said["command"] or "--help" in said["command"]:
        return said[0]
    sudo = "sudo " if _in_use.sudo else ""
    option = f" --config {shlex.quote(_in_use.config)}" if _in_use.config else ""
    return f"{sudo}{said['command']}{option}{said['end']}"


def _is_own(outbox: Path | None, file: Path) -> bool:
    """Whether the outbox belongs to the person who types; of one that is not known, the configuration."""
    person = int(os.environ.get("SUDO_UID", os.geteuid()))
    for place in (outbox, outbox and outbox.parent, file):
        try:
            if place is not None:
                return place.stat().st_uid == person
        except OSError:
            continue
    return False
