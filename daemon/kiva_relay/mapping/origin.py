"""Which file a line of a mapping stands in, when the mapping is made of several.

While a mapping is read, the lines of its files are counted as one: first those of the mapping itself, then those of the
mapping that it extends. So a place stays two numbers for all who note one. Mistakes get their own file and line back
at the end.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kiva_relay.config import shipped, yaml_tree
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass

SUFFIX = ".yaml"


@dataclass(frozen=True)
class SourceFile:
    """One file of a mapping: what stood in it, and how many lines are counted before its first one."""

    file: Path
    text: str
    before: int = 0

    @property
    def lines(self) -> list[str]:
        """Its lines, as an editor counts them."""
        return yaml_tree.lines(self.text)

    @property
    def called(self) -> str:
        """`fineract/journal` for a ready-made mapping, else the path."""
        return f"{self.file.parent.name}/{name_of(self.file)}" if is_ready_made(self.file) else str(self.file)


@dataclass(frozen=True)
class Sources:
    """The files of one mapping: its own first, then each one that the file before it extends."""

    files: tuple[SourceFile, ...] = ()

    def find(self, line: int) -> tuple[SourceFile, int]:
        """The file that a counted line stands in, and its line there."""
        found = next(each for each in reversed(self.files) if line > each.before or each is self.files[0])
        return found, line - found.before

    def placed(self, mistakes: Iterable[Mistake]) -> list[Mistake]:
        """Mistakes at counted lines, each with its own file, the line in it, and what is written there.

        A mistake of another file, as of a code table, stays as it is.
        """
        return [self._placed(each) if each.file == self.files[0].file else each for each in mistakes]

    def _placed(self, mistake: Mistake) -> Mistake:
        source, line = self.find(mistake.line)
        return replace(mistake, file=source.file, line=line).quoting(source.lines)

    @functools.cached_property
    def ready_made(self) -> tuple[SourceFile, ...]:
        """The files that came with the package."""
        return tuple(each for each in self.files if is_ready_made(each.file))

    @functools.cached_property
    def ready_made_digest(self) -> str:
        """SHA-256 of what the package says in this mapping, in hexadecimal; empty when it says nothing."""
        said = "\0".join(each.text for each in self.ready_made)
        return hashlib.sha256(said.encode()).hexdigest() if said else ""


def name_of(file: Path) -> str:
    """A mapping is called like its file."""
    return file.name.removesuffix(SUFFIX)


def examples_of(file: Path) -> Path:
    """Where the examples of a mapping stand: beside it, `NAME.test.yaml`."""
    return file.with_name(f"{name_of(file)}.test{SUFFIX}")


def is_ready_made(file: Path) -> bool:
    """Whether a file came with the package."""
    return file.resolve().is_relative_to(shipped.folder("mappings").resolve())


def is_mapping(file: Path) -> bool:
    """Whether a file of a folder is taken for a mapping: no examples, no copy that an editor keeps."""
    return file.name.endswith(SUFFIX) and not file.name.endswith(f".test{SUFFIX}") and not file.name.startswith(".")


def stamp(file: Path) -> tuple[int, int, int, int]:
    """What differs once a file was written, as the disk tells it: whoever has read it need not read it again.

    Raises:
        OSError: there is none, or it cannot be seen.
    """
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
