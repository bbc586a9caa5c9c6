"""A day of changes in half a minute: what a relay holds stays the same, and at rest it says next to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.database import postgres
from testbed.soak import run

SPEED = 1_440
"""A purge and a list every 2.5 seconds, a night every 20."""
BOUNDED = {
    *("open descriptors", "threads", "connections at the MIS", "connections at the outbox"),
    *("outbox-wal at its largest, MB", "kept for a stream at most, MB"),
}
ONCE = 6
"""Lines that a life has once: it starts, it is ready, a report opens; and some to spare."""


@pytest.mark.long
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(run.Way(), id="by polls"),
        pytest.param(run.Way(outbox="postgresql", watch="replication"), id="by its stream", marks=pytest.mark.night),
    ],
)
def test_what_a_relay_holds_does_not_grow(tmp_path: Path, way: run.Way) -> None:
    with (
        postgres.start(tmp_path / "postgres", settings=way.server) as server,
        run.stage(tmp_path / "soak", server, speed=SPEED, name="small_soak", way=way, clients=120, loans=30) as on,
    ):
        found = run.soak(*on, speed=SPEED, seconds=36, rate=5, idle=12)
    lines = {line.what: line for line in found.lines()}
    assert not [line.words() for what, line in lines.items() if what in BOUNDED and line.grew]
    assert not lines["idle: lines of log an hour"].grew
    # How many changes go in one call depends on the machine; there is no more than a line a change, and one a job.
    last = found.samples[-1]
    jobs = sum(times for (loop, _), times in found.turns.items() if loop in {"purge", "reconcile"})
    assert last.changes > 36
    assert last.lines <= last.changes + jobs + ONCE
    # A person held the journals, and released them, some times.
    assert found.mails > 2
    assert {ended for (_, ended), times in found.turns.items() if times} == {"well"}
    assert {loop for (loop, _), times in found.turns.items() if times > 1} >= {"purge", "audit", "reconcile"}
