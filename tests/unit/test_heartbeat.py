"""What a running relay says of itself: commands read it as it was written, and nothing changes it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import heartbeat, table
from kiva_relay.outbox.heartbeat import ALIVE_FOR, Heartbeat, JobHealth, Reachability, StreamHealth
from testbed.rig import outboxes
from testbed.rig.outboxes import NOW, later

BEAT = Heartbeat(
    started_at=later(-60),
    version="0.2",
    pid=7,
    beats_at=NOW,
    mis=Reachability(last_good=NOW),
    kiva=Reachability(away_since=later(-9), words="502 Bad Gateway"),
    modes={"journal": "xmin"},
    stopped_streams={"repayment": "a column is missing"},
    replication=StreamHealth(live=True, made=True, kept=4096, wal_status="reserved"),
    edited=("config.yaml",),
    jobs=(JobHealth("poll", last_run=NOW, seconds=0.5, error="OSError", overdue=3.0),),
)


def test_it_is_read_as_it_was_written_until_the_relay_stops(tmp_path: Path) -> None:
    outbox = outboxes.on_file(tmp_path)
    with outbox.begin() as tx:
        assert heartbeat.read(tx) is None
        assert not heartbeat.is_running(tx, NOW)
        heartbeat.write(tx, dataclasses.replace(BEAT, pid=6))
        heartbeat.write(tx, BEAT)
        assert heartbeat.read(tx) == BEAT
        assert heartbeat.is_running(tx, NOW)
        assert heartbeat.is_running(tx, NOW + ALIVE_FOR - timedelta(microseconds=1))
        assert not heartbeat.is_running(tx, NOW + ALIVE_FOR)
        heartbeat.forget(tx)
        assert heartbeat.read(tx) is None
    outbox.close()


def test_one_of_another_version_that_lacks_what_is_needed_counts_as_none(tmp_path: Path) -> None:
    outbox = outboxes.on_file(tmp_path)
    with outbox.begin() as tx:
        tx.execute(sa.insert(table.meta).values(name="heartbeat", value='{"version":"0.1","pid":7}'))
        assert heartbeat.read(tx) is None
        assert not heartbeat.is_running(tx, NOW)
    outbox.close()


@pytest.mark.parametrize("part", ["self", "mis", "replication", "jobs"])
def test_whoever_reads_it_cannot_change_it(tmp_path: Path, part: str) -> None:
    """Findings and sentences are made of one reading: all of them speak of the same moment."""
    outbox = outboxes.on_file(tmp_path)
    with outbox.begin() as tx:
        heartbeat.write(tx, BEAT)
        beat = heartbeat.read(tx)
    outbox.close()
    assert beat is not None
    value = {"self": beat, "mis": beat.mis, "replication": beat.replication, "jobs": beat.jobs[0]}[part]
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type] # each of them is a dataclass
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
