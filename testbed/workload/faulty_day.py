"""A day of work with faults at 1, 3, 10 and 30 %, compressed: `python -m testbed.workload.faulty_day --for 60s`.

The real daemon has always something to send. Kiva answers a good deal faster than in earnest, tokens are revoked every
few seconds instead of every few minutes, and the list is read every few seconds instead of every hour; what the relay
waits for after a fault is not shortened. Half of the faults are surely not processed (429, 503 with Retry-After), half
are lost answers; the list has holes as often. A person releases only what three lost answers in a row have held.

The table says what went through in comparison with a day without faults, and what was left for a person.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import sqlalchemy as sa

from kiva_relay.config import duration
from kiva_relay.outbox import hold, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource.kind import RESOURCES
from testbed.judge import taken
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.kiva.exchange import FaultyCall
from testbed.kiva.fault import parse
from testbed.kiva.state import KivaState
from testbed.rig import patience
from testbed.rig.office import Office

RATES = (0.0, 0.01, 0.03, 0.1, 0.3)
AT_LEAST = 0.8
"""What has to go through at `JUDGED_AT`, as a part of what goes through without faults."""

JUDGED_AT = 0.03
_LATENCY = 0.2
_TOKENS_LAST = 5.0
_PAYING = 30
_AHEAD = 30
_FAULTS: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.25, {"kind": "status", "on": "any", "status": 429, "retry_after": "1"}),
    (0.25, {"kind": "status", "on": "any", "status": 503, "retry_after": "1"}),
    (0.25, {"kind": "drop_after", "on": "any"}),
    (0.125, {"kind": "cut_answer", "on": "any"}),
    (0.125, {"kind": "status", "on": "any", "status": 500, "applied": True}),
    (1.0, {"kind": "odd", "on": "loans", "answer": "item_left_out"}),
)
"""Each with its part of the rate."""

_IN_MEMORY = Path("/dev/shm")  # a killed process needs no disk: the kernel has what it wrote


@dataclass
class DayFigures:
    """What one rate came to. `wrong` is what should not be."""

    rate: float
    faults: int = 0
    sent: int = 0
    seconds: float = 0.0
    released: Counter[str] = field(default_factory=Counter)
    doubts: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Loans and notes that Kiva took, a second."""
        return self.sent / self.seconds if self.seconds else 0.0


@dataclass
class FaultyDay:
    """One rate of faults, for so many seconds of work."""

    rate: float
    seconds: float
    seed: int = 1

    def run(self, folder: Path) -> DayFigures:
        """Work, come to rest, and judge."""
        self.figures = DayFigures(self.rate)
        folder.mkdir()
        changes = {"mirror.refresh_every": "20s", "delivery.settle_after": "5s"}
        with server.start(config=KivaConfig(drafts_visible=True)) as kiva:
            with Sandbox(kiva.url) as control:
                control.seed_loans([{"internal_loan_id": f"P{number}"} for number in range(_PAYING)])
            office = Office(folder, kiva.url, changes=changes)
            with office.process() as process:
                outbox = Outbox(office.outbox)
                try:
                    self._work(kiva.state, office, outbox, process)
                    rows = self._rest(kiva.state, outbox, process)
                    self._judge(kiva.state, office, rows)
                    _keep(kiva.state, folder / "requests.txt")
                finally:
                    outbox.close()
        return self.figures

    def _work(self, state: KivaState, office: Office, outbox: Outbox, process: Popen[bytes]) -> None:
        for number, (part, fault) in enumerate(_FAULTS):
            if self.rate:
                # A seed of its own each: by the same one they would all strike one call after the other.
                seed = len(_FAULTS) * self.seed + number
                state.faults.add(parse({**fault, "probability": self.rate * part, "seed": seed}))
        state.faults.add(parse({"kind": "slow", "on": "any", "seconds": _LATENCY, "probability": 1.0}))

        def under_way() -> bool:
            self._turn(office, outbox, process)
            return all(state.ledger.counts.get(resource) for resource in RESOURCES)

        patience.eventually(under_way, within=120, every=0.2)
        began, before, revoked = time.monotonic(), self._taken(state), 0.0
        while (passed := time.monotonic() - began) < self.seconds:
            if passed - revoked >= _TOKENS_LAST:
                state.tokens.revoke_all(401)
                revoked = passed
            self._turn(office, outbox, process)
            time.sleep(0.1)
        self.figures.seconds, self.figures.sent = passed, self._taken(state) - before
        self.figures.faults = sum(fault.fired for fault in state.faults.all if fault.kind != "slow")

    def _turn(self, office: Office, outbox: Outbox, process: Popen[bytes]) -> None:
        """The branch goes on while few are on their way; a person releases what lost answers have held."""
        assert process.poll() is None, f"the daemon ended; see {office.log}"
        office.repay(f"P{len(office.drafts) % _PAYING}")
        on_its_way = _counts(outbox, "ready", "sending")
        for _ in range(5):
            if on_its_way["loan_draft"] < _AHEAD:
                office.grant()
            if on_its_way["journal"] < 2 * _AHEAD:
                office.tell(f"P{len(office.notes) % _PAYING}")
        self._release(outbox)

    def _release(self, outbox: Outbox) -> None:
        with outbox.begin() as tx:
            for held in hold.in_force(tx):
                if not held.why.lifts_itself:
                    hold.release(tx, held.what, by="the day", note="looked", now=datetime.now(UTC), reason=held.reason)
                    self.figures.released[held.reason] += 1

    def _rest(self, state: KivaState, outbox: Outbox, process: Popen[bytes]) -> Sequence[Any]:
        """Good and quick weather until nothing is on its way, and evidence has settled what it can."""
        state.faults.remove()

        def nothing_left() -> bool:
            self._release(outbox)
            return process.poll() is not None or not _counts(outbox, "ready", "sending", "waiting").total()

        patience.eventually(nothing_left, within=60, every=0.5)
        with outbox.read() as tx:
            return list(tx.execute(sa.select(table.entry)))

    def _judge(self, state: KivaState, office: Office, rows: Sequence[Any]) -> None:
        figures, at_kiva = self.figures, taken.taken(state)
        lost, duplicated = [*taken.lost(rows, at_kiva, office)], [*taken.duplicated(at_kiva)]
        figures.lost, figures.duplicated = len(lost), len(duplicated)
        figures.wrong += [*lost, *duplicated, *taken.invented(rows, at_kiva)]
        figures.wrong += [f"{reason} held, and is no doubt" for reason in figures.released if reason != "many_in_doubt"]
        unclear = {
            what
            for call in state.requests.entries
            if isinstance(call, FaultyCall) and (call.outcome != "answered" or (call.status or 0) >= 500)
            for what in call.loan_ids
        }
        for row in rows:
            figures.doubts += row.state == "in_doubt"
            if row.state == "refused" or (row.state == "in_doubt" and row.loan_id not in unclear):
                figures.wrong.append(f"{row.resource} {taken.called(row)} is {row.state}, and every answer came")

    def _taken(self, state: KivaState) -> int:
        at_kiva = taken.taken(state)
        return len(at_kiva["loan_draft"]) + len(at_kiva["journal"])


