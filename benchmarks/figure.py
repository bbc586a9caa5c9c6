"""What was measured: one figure for each contender and case, with the duplicates and losses beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "kiva-relay"
COURIER = "kiva-relay, its courier alone"
BARE = "limit: bare httpx, one connection"
FOUR = "limit: bare httpx, four connections"
DURABLE = "limit: httpx, two FULL commits and a sync"


@dataclass
class Figure:
    """One contender in one case. `values` are of the rounds; `duplicates` and `lost` are of all of them together.

    `cpu` are milliseconds of processor time for one of what is counted; `peak` is MB; `start` are seconds until the
    first call came. None in `duplicates` and `lost`: nothing is sent there that could be doubled or lost.
    """

    part: str
    case: str
    who: str
    unit: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: float = 0.0
    start: float = 0.0
    duplicates: int | None = None
    lost: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values) if self.values else 0.0

    @property
    def cost(self) -> float:
        """The median of what one cost, in ms of processor time."""
        return statistics.median(self.cpu) if self.cpu else 0.0

    @property
    def spread(self) -> str:
        """From the least to the most; nothing of a single round."""
        return f"{shown(min(self.values))}-{shown(max(self.values))}" if len(self.values) > 1 else ""


class Figures:
    """All of a run, in the order in which they were first measured."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str, str], Figure] = {}
        self.missing: dict[str, str] = {}
        self.about: dict[str, Any] = {}

    def add(
        self,
        part: str,
        case: str,
        who: str,
        *,
        unit: str,
        value: float,
        cpu: float | None = None,
        peak: float = 0.0,
        start: float = 0.0,
        duplicates: int | None = None,
        lost: int | None = None,
        **more: Any,
    ) -> Figure:
        """One round."""
        one = self._all.setdefault((part, case, who), Figure(part, case, who, unit))
        one.values.append(value)
        if cpu is not None:
            one.cpu.append(cpu)
        one.peak, one.start = max(one.peak, peak), max(one.start, start)
        if duplicates is not None:
            one.duplicates = (one.duplicates or 0) + duplicates
        if lost is not None:
            one.lost = (one.lost or 0) + lost
        one.more |= more
        return one

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._all.values())

    def of(self, part: str, case: str | None = None) -> list[Figure]:
        """Those of a part, or of one of its cases."""
        return [one for one in self if one.part == part and case in (None, one.case)]

    def find(self, part: str, case: str, who: str) -> Figure | None:
        """One of them."""
        return self._all.get((part, case, who))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"about": self.about, "missing": self.missing, "figures": [asdict(one) for one in self]}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Figures:
        """From JSON."""
        found = cls()
        found.about, found.missing = dict(document["about"]), dict(document["missing"])
        for one in document["figures"]:
            found._all[one["part"], one["case"], one["who"]] = Figure(**one)
        return found

    def wrong(self) -> list[str]:
        """What of ours was doubled or lost: in sentences; nothing, when all is well."""
        return [
            f"{one.part}, {one.case}: {one.who}: {one.duplicates} duplicates, {one.lost} lost"
            for one in self
            if one.who.startswith(OURS) and (one.duplicates or one.lost)
        ]


def shown(number: float) -> str:
    """A number as a person reads it."""
    if number >= 100:  # noqa: PLR2004 - three digits are enough
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"  # noqa: PLR2004
