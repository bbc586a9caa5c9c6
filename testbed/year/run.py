"""A year of reports, played month by month and judged at each closing.

python -m testbed.year --months 4 --loans 300 --seed 1 --on postgresql
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from kiva_relay import log
from testbed.rig.killable import Death
from testbed.year import judge, mis, months, verdict
from testbed.year.coordinator import Coordinator
from testbed.year.daemon import daemon
from testbed.year.judge import Scene
from testbed.year.mishap import Mishaps
from testbed.year.months import Month
from testbed.year.stage import Stage, stage
from testbed.year.verdict import Verdict

FIRST = date(2026, 11, 1)
"""The first report is about this month."""

_BASES = ("cumulative_principal", "principal_outstanding")
_IN_MEMORY = Path("/dev/shm")
_MINUTE = timedelta(minutes=1)

_DAYS = (3, 7)
"""Of the window, those on which the sweep runs, and somebody types something wrong for some minutes."""

_LOANS_EACH = 500
"""Of so many loans one a month is deleted, one is moved, and so on."""

_DEATHS = (
    Death("captured"),  # at opening: the positions of some pages are owed, those of others are not
    Death("answered", 2),  # in mid-upload: Kiva took a call, and nothing of it is recorded
    Death("testified"),  # at the last look: nothing has left
    Death("listed"),  # at closing: Kiva's list was read, nothing of it is kept
)


@dataclass
class Year:
    """What is played, and what came of it."""

    stage: Stage
    troubled: bool = False
    mishaps: Mishaps = field(init=False)
    coordinator: Coordinator = field(init=False)
    kills: int = 0

    def __post_init__(self) -> None:
        self._each = max(1, self.stage.village.loans // _LOANS_EACH)
        self.mishaps = Mishaps(self.stage.village)
        self.coordinator = Coordinator(self.stage, self.stage.village.dice)

    def month(self, month: Month) -> Verdict:
        """One report, from before its opening until it is closed."""
        stage, found, coordinator = self.stage, Verdict(month), self.coordinator
        coordinator.begin()
        stage.play(month.opens - timedelta(days=4))
        self.mishaps.month(months.day_there(stage.clock.now()), each=self._each)
        stage.mis.commit()
        stage.tick(sweep=True)
        stage.play(month.opens + _MINUTE)
        opening = stage.scene(month)
        if self.troubled:
            self._lose_calls(month)
            self._be_away_over_the_opening()
        self._tick(dies=0)
        stage.play(month.at(1, 18))
        self._tick(dies=1)
        for day in _DAYS:
            incomplete = stage.kiva.fault("odd", on="loans", answer="item_left_out", every=1) if self._lacks(day) else 0
            self._day(month, day)
            if incomplete:
                stage.kiva.clear_faults(incomplete)
        coordinator.decide(month.period)
        stage.play(month.last_look + _MINUTE)
        self._tick(dies=2)
        for minutes in (30, 90, 300):
            stage.clock.until(month.last_look + minutes * _MINUTE)
            self._tick()
        stage.clock.until(month.closes - 10 * _MINUTE)
        self._tick()
        stage.clock.until(month.closes + _MINUTE)
        self._tick(dies=3)
        stage.kiva.clear_faults()
        stage.tick()
        scene = stage.scene(month)
        judged = verdict.closed(scene, month, coordinator.remembered)
        verdict.positions(found, judged)
        verdict.nothing_invented(found, scene, judged, opening)
        verdict.lines(found, judged, stage.lines(month.period))
        coordinator.send_late(month.period)
        stage.clock.until(month.closes + 30 * _MINUTE)
        self._tick()
        scene = stage.scene(month)
        judged = verdict.closed(scene, month, coordinator.remembered)
        verdict.accounted(found, judged, coordinator.finalise(month.period))
        verdict.lines(found, judged, stage.lines(month.period))
        self._end_what_is_over(scene, judged)
        return found

    def _tick(self, *, dies: int | None = None) -> None:
        """A look; in trouble, one that may be killed, and others until all that was lost is settled."""
        if self.troubled and dies is not None:
            self.kills += self.stage.killed(_DEATHS[dies])
        began = self.stage.clock.now()
        self.stage.tick()
        for _ in range(3 if self.troubled else 0):
            if self.stage.is_settled(since=began):
                return
            began = self.stage.clock.now() + 17 * _MINUTE
            self.stage.clock.until(began)
            self.stage.tick()

    def _lacks(self, day: int) -> bool:
        """Is Kiva's list incomplete on that day?"""
        return self.troubled and day == _DAYS[-1]

    def _lose_calls(self, month: Month) -> None:
        """Of a hundred calls five are lost before Kiva took them, and five after."""
        for kind, seed in (("drop_before", 1), ("drop_after", 101)):
            self.stage.kiva.fault(kind, on="any", probability=0.05, seed=seed + month.cutoff.month)

    def _be_away_over_the_opening(self) -> None:
        """The institution's database is away for some hours while the report opens."""
        stage = self.stage
        stage.end_relay()
        stage.mis.server.stop()
        stage.tick()
        stage.clock.until(stage.clock.now() + 120 * _MINUTE)
        stage.tick()
        stage.mis.server.start()

    def _day(self, month: Month, day: int) -> None:
        """The night's sweep; and in the evening somebody types something wrong, for a few minutes."""
        stage = self.stage
        stage.play(month.at(day, 2, 30))
        stage.tick(sweep=True)
        stage.play(month.at(day, 22))
        today = months.day_there(stage.clock.now())
        stage.village.mistype(today, as_of=month.cutoff, number=4 * self._each)
        stage.mis.commit()
        self._tick()
        stage.clock.until(stage.clock.now() + 5 * _MINUTE)
        stage.village.correct(today)
        stage.mis.commit()
        self._tick()

    def _end_what_is_over(self, scene: Scene, judged: dict[str, verdict.Judged]) -> None:
        """Kiva expects nothing more of what was reported as repaid."""
        over = []
        for one in judged.values():
            rows = scene.mis.get(judge.key(one.loan.loan_id), [])
            if one.kind == verdict.ACCEPTED and rows and one.held == rows[0].on_basis(rows[0].lent):
                over.append(one.loan.loan_id)
        self.stage.financed.end(over)


