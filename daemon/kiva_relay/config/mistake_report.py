"""The mistakes of one YAML file, gathered while it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from kiva_relay.config import yaml_line, yaml_tree
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass

LIMIT = 50
"""Mistakes of YAML in one file that are shown at once."""


def _nothing(keys: tuple[str, ...], value: str) -> bool:
    del keys, value
    return False


def _last(keys: Sequence[str]) -> str:
    return keys[-1] if keys else ""


@dataclass(frozen=True)
class Writing:
    """How values are written in one kind of file: settings, mapping or examples.

    Both functions get the keys from the outermost to the line's own, and the value as it stands there. `line` gives
    the line for a value that YAML takes for something else; `hides` says that the value may be a secret, so that no
    message repeats it. `named` gives the key that a message names: a key may be the secret, written in the wrong place.
    """

    line: Callable[[tuple[str, ...], str], str] = yaml_line.quoted
    hides: Callable[[tuple[str, ...], str], bool] = _nothing
    named: Callable[[Sequence[str]], str] = _last

    def shown(self, keys: tuple[str, ...], value: str, instead: str) -> str:
        """The line to write, as it may be printed."""
        if not self.hides(keys, value):
            return instead
        if value.startswith(("{", "[")) or self.named(keys) != keys[-1]:
            return "close what is opened on this line, and put texts between quotes"
        return f'{keys[-1]}: "…"   (its value between quotes)'


@dataclass
class MistakeReport:
    """The mistakes of one file; `text` is what stands in it.

    `broken` are the lines whose value is not what was written, `moved` those that begin elsewhere than written.
    """

    file: Path
    writing: Writing = Writing()
    text: str = ""
    mistakes: list[Mistake] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether a person has enough to do: the rest is for the next run."""
        return len(self.mistakes) >= LIMIT

    def add(
        self,
        at: YamlTree | None,
        path: str,
        message: str,
        *,
        remedy: str = "",
        offset: int = 0,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Note a mistake; `offset` is how many letters behind the beginning of the value it is.

        On a line that is broken already nothing more is said: what it meant is not known.
        """
        if at is not None and at.line in self.broken:
            return
        line, column = (at.line, at.column + offset) if at else (0, 0)
        self.mistakes.append(Mistake(self.file, line, column, path, message, remedy, severity))

    def whole(self, message: str, remedy: str = "") -> None:
        """Note a mistake of the file as a whole."""
        self.mistakes.append(Mistake(self.file, 0, 0, self.file.name, message, remedy))

    def hide(self) -> None:
        """Name no key in a mistake that may be a secret."""
        written = yaml_tree.lines(self.text)
        for at, each in enumerate(self.mistakes):
            keys = (*yaml_line.around(written, each.line), each.path)
            self.mistakes[at] = replace(each, path=self.writing.named(keys) if each.path else "")

    def quoted(self) -> list[Mistake]:
        """The mistakes, each with its line as it stands in the file; those of another file stay as they are."""
        written = yaml_tree.lines(self.text)
        return [each.quoting(written) if each.file == self.file else each for each in self.mistakes]
