"""Follow the stream of a MIS to Kiva while the relay is killed and all happens to the stream that may; then compare.

`make stream` runs it as a script. The judge is that of the torture: the stand-in's ledger against the MIS at rest.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.config import duration
from kiva_relay.outbox import table
from testbed.database import postgres
from testbed.rig import killable, patience
from testbed.torture import judge, mishap, run
from testbed.torture.mishap import Broken, Mishap

SETTINGS = {"wal_level": "logical", "max_connections": "60"}
_IN_MEMORY = Path("/dev/shm")
_KILLED = 2 / 3
_MISSED = "The sweep found rows that no poll had shown"
"""What is compared because a part of the stream is missing is polled first."""


class Life:
    """A relay that begins again whenever it was killed. `kills` is how often that was."""

    def __init__(self, stage: run.Stage) -> None:
        self._stage, self.kills = stage, 0
        self._process = killable.start(stage.life())

    def kill(self) -> None:
        """SIGKILL, and another life.

        Raises:
            AssertionError: it had ended by itself.
        """
        self.end()
        self._process = killable.start(self._stage.life())

    def end(self) -> None:
        """SIGKILL, and nothing after it."""
        code = self._process.exitcode
        assert code is None, f"a relay ended with exit code {code}; see {self._stage.folder}/relay.log"
        self._process.kill()
        self._process.join()
        self.kills += 1


def is_followed(on: Broken) -> bool:
    """Whether the stream is read, and every mapping was followed when its W last moved.

    Not while a transaction is open that is older than the connection: until it has ended, all is polled beside it.
    """
    with contextlib.suppress(errors.OutboxAway), on.stage.outbox.read() as tx:
        modes = {row.mode for row in tx.execute(sa.select(table.watermark))}
        return modes == {"replication"} and on.is_followed()
    return False


@contextlib.contextmanager
def set_up(folder: Path, *, seed: int, clients: int, loans: int) -> Iterator[Broken]:
    """A MIS with a stream on a server of its own, read by a role that may SELECT and follow it, and nothing else."""
    photos = folder / "photos"
    with (
        postgres.start(folder / "postgres", settings=SETTINGS) as server,
        run.book_of(server, photos, clients=clients) as template,
        run.set_up(
            folder / "stage",
            server,
            on="sqlite",
            name="streamed",
            template=template,
            photos=photos,
            seed=seed,
            loans=loans,
            reads=lambda mis: {
                "url": mis.replace(f"{postgres.ROLE}:{server.password}", f"{mishap.READER}:x"),
                "poll_every": "200ms",
            },
        ) as stage,
    ):
        on = Broken(stage, server)
        on.sql(f"CREATE ROLE {mishap.READER} LOGIN REPLICATION PASSWORD 'x'")
        on.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {mishap.READER}")
        on.set_up()
        try:
            yield on
        finally:
            on.close()
            stage.branch.connection.close()


def torture(on: Broken, *, seed: int, rounds: int = 1, rate: float = 25.0) -> judge.Figures:
    """Let everything happen, so many times; then let it come to rest, and judge.

    Before each mishap the stream is followed. Meanwhile, or soon after, the relay is killed two times out of three.
    """
    began, figures, dice = time.monotonic(), judge.Figures(), random.Random(seed)
    life = Life(on.stage)
    with _at_work(on, rate=rate) as failed:
        for each in itertools.chain.from_iterable(_in_some_order(dice) for _ in range(rounds)):
            patience.eventually(lambda: failed or on.opened or is_followed(on), within=60, every=0.2)
            if failed:
                break
            end = threading.Timer(patience.seconds(dice.uniform(0.0, 0.5)), life.kill)
            if dice.random() < _KILLED:
                end.start()
            each(on)
            figures.faults[each.__name__] += 1
            if end.ident is not None:
                end.join()
        # After all of it the stream brings again what no poll has to find.
        patience.eventually(lambda: failed or is_followed(on), within=60, every=0.2)
    life.end()
    figures.kills["from outside"] = life.kills
    run.come_to_rest(on.stage, figures)
    log = (on.stage.folder / "relay.log").read_text(encoding="utf-8")
    figures.wrong += [line for line in log.splitlines() if _MISSED in line]
    figures.seconds = time.monotonic() - began
    return figures


def _in_some_order(dice: random.Random) -> Sequence[Mishap]:
    """Every mishap, and a large transaction that is open while some of them happen."""
    alone = [*mishap.ALONE]
    dice.shuffle(alone)
    place = dice.randrange(len(alone) + 1)
    large = (mishap.held_open, *dice.sample(mishap.UNDER_A_LARGE_ONE, 2), mishap.committed_late)
    return [*alone[:place], *large, *alone[place:]]


@contextlib.contextmanager
def _at_work(on: Broken, *, rate: float) -> Iterator[list[BaseException]]:
    """Meanwhile the branch works; what failed of that."""
    over, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        dice = random.Random(on.stage.seed)
        try:
            while not over.wait(dice.expovariate(rate)):
                with on.till:
                    on.stage.branch.work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


# ---------------------------------------------------------------- the script


def main() -> int:
    """Run it again and again, each time with another seed; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="length", default="5m", help="begin no other round after (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of every mishap, on one book (default %(default)s)")
    parser.add_argument("--clients", type=int, default=300, help="of the book (default %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    os.environ["KIVA_SECRET"] = "s3cr3t"
    until = time.monotonic() + duration.parse(given.length).total_seconds()
    total, seed = judge.Figures(), given.seed
    while True:
        folder = Path(tempfile.mkdtemp(prefix="kiva-relay-stream-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        with set_up(folder, seed=seed, clients=given.clients, loans=given.clients // 5) as on:
            figures = torture(on, seed=seed, rounds=given.rounds)
        total.add(figures)
        for line in (f"== seed {seed}", *figures.lines()):
            _say(line)
        if figures.wrong:
            _say(f"everything is in {folder}")
            break
        shutil.rmtree(folder, ignore_errors=True)
        seed += 1
        if time.monotonic() > until:
            break
    _say("== all of it")
    for line in total.lines():
        _say(line)
    return 1 if total.wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
