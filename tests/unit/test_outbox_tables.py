"""The tables as `outbox/table.py` has them refuse what must never be kept, and are the ones that the migrations make."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kiva_relay.outbox import act, mirror_table, table
from kiva_relay.outbox.database import Outbox
from testbed.rig import outboxes
from testbed.rig.outboxes import NOW


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Outbox]:
    """An outbox in a file, made of the tables without any migration."""
    outbox = Outbox(f"sqlite:///{tmp_path / 'made.db'}")
    with outbox.begin() as tx:
        table.metadata.create_all(tx)
    yield outbox
    outbox.close()


def test_the_migrations_make_the_same(made: Outbox, tmp_path: Path) -> None:
    migrated = outboxes.on_file(tmp_path)
    indexes = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    found = []
    for outbox in (migrated, made):
        with outbox.begin() as tx:
            act.record(tx, by="awa", verb="hold", about={"what": "all"}, note="", now=NOW)
            written = tx.execute(sa.text("SELECT * FROM act")).all()
            assert compare_metadata(MigrationContext.configure(tx), table.metadata) == []
            keys = {name: sa.inspect(tx).get_pk_constraint(name) for name in table.metadata.tables}
            found.append((written, keys, tx.execute(indexes).all()))
    migrated.close()
    assert found[0] == found[1]


ENTRY: dict[str, Any] = {
    "resource": "repayment", "identity": "000000871", "version": 1, "state": "ready", "stream": "repayment", "key": "1",
    "loan_id": "000000871", "loan_fold": "000000871", "origin": "poll", "due_at": NOW, "created_at": NOW, "changed_at": NOW, "body": "{}",
}  # fmt: skip
HOLD = {"what": "all", "reason": "asked", "params": {}, "since": NOW, "held_by": "awa", "allowance": 1}
LIST = {"kind": "themes", "items": [], "sha256": "a", "refreshed_at": NOW}
LOAN = {
    "kiva_id": "k1", "loan_id": "000000871", "loan_fold": "000000871", "client_id": "c", "status": "raised",
    "first_seen": 1,
}  # fmt: skip
FIRST_READING = {"id": 1, "started_at": NOW, "complete": True}


@pytest.mark.parametrize(
    ("into", "good", "bad"),
    [
        pytest.param(table.entry, ENTRY, {"version": 2}, id="two versions that are ready"),
        pytest.param(table.entry, ENTRY, {"state": "superseded", "settled_at": NOW}, id="a version twice"),
        pytest.param(
            table.entry, ENTRY | {"state": "waiting", "reason": "incomplete"}, {"version": 2}, id="two that wait"
        ),
        pytest.param(
            table.entry, ENTRY | {"state": "sending"}, {"version": 2, "state": "in_doubt"}, id="two that are in flight"
        ),
        pytest.param(
            table.entry,
            ENTRY | {"resource": "journal", "state": "delivered", "evidence": "receipt", "settled_at": NOW},
            {"version": 2, "state": "sending", "evidence": None, "settled_at": None},
            id="a note is sent once in its life",
        ),
        pytest.param(table.hold, HOLD, {}, id="held twice for the same reason"),
        pytest.param(table.hold, HOLD, {"what": "journal", "allowance": None}, id="nobody knows how many may pass"),
        pytest.param(table.hold, HOLD, {"what": "journal", "allowance": -1}, id="more passed than may"),
        pytest.param(mirror_table.catalogue, LIST, {}, id="two lists of one kind"),
        pytest.param(mirror_table.mirror, LOAN, {}, id="a loan of Kiva's twice"),
        pytest.param(
            mirror_table.mirror, LOAN, {"kiva_id": "k2", "loan_id": None}, id="a loan without the id we know it by"
        ),
        pytest.param(table.lease, {"id": 1, "fence": 1}, {"id": 2}, id="two leases"),
    ],
)
def test_what_must_never_be_kept_is_refused(
    made: Outbox, into: sa.Table, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    with made.begin() as tx:
        tx.execute(sa.insert(mirror_table.mirror_refresh).values(**FIRST_READING))
        tx.execute(sa.insert(into).values(**good))
    with pytest.raises(sa.exc.IntegrityError), made.begin() as tx:
        tx.execute(sa.insert(into).values(**good | bad))


def test_what_is_over_makes_room_for_what_is_new(made: Outbox) -> None:
    released = {"released_at": NOW, "released_by": "awa"}
    superseded = {"version": 1, "state": "superseded", "settled_at": NOW}
    with made.begin() as tx:
        tx.execute(sa.insert(table.hold).values(**HOLD | released))
        tx.execute(sa.insert(table.hold).values(**HOLD))
        tx.execute(sa.insert(table.entry).values(**ENTRY | superseded))
        tx.execute(sa.insert(table.entry).values(**ENTRY | {"version": 2}))


def test_moments_sort_as_text_and_keep_their_instant(made: Outbox) -> None:
    there = datetime(2026, 3, 1, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=3)))
    with made.begin() as tx:
        for moment in (NOW, there):
            act.record(tx, by="awa", verb="hold", about={}, note="", now=moment)
        assert list(tx.execute(sa.select(table.act.c.at).order_by(table.act.c.at)).scalars()) == [there, NOW]
        assert tx.execute(sa.text("SELECT min(at) FROM act")).scalar_one() == "2026-02-28T22:30:00.000005Z"
