"""The real daemon against a Kiva that garbles its answers: `python -m testbed.fuzz.daemon --number 500`.

`kiva-relay run` as a process, a MIS and an outbox in SQLite, a stand-in for Kiva on a socket. Of each kind of request so
many answers are garbled; one kind are refusals and faults that took nothing. Meanwhile loans are granted, repaid and
told of, tokens are revoked, and a person releases what is held. Then the weather clears, and Kiva's ledger is asked.

The answers of a kind are drawn from seeds that follow each other: what is wrong names its own, and
`--kind KIND --seed SEED --number 1` gives that answer again.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import random
import re
import socket
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import sqlalchemy as sa

from kiva_relay.outbox import hold, meta, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.sandbox.server import SandboxServer
from testbed.judge import taken
from testbed.kiva import server
from testbed.kiva.config import KivaConfig
from testbed.kiva.control import Sandbox
from testbed.kiva.exchange import FaultyCall
from testbed.kiva.fault import Fault, parse
from testbed.kiva.state import KivaState
from testbed.rig import patience
from testbed.rig.office import Office

KINDS: Mapping[str, Mapping[str, Any]] = {
    "token": {"answer": "garbled", "on": "token", "probability": 0.5},
    "loans": {"answer": "garbled", "on": "loans", "probability": 0.2},
    "lists": {"answer": "garbled", "on": "config", "probability": 0.5},
    "loan_draft": {"answer": "garbled", "on": "loan_draft", "probability": 0.5},
    "repayment": {"answer": "garbled", "on": "repayments", "probability": 0.7},
    "journal": {"answer": "garbled", "on": "journals", "probability": 0.5},
    "errors": {"answer": "garbled_no", "on": "any", "probability": 0.1},
}
"""The seven kinds of answers, as faults of the stand-in."""

DEALT_WITH_WITHIN = 5.0
MOST_MEMORY = 200.0
_RESOURCES = {"loan_draft": "loan_draft", "repayments": "repayment", "journals": "journal"}
_READS = ("loans", "config")
_PAYING = 30
_AHEAD = 20
"""So many drafts and notes may be on their way before the branch goes on."""

_IN_MEMORY = Path("/dev/shm")  # a killed process needs no disk: the kernel has what it wrote
_TURN = re.compile(r'^kiva_relay_loop_turns_total\{ended="(\w+)",loop="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass
class SiegeFigures:
    """What happened. `answers` counts what was garbled, by kind; `slowest` are seconds; `memory` is the peak in MB."""

    answers: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    released: Counter[str] = field(default_factory=Counter)
    memory: float = 0.0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class DaemonSiege:
    """One run: `number` answers of each of `kinds`, from `seed` on, within `most` seconds."""

    number: int
    seed: int = 0
    kinds: tuple[str, ...] = tuple(KINDS)
    most: float = 600.0
    figures: SiegeFigures = field(default_factory=SiegeFigures)

    def run(self, folder: Path) -> SiegeFigures:
        """Live through all of it; what stands in `folder` afterwards can be looked at."""
        began = time.monotonic()
        with server.start(config=KivaConfig(drafts_visible=True)) as kiva, _free_port() as port:
            with Sandbox(kiva.url) as control:
                control.seed_loans([{"internal_loan_id": f"P{number}"} for number in range(_PAYING)])
            office = Office(folder, kiva.url, metrics=f"127.0.0.1:{port}")
            with office.process("testbed.fuzz.hurried") as process:
                self._besiege(kiva, office, process, Turns(port))
        self.figures.seconds = time.monotonic() - began
        if "Traceback" in office.log.read_text(encoding="utf-8"):
            self.figures.wrong.append(f"a traceback in {office.log}")
        return self.figures

    def _besiege(self, kiva: SandboxServer[KivaState], office: Office, process: Popen[bytes], turns: Turns) -> None:
        outbox = Outbox(office.outbox)
        try:
            faults = self._under_fire(kiva, office, process, outbox, turns)
            for kind, fault in faults.items():
                self.figures.answers[kind] = fault.fired
            self._come_to_rest(process, outbox, turns)
            with outbox.read() as tx:
                rows = list(tx.execute(sa.select(table.entry)))
                ended = {row[0]: row[1] for row in tx.execute(sa.select(table.attempt.c.id, table.attempt.c.ended_at))}
                outbox_id = meta.OUTBOX_ID.get(tx) or ""
            self._judge_process(process, turns)
            self._judge_speed(kiva.state, outbox_id, ended, turns)
            self._judge_entries(rows, kiva.state, office)
        finally:
            outbox.close()

    # ---------------------------------------------------------------- under fire

    def _under_fire(
        self, kiva: SandboxServer[KivaState], office: Office, process: Popen[bytes], outbox: Outbox, turns: Turns
    ) -> dict[str, Fault]:
        # Those that take nothing come first: a call is struck by the first that strikes.
        faults = {
            kind: kiva.state.faults.add(parse({"kind": "odd", "times": self.number, "seed": self.seed, **KINDS[kind]}))
            for kind in sorted(self.kinds, key=lambda kind: kind != "errors")
        }
        dice, began = random.Random(self.seed), time.monotonic()
        revoked = began
        while (
            process.poll() is None
            and time.monotonic() - began < self.most
            and not all(fault.spent for fault in faults.values())
        ):
            self._work(office, outbox, dice)
            self._release(outbox)
            self._sample(process, turns)
            if "token" in self.kinds and time.monotonic() - revoked > 0.5:
                kiva.state.tokens.revoke_all(401)
                revoked = time.monotonic()
            time.sleep(0.1)
        kiva.state.faults.remove()
        self.figures.wrong += [
            f"only {fault.fired} of {self.number} answers of the kind {kind} came about in {self.most:g} s"
            for kind, fault in faults.items()
            if not fault.spent
        ]
        return faults

    def _work(self, office: Office, outbox: Outbox, dice: random.Random) -> None:
        """The branch: a position always, a loan and a note when few are on their way."""
        for _ in range(3):
            office.repay(f"P{dice.randrange(_PAYING)}")
        on_its_way = self._open(outbox)
        for resource, work in (
            ("loan_draft", office.grant),
            ("journal", lambda: office.tell(f"P{dice.randrange(_PAYING)}")),
        ):
            for _ in range(3 if on_its_way[resource] < _AHEAD else 0):
                work()

    def _open(self, outbox: Outbox) -> Counter[str]:
        columns = table.entry.c
        query = sa.select(columns.resource, sa.func.count()).group_by(columns.resource)
        with outbox.read() as tx:
            return Counter({row[0]: row[1] for row in tx.execute(query.where(columns.state.in_(["ready", "sending"])))})

    def _release(self, outbox: Outbox) -> None:
        """What a person does who has looked. What the relay lifts itself is left to it."""
        with outbox.begin() as tx:
            for held in hold.in_force(tx):
                if not held.why.lifts_itself:
                    hold.release(
                        tx, held.what, by="the siege", note="looked", now=datetime.now(UTC), reason=held.reason
                    )
                    self.figures.released[held.reason] += 1

    def _sample(self, process: Popen[bytes], turns: Turns) -> None:
        turns.look()
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
                self.figures.memory = max(self.figures.memory, int(found[1]) / 1024)

    def _come_to_rest(self, process: Popen[bytes], outbox: Outbox, turns: Turns) -> None:
        """Good weather until nothing is on its way, for a minute of a quick machine at most."""
        deadline, quiet = patience.Deadline(60), 0
        while process.poll() is None and not deadline.over and quiet < 10:
            self._release(outbox)
            self._sample(process, turns)
            quiet = quiet + 1 if not self._open(outbox).total() else 0
            time.sleep(0.2)

    # ---------------------------------------------------------------- the judge

    def _judge_process(self, process: Popen[bytes], turns: Turns) -> None:
        wrong = self.figures.wrong
        if process.poll() is not None:
            wrong.append(f"the daemon ended with exit code {process.returncode}")
        wrong += [f"{loop}: {number} turns ended by an error" for loop, number in turns.errors.items() if number]
        if self.figures.memory > MOST_MEMORY:
            wrong.append(f"the daemon took {self.figures.memory:.0f} MB")

    def _judge_speed(
        self, state: KivaState, outbox_id: str, ended: Mapping[int, datetime | None], turns: Turns
    ) -> None:
        """When was each odd answer dealt with? An attempt has ended; or whoever read has asked again, or ended its turn."""
        calls = [call for call in state.requests.entries if isinstance(call, FaultyCall)]
        by_key = {
            str(uuid.uuid5(uuid.NAMESPACE_URL, f"{outbox_id}/{attempt}")): when for attempt, when in ended.items()
        }
        began = {what: sorted(call.time for call in calls if what == "" or call.on in _READS) for what in ("", "read")}
        for call in calls:
            if call.fault != "odd" or call.outcome != "answered":
                continue
            over = call.time + timedelta(seconds=call.seconds)
            if call.on in _RESOURCES:
                took = _seconds(by_key.get(call.idempotency_key), over)
            elif call.on == "token":
                took = min(
                    _after(began[""], over), _after(turns.at["courier"], over), _after(turns.at["refresher"], over)
                )
            else:
                took = min(_after(began["read"], over), _after(turns.at["refresher"], over))
            self.figures.slowest[call.on] = max(self.figures.slowest.get(call.on, 0.0), took)
            if took > patience.seconds(DEALT_WITH_WITHIN):
                self.figures.wrong.append(
                    f"the answer to call {call.number}, {call.on}, was dealt with after {took:.1f} s"
                )

    def _judge_entries(self, rows: list[Any], state: KivaState, office: Office) -> None:
        at_kiva = taken.taken(state)
        self.figures.states.update(f"{row.resource} {row.state}" for row in rows)
        self.figures.wrong += [
            *taken.invented(rows, at_kiva),
            *taken.duplicated(at_kiva),
            *taken.lost(rows, at_kiva, office),
            *(
                f"{row.resource} {taken.called(row)} is {row.state} ({row.reason}) though the weather is good"
                for row in rows
                if row.state in ("sending", "ready", "waiting")
            ),
        ]


class Turns:
    """What the daemon's metrics say of its loops: when each was last seen to end a turn, and how many ended by an error."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._counts: dict[str, float] = {}
        self.at: dict[str, list[datetime]] = {"courier": [], "refresher": []}
        self.errors: dict[str, int] = {}

    def look(self) -> bool:
        """Read them; false when nobody answers."""
        try:
            with urllib.request.urlopen(self._url, timeout=patience.seconds(10)) as answer:
                text = answer.read().decode()
        except OSError:
            return False
        now = datetime.now(UTC)
        for ended, loop, number in _TURN.findall(text):
            if ended == "error":
                self.errors[loop] = int(float(number))
            elif ended == "well" and float(number) != self._counts.get(loop):
                self._counts[loop] = float(number)
                self.at.setdefault(loop, []).append(now)
        return True


