"""What all parts of the comparison work with: the database, the sink, the folder, the figures, and what was chosen."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import book, environment
from benchmarks.figure import Figures
from benchmarks.served import Served, Took
from testbed.database.postgres import PostgresServer

SMALL = 3_000


@dataclass
class Bench:
    """One run. `short` makes everything small, for a test that only looks whether the result is right."""

    folder: Path
    server: PostgresServer
    sink: Served
    loans: int
    large: int
    rounds: int
    short: bool
    peers: list[str]
    figures: Figures = field(default_factory=Figures)
    _books: dict[int, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> Path:
        """A folder that nobody had yet."""
        self._numbers[name] = self._numbers.get(name, 0) + 1
        found = self.folder / f"{name} {self._numbers[name]}"
        found.mkdir()
        return found

    def database(self) -> str:
        """An empty one, on the same server."""
        self._numbers["database"] = self._numbers.get("database", 0) + 1
        return self.server.create_database(f"book_{self._numbers['database']}")

    def book_of(self, loans: int) -> str:
        """The book with so many loans, made when it is first asked for."""
        if loans not in self._books:
            url = self.database()
            book.make(url, loans)
            self._books[loans] = url
        return self._books[loans]

    @property
    def url(self) -> str:
        """A small book: a relay that is started for a thousand drafts need not read through all others first."""
        return self.book_of(min(SMALL, self.loans))

    def present(self, *names: str) -> list[str]:
        """Those of the peers that are to run, and can."""
        found = []
        for name in names:
            if name not in self.peers:
                continue
            one = environment.of(name, make=not self.short)
            if one.python is None:
                self.figures.missing[environment.NAMES[name]] = one.missing
            else:
                self.figures.about.setdefault("peers", {})[environment.NAMES[name]] = one.version
                found.append(name)
        return found

    def say(self, line: str) -> None:
        """Tell a person what happens."""
        print(line, flush=True)


def correctness(took: Took, expected: int) -> dict[str, int]:
    """What was doubled, and what never came."""
    return {"duplicates": took.duplicates, "lost": expected - took.distinct}


def disk(folder: Path) -> str:
    """What kind of disk a folder is on: its file system, and how its disk turns."""
    device, kind = folder.stat().st_dev, "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[2] == f"{os.major(device)}:{os.minor(device)}":
            kind = words[words.index("-") + 1]
    if kind == "tmpfs":
        return "tmpfs: memory, a sync costs nothing"
    link = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for place in (link, link.resolve().parent):
        rotates = place / "queue" / "rotational"
        if rotates.exists():
            virtual = "virtual disk" if place.resolve().name.startswith(("vd", "xvd")) else "disk"
            return f"{kind} on a {virtual}{', said to turn' if rotates.read_text('ascii').strip() == '1' else ''}"
    return kind


def where(chosen: str) -> str:
    """Where the run has its files: on a disk, for a sync has to cost what it costs."""
    return chosen or tempfile.gettempdir()