def _counts(outbox: Outbox, *states: str) -> Counter[str]:
    columns = table.entry.c
    query = sa.select(columns.resource, sa.func.count()).where(columns.state.in_(states)).group_by(columns.resource)
    with outbox.read() as tx:
        return Counter({row[0]: row[1] for row in tx.execute(query)})


def _keep(state: KivaState, file: Path) -> None:
    """All calls, for whoever looks for what took long."""
    calls = [call for call in state.requests.entries if isinstance(call, FaultyCall)]
    said = (f"{call.time:%H:%M:%S.%f} {call.on:<10} {call.query[:40]:<40} {call.status} {call.fault}" for call in calls)
    file.write_text("\n".join(said), encoding="utf-8")


def lines(days: Sequence[DayFigures]) -> list[str]:
    """The table."""
    full = days[0].throughput or 1.0
    head = f"{'faults':>7} {'struck':>7} {'sent/s':>7} {'of full':>8} {'released':>9} {'doubts':>7} {'lost':>5} {'twice':>6}"
    return [
        head,
        *(
            f"{day.rate:>7.0%} {day.faults:>7,} {day.throughput:>7.2f} {day.throughput / full:>8.0%}"
            f" {day.released.total():>9,} {day.doubts:>7,} {day.lost:>5,} {day.duplicated:>6,}"
            for day in days
        ),
        *(f"  {day.rate:.0%}: {line}" for day in days for line in day.wrong[:10]),
    ]


def is_good(days: Sequence[DayFigures]) -> bool:
    """Did nothing go wrong, and enough go through at `JUDGED_AT`?"""
    judged = [day.throughput / (days[0].throughput or 1.0) for day in days if day.rate == JUDGED_AT]
    return not any(day.wrong for day in days) and all(part >= AT_LEAST for part in judged)


def main() -> int:
    """Run it; 0 when nothing was wrong and enough went through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="length", default="60s", help="how long each day works (default %(default)s)")
    parser.add_argument("--rate", type=float, action="append", help="only these, beside 0; as 0.03")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-day-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    seconds = duration.parse(chosen.length).total_seconds()
    rates = [0.0, *chosen.rate] if chosen.rate else [*RATES]
    days: list[DayFigures] = []
    for rate in rates:
        days.append(FaultyDay(rate, seconds, chosen.seed).run(folder / f"{rate:g}"))
        sys.stdout.writelines(f"{line}\n" for line in lines(days)[len(days) > 1 and len(days) : len(days) + 1])
        sys.stdout.flush()
    sys.stdout.writelines(f"{line}\n" for line in lines(days)[len(days) + 1 :])
    if is_good(days):
        shutil.rmtree(folder)
        return 0
    sys.stdout.write(f"everything is in {folder}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