def _after(moments: list[datetime], moment: datetime) -> float:
    """Seconds until the first of the moments after this one."""
    place = bisect.bisect_left(moments, moment)
    return _seconds(moments[place] if place < len(moments) else None, moment)


def _seconds(end: datetime | None, begin: datetime) -> float:
    return float("inf") if end is None else max((end - begin).total_seconds(), 0.0)


@contextlib.contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    yield port


def main() -> int:
    """Run it; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=50, help="how many answers of each kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first answer of each kind")
    parser.add_argument("--kind", choices=[*KINDS], action="append", help="only this kind")
    parser.add_argument("--most", type=float, default=3_600, help="seconds within which they have to come about")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-fuzz-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    siege = DaemonSiege(chosen.number, chosen.seed, tuple(chosen.kind or KINDS), chosen.most)
    figures = siege.run(folder)
    for kind, number in figures.answers.items():
        sys.stdout.write(f"{kind:<11} {number:>6,} answers garbled\n")
    slowest = ", ".join(f"{on} {took:.1f} s" for on, took in figures.slowest.items())
    sys.stdout.write(f"slowest     {slowest}\n")
    sys.stdout.write(
        f"entries     {', '.join(f'{count} {state}' for state, count in sorted(figures.states.items()))}\n"
    )
    sys.stdout.write(f"released    {', '.join(f'{reason} {count}' for reason, count in figures.released.items())}\n")
    sys.stdout.write(
        f"from seed {chosen.seed}: {len(figures.wrong)} wrong, at most {figures.memory:.0f} MB, {figures.seconds:.0f} s\n"
    )
    sys.stdout.writelines(f"  {line}\n" for line in figures.wrong[:20])
    sys.stdout.write(f"everything is in {folder}\n")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
