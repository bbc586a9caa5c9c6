"""What the pages of the documentation show to be typed: each line of their blocks, and the commands in their sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kiva_relay import cli

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_OF_A_SHELL = ("", "sh", "bash", "console")
_OF_OURS = re.compile(r"`((?:sudo )?(?:-u \S+ )?kiva-relay [^`\n]+)`")
_PICTURE = "──"
_AS_SOMEBODY = re.compile(r"^(?:\$ )?(?:sudo )?(?:-u \S+ )?")


@dataclass(frozen=True)
class Shown:
    """A line that somebody may type, and the page on which it stands."""

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """The arguments of `kiva-relay`; none for a command that is not ours. Where its output goes is left out."""
        bare = _AS_SOMEBODY.sub("", self.line)
        if not bare.startswith("kiva-relay "):
            return []
        return shlex.split(re.split(r" > | \| |   +#? ?| # ", bare)[0])[1:]

    @property
    def command(self) -> str:
        """Which command of ours it is, "" for none; that it is one, another test looks."""
        for number in (2, 1):
            if (name := " ".join(self.words[:number])) in cli.COMMANDS:
                return name
        return ""


def pages() -> dict[str, str]:
    """Every page of the project, by its path."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def of_blocks() -> Iterator[Shown]:
    """Every line of every block that is none of code and no picture."""
    for page, text in pages().items():
        for _, language, block in _BLOCK.findall(text):
            if language in _OF_A_SHELL and _PICTURE not in block:
                yield from (Shown(page, line.strip()) for line in block.splitlines() if line.strip())


def of_sentences() -> Iterator[Shown]:
    """Every command of ours between backquotes; what is only named there is one without arguments."""
    for page, text in pages().items():
        yield from (Shown(page, line) for line in _OF_OURS.findall(_BLOCK.sub("", text)))
