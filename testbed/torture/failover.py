"""Fail the outbox's PostgreSQL over again and again while relays work; then compare what is where.

`make failover` runs it as a script. Two machines, each with a relay and a witness of its own, on one outbox that has a
primary and a standby. The primary is killed and the standby promoted: when commits wait for it, and when they do not and
it lacks the last moments; with and without the machine that was sending. Whoever ends is begun again, as systemd does it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import hold, table, whereabouts
from testbed.database import postgres, replicated
from testbed.database.replicated import Replicated
from testbed.rig import killable, patience
from testbed.torture import judge, run

LEASE = 2.0
_IN_MEMORY = Path("/dev/shm")
ENDS = (-signal.SIGKILL, -signal.SIGALRM, errors.Stolen.exit_code, errors.OutboxPutBack.exit_code)
"""How a relay may end: killed, by its timer, overtaken or without an outbox, before another server."""
HANDED_OVER = 0
_STOPPED = (0, -signal.SIGTERM)
_BEGUN_AGAIN = 0.3
_WORKS_WITHIN = 60.0


_PROCESSES = threading.Lock()
"""Whoever begins a process looks at all of Python's: two threads that do so at once read one exit code twice."""


class Machine:
    """A machine of the pair: its relay is begun again when it has ended, while the machine runs.

    `ends`: how it may end. `death`: how its first relay ends; where it `dies_again`, each of them. `mis`: the URL of
    another MIS than that of the stage.
    """

    def __init__(
        self,
        stage: run.Stage,
        name: str,
        *,
        ends: Collection[int] = ENDS,
        death: killable.Death | None = None,
        dies_again: bool = False,
        mis: str = "",
    ) -> None:
        self.name, self._stage, self._may_end, self.death = name, stage, ends, death
        self.dies_again = dies_again
        self.witness = stage.folder / f"{name}-witness.log"
        self.log = stage.folder / f"{name}.log"
        config = stage.folder / f"{name}.yaml"
        written = stage.config.read_text(encoding="utf-8")
        written = written.replace(str(stage.folder / "witness.log"), str(self.witness))
        config.write_text(written.replace(stage.mis, mis or stage.mis), encoding="utf-8")
        self.config = config
        self._runs = True
        self.ends: Counter[str] = Counter()
        self._over = threading.Event()
        self.wrong: list[str] = []
        self._counted: set[int | None] = set()
        with _PROCESSES:
            self._process = self._begun()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    @property
    def pid(self) -> int:
        """Of its relay."""
        return self._process.pid or 0

    def life(self) -> killable.Life:
        """A relay on this machine."""
        return dataclasses.replace(
            self._stage.life(), config=self.config, log=self.log, machine=self.name, death=self.death
        )

    def die(self) -> None:
        """The power is cut: kill -9, and nobody begins it again."""
        with _PROCESSES:
            self._runs = False
            self._process.kill()

    def come_back(self) -> None:
        """It is started again, with its disk."""
        self._runs = True

    def kill(self) -> None:
        """Kill -9 of the relay alone."""
        self._process.kill()

    def end(self) -> None:
        """Stop it for good, in order."""
        self._over.set()
        self._keeper.join()
        self._process.terminate()
        self._process.join(patience.seconds(20))
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _begun(self) -> ForkServerProcess:
        begun = killable.start(self.life())
        self.death = self.death if self.dies_again else None
        return begun

    def _keep(self) -> None:
        while not self._over.wait(_BEGUN_AGAIN):
            with _PROCESSES:
                code = self._process.exitcode
                if code is None:
                    continue
                if self._process.pid not in self._counted:
                    self._counted.add(self._process.pid)
                    self.ends[_called(code)] += 1
                if code not in self._may_end:
                    self.wrong.append(f"the relay of {self.name} ended with exit code {code}; see {self.log}")
                    return
                if self._runs:
                    self._process = self._begun()