def play(
    engine: str, folder: Path, *, loans: int, number: int, seed: int, troubled: bool = False, outstanding: bool = False
) -> Iterator[tuple[Verdict, Year]]:
    """The verdict of each month, as it is closed. `outstanding`: it is reported what is still owed."""
    with stage(engine, folder, loans=loans, first=FIRST, reports=number, seed=seed, outstanding=outstanding) as made:
        year = Year(made, troubled)
        for month in months.months(FIRST, number):
            yield year.month(month), year


def by_daemon(
    engine: str, folder: Path, *, loans: int, number: int, seed: int, outstanding: bool = False
) -> Iterator[Verdict]:
    """The same by a daemon that runs through the ends of the months, and a coordinator who forgets everything."""
    with stage(
        engine, folder, loans=loans, first=FIRST, reports=number, seed=seed, outstanding=outstanding, goes_on=True
    ) as made:
        mishaps = Mishaps(made.village)
        with daemon(made) as relay:
            for month in months.months(FIRST, number):
                found = Verdict(month)
                relay.until(month.opens - timedelta(days=4))
                mishaps.month(months.day_there(made.clock.now()), each=max(1, loans // _LOANS_EACH))
                relay.until(month.opens + 10 * _MINUTE)
                opening = made.scene(month)
                for moment in (month.at(1, 18), month.at(3, 4), month.last_look + 10 * _MINUTE):
                    relay.until(moment)
                relay.until(month.closes - 20 * _MINUTE)
                relay.until(month.closes + 10 * _MINUTE)
                scene = made.scene(month)
                judged = verdict.closed(scene, month, {})
                verdict.positions(found, judged)
                verdict.nothing_invented(found, scene, judged, opening)
                lines = made.lines(month.period)
                verdict.lines(found, judged, lines)
                verdict.accounted(found, judged, Counter(line.kind for line in lines))
                yield found


def main() -> int:
    """As a command."""
    parser = argparse.ArgumentParser(description="Plays a year of reports, and judges each month.")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--loans", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--on", choices=mis.ENGINES, action="append", help="the institution's database; both without it"
    )
    parser.add_argument(
        "--basis", choices=_BASES, help="what an amount means; without it, another one on each database"
    )
    parser.add_argument("--daemon", action="store_true", help="by a daemon in threads, and nobody decides")
    parser.add_argument("--troubled", action="store_true", help="calls are lost, and the relay is killed")
    asked = parser.parse_args()
    wrongs: list[str] = []
    for engine in asked.on or mis.ENGINES:
        with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as name:
            log.configure(stream=(Path(name) / "relay.log").open("a", encoding="utf-8"))
            wrongs += _played(engine, Path(name), asked)
    return 1 if wrongs else 0


def _played(engine: str, folder: Path, asked: argparse.Namespace) -> list[str]:
    """Play it on one database, and tell each month as it is closed; what is wrong."""
    wrongs: list[str] = []
    basis = asked.basis or _BASES[mis.ENGINES.index(engine)]
    sys.stdout.write(f"{engine}: {basis}\n")
    size = {"loans": asked.loans, "number": asked.months, "seed": asked.seed, "outstanding": basis == _BASES[1]}
    if asked.daemon:
        for found in by_daemon(engine, folder, **size):
            wrongs += _told(engine, found)
        return wrongs
    happened, kills = Counter[str](), 0
    for found, year in play(engine, folder, troubled=asked.troubled, **size):
        wrongs += _told(engine, found)
        stage, kills = year.stage, year.kills
        happened = stage.village.done + year.mishaps.done + stage.financed.done + year.coordinator.done
    told = ", ".join(f"{count} {what}" for what, count in happened.items())
    sys.stdout.write(f"{engine}: {told}; killed {kills} times\n")
    return wrongs


def _told(engine: str, found: Verdict) -> list[str]:
    told = ", ".join(f"{count} {what}" for what, count in found.counts.items())
    sys.stdout.write(f"{engine} {found.month.period}: {told}\n")
    sys.stdout.writelines(f"    {wrong}\n" for wrong in found.wrongs)
    sys.stdout.flush()
    return found.wrongs
