"""kill -9 of the real process at every named step, and at moments of nobody's choosing; then a normal run.

The judge is the stand-in's ledger, compared with the MIS by contents and order: `reckoning.judge`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import hold, table
from testbed.database import postgres
from testbed.rig import killable, patience
from testbed.rig.patience import eventually
from testbed.torture import judge, run

COURIER = ("claimed", "testified", "answered", "settled")
ELSEWHERE = ("leased", "read", "captured", "listed")


@pytest.fixture(scope="session")
def template(
    postgres_server: postgres.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    photos = tmp_path_factory.mktemp("photos-of-the-killed")
    with run.book_of(postgres_server, photos, clients=200) as name:
        yield name, photos


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def stage(
    request: pytest.FixtureRequest, postgres_server: postgres.PostgresServer, template: tuple[str, Path], tmp_path: Path
) -> Iterator[run.Stage]:
    name, photos = template
    words = f"{request.param}_{abs(hash(request.node.name)) % 10**8}"
    with run.set_up(
        tmp_path / "stage", postgres_server, on=request.param, name=words, template=name, photos=photos, loans=20
    ) as stage:
        yield stage


def killed(stage: run.Stage, death: killable.Death) -> None:
    """A life that must end at this step, and nowhere else."""
    process = killable.start(stage.life(death))
    patience.joined(process)
    assert process.exitcode == -signal.SIGKILL, (stage.folder / "relay.log").read_text()[-2000:]


def open_attempt(stage: run.Stage) -> str | None:
    """The resource whose attempt the killed process left open."""
    with stage.outbox.read() as tx:
        return tx.execute(sa.select(table.attempt.c.resource).where(table.attempt.c.ended_at.is_(None))).scalar()


def only(stage: run.Stage, resource: str) -> None:
    """Let nothing but one resource go, as a person would."""
    now = datetime.now(UTC)
    with stage.outbox.begin() as tx:
        for each in table.RESOURCES:
            if each == resource:
                hold.release(tx, each, by="a test", note="", now=now)
            else:
                hold.put(tx, each, "asked", now=now, by="a test")


def new_work(stage: run.Stage, times: int = 2) -> None:
    for _ in range(times):
        stage.branch.grant()
        stage.branch.tell()
        stage.branch.repay()


def rests(stage: run.Stage) -> judge.Figures:
    """A normal run after all of it; what the judge says."""
    with stage.outbox.begin() as tx:
        for each in table.RESOURCES:
            hold.release(tx, each, by="a test", note="", now=datetime.now(UTC))
    figures = judge.Figures()
    run.come_to_rest(stage, figures, within=40)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    return figures


@pytest.mark.long
@pytest.mark.parametrize("stage", ["sqlite", pytest.param("postgresql", marks=pytest.mark.night)], indirect=True)
def test_nothing_is_lost_or_doubled_by_a_kill_at_any_step(stage: run.Stage) -> None:
    new_work(stage)
    for step in ELSEWHERE:
        killed(stage, killable.Death(step))
        new_work(stage, 1)
    for resource in ("loan_draft", "repayment", "journal"):
        only(stage, resource)
        for step in COURIER:
            new_work(stage, 1)
            killed(stage, killable.Death(step))
            left = {"settled": None}.get(step, resource)
            assert open_attempt(stage) == left, step
    figures = rests(stage)
    assert min(figures.accepted[resource] for resource in table.RESOURCES) >= 3


@pytest.mark.long
def test_killed_while_kiva_works_the_request_is_in_doubt_and_not_repeated(stage: run.Stage) -> None:
    new_work(stage)
    stage.kiva.fault("slow", on="loan_draft", seconds=3.0, late=True)
    process = killable.start(stage.life())
    eventually(lambda: any(one["fault"] == "slow" for one in stage.kiva.requests()))
    process.kill()
    process.join()
    figures = rests(stage)
    drafts = stage.kiva.ledger(resource="loan_draft")
    assert len(drafts) == len(stage.branch.drafts)
    assert figures.in_doubt == 0


@pytest.mark.long
def test_under_fire_for_a_short_while(stage: run.Stage) -> None:
    figures = run.run(stage, kills=6, changes=250, rate=40.0, faults=3, until=90)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    assert figures.kills.total() >= 6
    assert figures.faults.total() >= 3
