"""Two relays as processes on one PostgreSQL outbox: killed, stopped and resumed; one ledger, and no duplicate."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import meta, table
from testbed.database import postgres
from testbed.rig import killable, lease_holder, outboxes, patience
from testbed.rig.patience import eventually
from testbed.torture import judge, run

pytestmark = pytest.mark.long

LEASE = 0.8
TRIALS = 24
TRIALS_OF_RELAYS = 5
SLACK = 2.0  # a machine that is busy with other tests; a takeover that does not come is not a slow one


@pytest.fixture(scope="module")
def template(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    photos = tmp_path_factory.mktemp("photos-of-the-pair")
    with run.book_of(postgres_server, photos, clients=120) as name:
        yield name, photos


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, template: tuple[str, Path], tmp_path: Path
) -> Iterator[run.Stage]:
    book, photos = template
    name = f"pair_{request.node.name[7:20]}"
    with run.set_up(
        tmp_path / "stage", postgres_server, on="postgresql", name=name, template=book, photos=photos, loans=20
    ) as stage:
        stage.lease = LEASE
        yield stage


class Pair:
    """Two places; in each of them a relay, begun again when it has ended."""

    def __init__(self, stage: run.Stage) -> None:
        self.stage = stage
        self.logs: dict[int | None, Path] = {}
        self.places = [self._begun(), self._begun()]

    def _begun(self) -> ForkServerProcess:
        log = self.stage.folder / f"relay-{len(self.logs)}.log"
        process = killable.start(dataclasses.replace(self.stage.life(), log=log))
        self.logs[process.pid] = log
        return process

    def fill(self) -> None:
        """Begin a new relay where one has ended; it ended in one of the ways that it may."""
        for place, process in enumerate(self.places):
            if process.exitcode is not None:
                assert process.exitcode in (-signal.SIGKILL, -signal.SIGALRM, errors.Stolen.exit_code)
                self.places[place] = self._begun()

    def holder(self) -> tuple[int, ForkServerProcess | None]:
        """The fence in force, and who holds the lease; None while it is nobody of the two."""
        with self.stage.outbox.read() as tx:
            row = tx.execute(sa.select(table.lease.c.fence, table.lease.c.holder)).one_or_none()
        pid = re.search(r" pid (\d+) ", row.holder) if row is not None and row.holder else None
        alive = [one for one in self.places if pid is not None and one.pid == int(pid[1]) and one.exitcode is None]
        return (row.fence if row is not None else 0), (alive[0] if alive else None)

    def passed(self, fence: int) -> bool:
        """Whether somebody took the lease after this fence."""
        return self.holder()[0] > fence

    def stands_by(self, holder: ForkServerProcess) -> bool:
        """Does the other one wait for the lease by now?"""
        logs = [self.logs[one.pid] for one in self.places if one is not holder]
        return any(log.exists() and "standing by" in log.read_text() for log in logs)

    def end(self) -> None:
        for process in self.places:
            if process.exitcode is None and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.join()


@pytest.fixture
def pair(stage: run.Stage) -> Iterator[Pair]:
    pair = Pair(stage)
    yield pair
    pair.end()


def held(pair: Pair) -> tuple[int, ForkServerProcess]:
    def one_holds() -> tuple[int, ForkServerProcess] | None:
        pair.fill()
        fence, process = pair.holder()
        return (fence, process) if process is not None and pair.stands_by(process) else None

    found: tuple[int, ForkServerProcess] = eventually(one_holds)
    return found


def fences(stage: run.Stage) -> list[int]:
    with stage.outbox.read() as tx:
        return list(tx.execute(sa.select(table.attempt.c.fence).order_by(table.attempt.c.id)).scalars())


def waits(sent: Path, standbys: int) -> bool:
    """Whether this many have begun to stand by so far; each writes a `-`."""
    return sent.exists() and sent.read_text().split().count("-") >= standbys


def passed(sent: Path, fence: int) -> bool:
    """Whether the last that was sent is of a later holder."""
    return int(sent.read_text().split()[-1].replace("-", "0")) > fence


@pytest.mark.timeout(300)
def test_a_stopped_holder_neither_writes_nor_sends_after_its_lease(postgres_database: str, tmp_path: Path) -> None:
    outbox, sent = outboxes.migrated(postgres_database), tmp_path / "sent"
    holder = lease_holder.start(postgres_database, sent, seconds=0.5)
    eventually(lambda: sent.exists() and sent.read_text())
    try:
        for trial in range(1, TRIALS + 1):
            standby = lease_holder.start(postgres_database, sent, seconds=0.5)
            eventually(functools.partial(waits, sent, trial))
            last = eventually(lambda: [fence for fence in sent.read_text().split() if fence != "-"])[-1]
            assert holder.pid is not None
            with contextlib.suppress(ProcessLookupError):  # a busy machine may have ended it by its timer already
                os.kill(holder.pid, signal.SIGSTOP)
            eventually(functools.partial(passed, sent, int(last)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGCONT)
            patience.joined(holder)
            assert holder.exitcode == -signal.SIGALRM
            holder = standby
    finally:
        holder.kill()
        holder.join()
    fences = [int(fence) for fence in sent.read_text().split() if fence != "-"]
    assert fences == sorted(fences)  # nobody sent after another had begun to
    with outbox.read() as tx:
        assert meta.text("written by").get(tx) == str(fences[-1])
    outbox.close()


@pytest.mark.timeout(300)
def test_a_stopped_holder_wakes_up_dead_and_the_standby_takes_over_in_time(stage: run.Stage, pair: Pair) -> None:
    took = []
    for _ in range(TRIALS_OF_RELAYS):
        for _ in range(3):
            stage.branch.grant()
            stage.branch.repay()
        fence, process = held(pair)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        eventually(functools.partial(pair.passed, fence))
        took.append(time.monotonic() - began)
        sent = len(stage.kiva.requests())
        os.kill(process.pid, signal.SIGCONT)
        patience.joined(process)
        assert process.exitcode == -signal.SIGALRM
        assert len(stage.kiva.requests()) >= sent
    assert max(took) < LEASE * 1.2 + patience.seconds(SLACK)
    assert fences(stage) == sorted(fences(stage))
    rests(stage, pair)


@pytest.mark.timeout(300)
def test_a_pair_killed_stopped_and_resumed_at_random(stage: run.Stage, pair: Pair) -> None:
    dice = random.Random(7)
    with run.weather(stage, judge.Figures(), rate=20.0):
        for _ in range(16):
            pair.fill()
            victim = dice.choice(pair.places)
            if victim.exitcode is None and victim.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, dice.choice((signal.SIGKILL, signal.SIGSTOP)))
                victim.join(dice.uniform(0.1, 2.5 * LEASE))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGCONT)
    stage.kiva.clear_faults()
    assert fences(stage) == sorted(fences(stage))
    rests(stage, pair)


def rests(stage: run.Stage, pair: Pair) -> None:
    pair.end()
    figures = judge.Figures()
    run.come_to_rest(stage, figures, within=40)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    assert figures.accepted.total() > 5
