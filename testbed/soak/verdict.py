"""What grew: the last third of a run against the second. In the first all that a start brings with it is over."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.soak.sample import Sample

_MB = 1_000_000
WAL_MOST = 16 * _MB
"""Bytes. SQLite empties it at 4 MB; a checkpoint that a reader is before waits for the next."""
KEPT_MOST = 16 * _MB
"""Bytes: a file of PostgreSQL's log. What was read of a stream is confirmed as soon as it stands in the outbox."""
OUTBOX_MOST = 7
"""Five that the relay's pool keeps, of which the last are opened when more threads ask at the same moment, and two of ours."""
IDLE_MOST = 10.0
"""Lines an hour."""
LINES_MOST = 1.05
"""Lines a change: at most one for each, and some for what comes by the clock. How many changes go in one call depends on
how busy the machine is, so growth is looked for in lines a call.
"""


@dataclass(frozen=True)
class Line:
    """A figure of the second and the last third; `most` it may be in the last."""

    what: str
    before: float
    after: float
    most: float
    bound: str

    @property
    def grew(self) -> bool:
        """By more than it may."""
        return self.after > self.most

    def words(self) -> str:
        """A row of the table."""
        said = "GREW" if self.grew else "flat"
        return f"{self.what:<34}{self.before:>12,.2f}{self.after:>12,.2f}   {self.bound:<16}{said}"


def thirds(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Those of the second and of the last third of the time."""
    began, third = samples[0].at, (samples[-1].at - samples[0].at) / 3
    second = [each for each in samples if third <= each.at - began < 2 * third]
    return second, [each for each in samples if each.at - began >= 2 * third]


def compared(samples: Sequence[Sample]) -> list[Line]:
    """Every figure of a run."""
    second, last = thirds(samples)

    def median(of: Callable[[Sample], float]) -> tuple[float, float]:
        return statistics.median(map(of, second)), statistics.median(map(of, last))

    def by(what: Callable[[Sample], float], of: Callable[[Sample], float]) -> tuple[float, float]:
        return _rate(what, of, second), _rate(what, of, last)

    wal = (max(each.wal for each in second) / _MB, max(each.wal for each in last) / _MB)
    kept = (max(each.kept for each in second) / _MB, max(each.kept for each in last) / _MB)
    return [
        _by_share("memory resident, MB", median(lambda each: each.resident / _MB), 1.05),
        _by_share("memory of its own, MB", median(lambda each: each.private / _MB), 1.05),
        _by_number("open descriptors", median(lambda each: each.descriptors), 2),
        _by_number("threads", median(lambda each: each.threads), 0),
        _by_number("connections at the MIS", median(lambda each: each.connections), 0),
        _at_most("connections at the outbox", median(lambda each: each.of_outbox), OUTBOX_MOST),
        _at_most("outbox-wal at its largest, MB", wal, WAL_MOST / _MB),
        _at_most("kept for a stream at most, MB", kept, KEPT_MOST / _MB),
        _by_share("outbox, bytes an entry", median(lambda each: each.outbox / max(each.entries, 1)), 1.05),
        _at_most("lines of log a change", by(lambda each: each.lines, lambda each: each.changes), LINES_MOST),
        _by_share("lines of log a call", by(lambda each: each.lines, lambda each: each.calls), 1.05),
        _by_share("bytes of log a call", by(lambda each: each.log, lambda each: each.calls), 1.05),
    ]


def idle(lines: int, hours: float) -> Line:
    """What it says while nothing changes, in an hour of the day that is played."""
    told = lines / hours
    return Line("idle: lines of log an hour", told, told, IDLE_MOST, f"<= {IDLE_MOST:g}")


def table(lines: Sequence[Line]) -> list[str]:
    """The table, with its head."""
    head = f"{'':<34}{'2nd third':>12}{'last third':>12}   {'may be':<16}"
    return [head.rstrip(), *(line.words() for line in lines)]


def _rate(what: Callable[[Sample], float], of: Callable[[Sample], float], part: Sequence[Sample]) -> float:
    return (what(part[-1]) - what(part[0])) / max(of(part[-1]) - of(part[0]), 1)


def _at_most(what: str, figures: tuple[float, float], most: float) -> Line:
    return Line(what, *figures, most, f"<= {most:g}")


def _by_share(what: str, figures: tuple[float, float], share: float) -> Line:
    return Line(what, *figures, figures[0] * share, f"<= {share:g} x")


def _by_number(what: str, figures: tuple[float, float], more: float) -> Line:
    return Line(what, *figures, figures[0] + more, f"<= + {more:g}")
