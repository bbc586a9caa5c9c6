"""What can go wrong, as one tree.

RelayError                 something a person reads; carries the command to type next
├── UsageError             wrong use of a command                                   exit 2
│   ├── ConfigurationError every mistake of config.yaml and the mappings, at once   exit 2
│   └── OutboxRefused      the outbox is not the one that this configuration means  exit 2
├── Unreachable            a server did not answer; it is asked again               exit 3
│   └── OutboxAway         the outbox cannot be read or written now                 exit 3
├── WentBack               the MIS is older than what was read from it              exit 1
└── Stolen                 another relay holds the lease; this one stops at once    exit 3
IllegalMove                a move the state machine does not know: a bug, not an operating condition
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

_A_WORD = 3
"""Letters from which on a name that begins alike is more than chance."""


class RelayError(Exception):
    """Something went wrong that a person can mend.

    `hint` is what to type next; `str()` is the sentence without it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.hint = hint


class UsageError(RelayError):
    """The command was used in a way that it does not know."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in a file that a person wrote.

    `line` and `column` count from 1 (0: the file as a whole); `path` is where in the document, as
    `kiva.columns`; `message` says what was expected and what was found; `remedy` what to write instead.
    """

    file: Path
    line: int
    column: int
    path: str
    message: str
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"


class ConfigurationError(UsageError):
    """Files that a person wrote hold mistakes; nothing was started."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(mistakes)
        super().__init__("\n".join(self._lines()), hint="Nothing was started. Correct the file and run it again.")

    def _lines(self) -> Iterable[str]:
        for file in dict.fromkeys(mistake.file for mistake in self.mistakes):
            mine = [mistake for mistake in self.mistakes if mistake.file == file]
            yield f"{file}: {counted(len(mine), 'mistake')}"
            for mistake in mine:
                where = f"{mistake.line}:{mistake.column}" if mistake.line else ""
                yield f"  {where:<7} {mistake.severity}  {mistake.path}: {mistake.message}"
                if mistake.remedy:
                    yield f"          → {mistake.remedy}"


class OutboxRefused(UsageError):
    """The outbox belongs to another destination, another MIS or another version."""


class Unreachable(RelayError):
    """A server did not answer. Nothing is lost; it is asked again."""

    exit_code = 3


class OutboxAway(Unreachable):
    """The outbox cannot be read or written now: nothing is sent that could not be recorded."""


class WentBack(RelayError):
    """The MIS is older than what was read from it, or another copy of it: it has to be read anew."""


class Stolen(RelayError):
    """Another relay holds this outbox."""

    exit_code = 3


class IllegalMove(Exception):
    """An entry was to make a move that it cannot make from the state it is in."""


def nearest(wrong: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Names that begin with `wrong` or resemble it, the best first: at most `limit`, none when nothing is near.

    Case and accents count for nothing: `thies` is near `Thiès: Senegal`.
    """
    folded = {_folded(name): name for name in known}
    sought = _folded(wrong)
    begin = sorted(name for name in folded if len(sought) >= _A_WORD and name.startswith(sought))
    like = difflib.get_close_matches(sought, folded, n=limit, cutoff=0.6)
    return [folded[hit] for hit in dict.fromkeys([*begin, *like])][:limit]


def _folded(name: str) -> str:
    parts = unicodedata.normalize("NFD", name.casefold().strip())
    return "".join(part for part in parts if not unicodedata.combining(part))


def counted(number: int, noun: str) -> str:
    """`1 mistake`, `5 mistakes`, `2 entries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"
