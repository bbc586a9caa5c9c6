"""Servers of the outbox and of the MIS fail over while relays work, as processes: nothing is lost, nothing goes twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from testbed.database import postgres, replicated
from testbed.database.replicated import Replicated
from testbed.rig import killable
from testbed.rig.patience import eventually
from testbed.torture import failover, judge, run, stream
from testbed.torture.mishap import Broken

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]

_FAILOVER_SLOTS = 17


@pytest.mark.night
@pytest.mark.parametrize("times", [2, 20])
def test_the_outbox_fails_over_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    with failover.set_up(tmp_path / "pair", clients=60 * times, loans=20, seed=times) as (stage, servers):
        figures = failover.torture(stage, servers, times=times, seed=times)
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    assert figures.accepted["loan_draft"] > times


@contextmanager
def streamed(folder: Path, *, slots: bool) -> Iterator[tuple[Broken, Replicated]]:
    """A MIS that has a synchronous standby, and a stream of its changes."""
    settings = {"wal_level": "logical"}
    with (
        replicated.started(folder / "mis", synchronous=True, settings=settings, slots=slots) as servers,
        run.book_of(servers.primary, folder / "photos", clients=60) as template,
        run.set_up(
            folder / "stage",
            servers.primary,
            on="sqlite",
            name="failover",
            template=template,
            photos=folder / "photos",
            loans=15,
            reads=lambda _mis: {"url": servers.url("mis_failover")},
        ) as stage,
    ):
        on = Broken(stage, servers.primary)
        on.set_up()
        yield on, servers
        stage.branch.connection.close()


@pytest.mark.parametrize("slots", [False, True], ids=["the slot is made anew", "the slot is there"])
def test_the_mis_fails_over_and_is_followed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, slots: bool
) -> None:
    monkeypatch.setenv("KIVA_SECRET", "s3cr3t")
    if slots and int(re.split(r"\D", postgres.version())[0]) < _FAILOVER_SLOTS:
        slots = False  # there are none: it is made anew there, too
    with streamed(tmp_path / "streamed", slots=slots) as (on, servers):
        stage, figures = on.stage, judge.Figures()
        process = killable.start(stage.life())
        eventually(lambda: stream.is_followed(on), within=60)
        _work(on)
        if slots:
            eventually(lambda: _is_synced(servers), within=60)
        servers.fail_over()
        stage.mis = servers.primary.url("mis_failover")
        stage.branch.reconnect(psycopg.connect(stage.mis, autocommit=True))
        _work(on)
        eventually(lambda: stream.is_followed(on), within=120)
        _work(on)
        process.terminate()
        process.join()
        run.come_to_rest(stage, figures)
        log = (stage.folder / "relay.log").read_text(encoding="utf-8")
    assert process.exitcode == 0
    assert figures.wrong == []
    assert (figures.lost, figures.duplicated, figures.older_after_newer) == (0, 0, 0)
    assert "The MIS is on another timeline" in log
    assert ("it was made anew" in log) is not slots


def _work(on: Broken) -> None:
    for _ in range(15):
        on.stage.branch.work()


def _is_synced(servers: Replicated) -> bool:
    assert servers.standby is not None
    with psycopg.connect(servers.standby.url()) as admin:
        rows = admin.execute("SELECT synced AND NOT temporary FROM pg_replication_slots").fetchall()
    return rows == [(True,)]