def _called(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Pair:
    """Two machines, one outbox on two servers."""

    def __init__(self, stage: run.Stage, servers: Replicated) -> None:
        self.stage, self.servers = stage, servers
        self.machines = [Machine(stage, name) for name in ("north", "south")]

    def holder(self) -> Machine | None:
        """Whose relay holds the lease."""
        with contextlib.suppress(errors.OutboxAway), self.stage.outbox.read() as tx:
            said = tx.execute(sa.select(table.lease.c.holder)).scalar() or ""
            found = re.search(r"^(\S+) pid (\d+) ", said)
            return next((one for one in self.machines if found and one.pid == int(found[2])), None)
        return None

    def works(self) -> bool:
        """Has somebody the lease, who has looked at the server that is there now, and waits for no machine?"""
        if self.holder() is None:
            return False
        with contextlib.suppress(errors.OutboxAway), self.stage.outbox.read() as tx:
            held = any("machines" in one.params for one in hold.in_force(tx))
            return whereabouts.SERVER.get(tx) == self.stage.outbox.server and not held
        return False

    def end(self) -> None:
        """Stop both."""
        for machine in self.machines:
            machine.end()


@contextlib.contextmanager
def set_up(folder: Path, *, clients: int, loans: int, seed: int) -> Iterator[tuple[run.Stage, Replicated]]:
    """A MIS on a server of its own, and an outbox that has a standby."""
    photos = folder / "photos"
    with (
        postgres.start(folder / "postgres") as server,
        replicated.started(folder / "outbox", synchronous=True) as servers,
        run.book_of(server, photos, clients=clients) as template,
    ):
        servers.primary.create_database("outbox")
        with run.set_up(
            folder / "stage",
            server,
            on="postgresql",
            name="failover",
            template=template,
            photos=photos,
            seed=seed,
            loans=loans,
            outbox_at=servers.url("outbox"),
        ) as stage:
            stage.lease = LEASE
            stage.looks_after = ("many_in_doubt", "restored_outbox")
            yield stage, servers


def torture(stage: run.Stage, servers: Replicated, *, times: int, seed: int, rate: float = 20.0) -> judge.Figures:
    """Fail over so many times: by turns synchronous and not, with and without the machine that sends; then judge."""
    began, figures, dice = time.monotonic(), judge.Figures(), random.Random(seed)
    pair = Pair(stage, servers)
    try:
        with run.weather(stage, figures, rate=rate) as failed:
            for number in range(times):
                if failed or any(machine.wrong for machine in pair.machines):
                    break
                patience.eventually(pair.works, within=_WORKS_WITHIN)
                patience.eventually(partial(_has_more, stage, _drafts(stage)), within=_WORKS_WITHIN)
                time.sleep(dice.uniform(1.0, 2.5))  # some more of it is sent
                figures.faults[_fail_over(pair, dice, synchronous=number % 2 == 0, machine_dies=number % 4 >= 2)] += 1
                servers.attach(synchronous=number % 2 == 1)  # as the next one will be
                for machine in pair.machines:
                    machine.come_back()
        stage.kiva.clear_faults()
        patience.eventually(pair.works, within=_WORKS_WITHIN)
    finally:
        pair.end()
    for machine in pair.machines:
        figures.kills.update(machine.ends)
        figures.wrong += machine.wrong
    stage.config = pair.machines[0].config  # one of the two goes on alone
    run.come_to_rest(stage, figures)
    figures.seconds = time.monotonic() - began
    return figures


def _drafts(stage: run.Stage) -> int:
    return len(stage.kiva.ledger(resource="loan_draft"))


def _has_more(stage: run.Stage, drafts: int) -> bool:
    return _drafts(stage) > drafts


def _fail_over(pair: Pair, dice: random.Random, *, synchronous: bool, machine_dies: bool) -> str:
    """Kill the primary, perhaps with the machine that sends, and promote the standby; what was done."""
    servers = pair.servers
    if not synchronous:
        servers.cut()
        time.sleep(dice.uniform(0.0, 0.6))  # what is committed now is lost
    sender = pair.holder()
    if sender is not None and machine_dies:
        sender.die()
    elif sender is not None and dice.random() < 0.5:
        sender.kill()
    servers.primary.kill()
    time.sleep(dice.uniform(0.0, 0.5))
    servers.promote()
    pair.stage.outbox.engine.dispose()
    return f"{'synchronous' if synchronous else 'behind'}{', the sender dead' if machine_dies else ''}"


def main() -> int:
    """Fail over as often as was asked; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="failovers (default %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=20.0, help="transactions of the MIS a second (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kiva-relay-failover-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
    os.environ["KIVA_SECRET"] = "s3cr3t"
    sys.stdout.write(f"== {given.times} failovers, seed {given.seed}, {folder}\n")
    with set_up(folder, clients=300, loans=60, seed=given.seed) as (stage, servers):
        figures = torture(stage, servers, times=given.times, seed=given.seed, rate=given.rate)
    for line in figures.lines():
        sys.stdout.write(f"{line}\n")
    if not figures.wrong:
        import shutil  # noqa: PLC0415 - only to tidy up

        shutil.rmtree(folder, ignore_errors=True)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
