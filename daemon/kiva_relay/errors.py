"""What can go wrong, as one tree.

RelayError                 something a person reads; carries the command to type next
├── UsageError             wrong use of a command                                   exit 2
│   ├── ConfigurationError every mistake of config.yaml and the mappings, at once   exit 2
│   └── OutboxRefused      the outbox is not the one that this configuration means  exit 2
├── Unreachable            a server did not answer; it is asked again               exit 3
│   ├── OutboxAway         the outbox cannot be read or written now                 exit 3
│   └── Denied             the server answers, and does not let us in               exit 1
├── OutboxPutBack                the outbox is older than what this process wrote         exit 1
├── WentBack               the MIS is older than what was read from it              exit 1
└── Stolen                 another relay holds the lease; this one stops at once    exit 3
IllegalMove                a move the state machine does not know: a bug, not an operating condition
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

_A_WORD = 3
"""Letters from which on a name that begins alike is more than chance."""

# So much of a long line is shown around a mistake.
_SHOWN = 96


class RelayError(Exception):
    """Something went wrong that a person can mend.

    `hint` is what to type next; `str()` is the sentence without it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.hint = hint


class UsageError(RelayError):
    """The command was used in a way that it does not know.

    `code` and `params` say the same to the coordinator, in her language; there is a code where the page leads here.
    """

    exit_code = 2

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        code: str = "",
        params: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code, self.params = code, params or {}


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in a file that a person wrote.

    `line` and `column` count from 1 (0: the file as a whole); `path` is where in the document, as
    `kiva.columns`; `message` says what was expected and what was found; `remedy` what to write instead. `quote` is
    the line as it was written, where nothing in the file is secret.
    """

    file: Path
    line: int
    column: int
    path: str
    message: str
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"
    quote: str = ""

    def quoting(self, lines: Sequence[str]) -> Mistake:
        """The same mistake with its line out of the file's lines."""
        return replace(self, quote=lines[self.line - 1]) if 0 < self.line <= len(lines) else self


class ConfigurationError(UsageError):
    """Files that a person wrote hold mistakes; nothing was started."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(mistakes)
        super().__init__(
            "\n".join(listed(self.mistakes)), hint="Nothing was started. Correct the file and run it again."
        )


class OutboxRefused(UsageError):
    """The outbox belongs to another destination, another MIS or another version."""


class Unreachable(RelayError):
    """A server did not answer. Nothing is lost; it is asked again."""

    exit_code = 3


class OutboxAway(Unreachable):
    """The outbox cannot be read or written now: nothing is sent that could not be recorded."""


class Denied(Unreachable):
    """The server answers, and does not let us in: a person corrects password, user or name; it is asked again."""

    exit_code = 1


class OutboxPutBack(RelayError):
    """The outbox was put back to an older state while the relay ran: the next start has to see how far."""


class WentBack(RelayError):
    """The MIS is older than what was read from it, or another copy of it: it has to be read again."""


class Stolen(RelayError):
    """Another relay holds this outbox."""

    exit_code = 3


class IllegalMove(Exception):
    """An entry was to make a move that it cannot make from the state it is in."""


def listed(mistakes: Sequence[Mistake]) -> Iterator[str]:
    """Mistakes as a person reads them: by file, each with its line, and below it what to write instead."""
    for file in dict.fromkeys(mistake.file for mistake in mistakes):
        mine = [mistake for mistake in mistakes if mistake.file == file]
        wrong = sum(mistake.severity == "error" for mistake in mine)
        numbers = [(wrong, "mistake"), (len(mine) - wrong, "warning")]
        yield f"{file}: {', '.join(counted(number, noun) for number, noun in numbers if number)}"
        for mistake in mine:
            where = f"{mistake.line}:{mistake.column}" if mistake.line else ""
            path = f"{mistake.path}: " if mistake.path else ""
            yield f"  {where:<7} {mistake.severity}  {path}{mistake.message}"
            yield from _quoted(mistake)
            yield from (f"          → {line}" for line in mistake.remedy.splitlines())


def _quoted(mistake: Mistake) -> Iterator[str]:
    """The line as it was written, and a mark below the letter at which it goes wrong."""
    written = mistake.quote.rstrip()
    if not written or not mistake.column:
        return
    indent = len(written) - len(written.lstrip())
    at = mistake.column - 1
    start = indent if at - indent < _SHOWN * 3 // 4 else at - _SHOWN // 2
    shown = written[start : start + _SHOWN].replace("\t", " ")
    before, after = "… " if start > indent else "", " …" if start + _SHOWN < len(written) else ""
    yield f"              {before}{shown}{after}"
    yield f"              {' ' * (len(before) + max(at - start, 0))}^"


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
