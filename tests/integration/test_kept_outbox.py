"""An outbox that was filled by version 0.2 is taken over by this one: its tables, and what the commands say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kiva_relay.outbox import migration, reason, scan, state, table, watermark
from kiva_relay.outbox.database import Outbox
from testbed.rig import configuration, full_outbox, kept_outbox
from testbed.rig.full_outbox import Run

run = pytest.fixture(full_outbox.runner)

LATER = {
    *(
        "report",
        "report_line",
        "decision",
        "position",
        "upload",
        "mirror_event",
        "person",
        "session",
        "mail",
        "duplicate",
    ),
    *("discrepancy", "forgotten"),
}
"""Tables that version 0.2 did not have."""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    outbox = kept_outbox.opened(tmp_path)
    migration.upgrade(outbox)
    more = f"outbox: {{url: 'sqlite:///{outbox.path}', witness: '{tmp_path / 'witness.log'}'}}\n"
    monkeypatch.setenv("KIVA_RELAY_CONFIG", str(configuration.write(tmp_path, more)))
    monkeypatch.setenv("KIVA_SECRET", "s")
    yield outbox
    outbox.close()


def values(outbox: Outbox, column: sa.Column[str]) -> set[str]:
    with outbox.read() as tx:
        return set(tx.execute(sa.select(column).distinct()).scalars())


def test_its_tables_are_those_of_this_version(kept: Outbox) -> None:
    migration.check(kept)
    with kept.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), table.metadata) == []


def test_everything_is_in_it(kept: Outbox) -> None:
    assert values(kept, table.entry.c.state) == set(state.State)
    assert values(kept, table.entry.c.evidence) - {None} == set(state.EVIDENCE)
    assert values(kept, table.entry.c.resource) == set(table.RESOURCES)
    assert values(kept, table.attempt.c.outcome) == {None, "accepted", "refused", "not_processed", "in_doubt"}
    assert values(kept, table.hold.c.reason) <= set(reason.REASONS)
    assert values(kept, table.divergence.c.kind) == {"changed", "left_scope"}
    assert values(kept, table.scan.c.kind) == {"backfill", "sweep", "edit"}
    with kept.read() as tx:
        for each in table.metadata.sorted_tables:
            if each.name in LATER:
                continue
            assert tx.execute(sa.select(sa.func.count()).select_from(each)).scalar_one() > 0, each.name
        assert {mark.scan for mark in watermark.watermarks(tx).values()} == {None, "backfill", "sweep", "leaving"}
        progress = scan.of(tx, "repayment")
    assert progress is not None
    assert (progress.number, progress.kind, progress.done, progress.missed) == (3, "sweep", 12, 2)


def test_the_commands_work_on_it(kept: Outbox, run: Run) -> None:
    assert "12 of 40" in run("status").out
    report = run("status", "--json").json
    assert report["verdict"] == "STOPPED"
    listed = run("outbox", "list", "--json")
    assert listed.code == 0
    for found in state.State:
        assert run("outbox", "list", "--state", found, "--json").json, found
    assert run("outbox", "show", "--loan", "000000002").code == 0
    assert run("review").code == 0
    assert run("watermark", "show").code == 0
    assert kept is not None
