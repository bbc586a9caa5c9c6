"""Two machines, one of which is preferred: the lease is handed over in good order, and never held by two."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import lease, preference, table
from testbed.database import postgres
from testbed.rig import killable, patience
from testbed.rig.patience import eventually
from testbed.torture import failover, judge, run
from testbed.torture.failover import Machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LEASE, STAY = 1.0, 2.0
SLACK = 2.0  # a machine that is busy with other tests; a hand-over that does not come is not a slow one
ENDS = (*failover.ENDS, failover.HANDED_OVER)
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
def template(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    photos = tmp_path_factory.mktemp("photos-of-the-preferred")
    with run.book_of(postgres_server, photos, clients=150) as name:
        yield name, photos


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, template: tuple[str, Path], tmp_path: Path
) -> Iterator[run.Stage]:
    book, photos = template
    name = f"preferred_{abs(hash(request.node.name)) % 10**6}"
    with run.set_up(
        tmp_path / "stage",
        postgres_server,
        on="postgresql",
        name=name,
        template=book,
        photos=photos,
        loans=20,
        changes={"lease": {"prefer": ["north", "south"]}},
    ) as stage:
        stage.lease, stage.stay = LEASE, STAY
        yield stage


@contextmanager
def machine(stage: run.Stage, name: str, **more: object) -> Iterator[Machine]:
    """A machine whose relay may also end by handing the lease over."""
    made = Machine(stage, name, ends=ENDS, **more)  # type: ignore[arg-type]  # as the machine takes it
    try:
        yield made
    finally:
        made.end()
        assert made.wrong == []


def holder(stage: run.Stage) -> str:
    with stage.outbox.read() as tx:
        return lease.held_on(tx)


def holds(stage: run.Stage, name: str) -> bool:
    return holder(stage) == name


def attempts(stage: run.Stage) -> list[tuple[int, str | None]]:
    """Of each attempt its fence and its outcome."""
    columns = table.attempt.c
    with stage.outbox.read() as tx:
        return [tuple(row) for row in tx.execute(sa.select(columns.fence, columns.outcome).order_by(columns.id))]


def was_handed_over(stage: run.Stage, times: int) -> bool:
    """So often, without a stay on the preferred machine."""
    with stage.outbox.read() as tx:
        known = preference.HANDED_OVER.get(tx)
    return known is not None and known.times >= times


def has(log: Path, words: str, times: int = 1) -> bool:
    return log.exists() and log.read_text().count(words) >= times


def passes(seconds: float) -> None:
    """A length of time by which something would have happened."""
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > seconds, within=seconds + 30)


def work(stage: run.Stage, times: int = 4) -> None:
    for _ in range(times):
        stage.branch.grant()
        stage.branch.repay()


def rests(stage: run.Stage, config: Path, figures: judge.Figures) -> None:
    """Everything is at Kiva once; nobody sent after another had begun to."""
    fences = [fence for fence, _ in attempts(stage)]
    assert fences == sorted(fences)
    stage.config = config
    run.come_to_rest(stage, figures, within=40)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)


def test_the_preferred_machine_gets_the_lease_between_two_requests(
    stage: run.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with machine(stage, "south") as south:
        eventually(functools.partial(holds, stage, "south"))
        passes(STAY)
        stage.kiva.fault(kind="slow", on="post", seconds=LEASE / 2, every=1)  # one is under way at almost any moment
        work(stage)
        eventually(lambda: attempts(stage))
        with machine(stage, "north") as north:
            eventually(functools.partial(has, north.log, "asks for the lease"))
            began = time.monotonic()
            eventually(functools.partial(holds, stage, "north"))
            took = time.monotonic() - began
            assert took < LEASE * 1.5 + patience.seconds(SLACK)
            eventually(functools.partial(has, south.log, "standing by"))
            stage.kiva.clear_faults()
            before = len(attempts(stage))
            work(stage)
            eventually(lambda: len(attempts(stage)) > before)
            passes(STAY)
            assert holder(stage) == "north", "the first choice keeps it"
            assert south.ends == {"exit code 0": 1}
    assert {outcome for _, outcome in attempts(stage)} <= {"accepted"}, "no attempt was open, so none is in doubt"
    rests(stage, north.config, judge.Figures())


@pytest.mark.parametrize(
    ("who", "step"), [("south", "leaves"), ("south", "hands_over"), ("south", "given_back"), ("north", "leased")]
)
def test_killed_in_the_moment_of_the_hand_over(
    stage: run.Stage, monkeypatch: pytest.MonkeyPatch, who: str, step: str
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    figures, deaths = judge.Figures(), {who: killable.Death(step)}
    with run.weather(stage, figures, rate=10.0), machine(stage, "south", death=deaths.get("south")) as south:
        eventually(functools.partial(holds, stage, "south"))
        with machine(stage, "north", death=deaths.get("north")) as north:
            died = south if who == "south" else north
            eventually(lambda: died.ends[signal.SIGKILL.name], within=60)
            eventually(functools.partial(holds, stage, "north"), within=60)
            eventually(lambda: attempts(stage)[-1][0] == _fence(stage), within=60)
    stage.kiva.clear_faults()
    rests(stage, north.config, figures)


def _fence(stage: run.Stage) -> int:
    with stage.outbox.read() as tx:
        return int(tx.execute(sa.select(table.lease.c.fence)).scalar_one())


def test_a_preferred_machine_that_cannot_read_the_mis_does_not_ask(
    stage: run.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with machine(stage, "south") as south:
        eventually(functools.partial(holds, stage, "south"))
        with machine(stage, "north", mis=NOWHERE) as north:
            eventually(functools.partial(has, north.log, "it could not work"))
            fence = _fence(stage)
            passes(3 * STAY)
            assert (holder(stage), _fence(stage)) == ("south", fence)
            work(stage)
            eventually(lambda: attempts(stage))
            south.die()
            eventually(functools.partial(holds, stage, "north"))  # nobody else is there
    rests(stage, south.config, judge.Figures())


def test_a_preferred_machine_that_keeps_dying_gets_it_ever_more_seldom(
    stage: run.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with machine(stage, "south") as south:
        eventually(functools.partial(holds, stage, "south"))
        with machine(stage, "north", death=killable.Death("leased"), dies_again=True) as north:
            at = []
            for times in (1, 2, 3):
                work(stage)
                eventually(functools.partial(was_handed_over, stage, times), within=60)
                at.append(time.monotonic())
            assert at[1] - at[0] >= 2 * STAY
            assert at[2] - at[1] >= 4 * STAY
            assert north.ends[signal.SIGKILL.name] >= 2
    rests(stage, south.config, judge.Figures())
