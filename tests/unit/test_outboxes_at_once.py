"""An outbox that the tests make by statements is the one that the migrations make."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay.outbox import migration
from kiva_relay.outbox.database import create_file
from testbed.rig import outboxes


def test_it_is_what_alembic_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words of SQLite, with the revision that stands in it."""
    found = []
    for name in ("by-alembic", "at-once"):
        path = tmp_path / f"{name}.db"
        create_file(path)
        outbox = outboxes.migrated(f"sqlite:///{path}")
        with outbox.read() as tx:
            schema = tx.execute(sa.text("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"))
            found.append((schema.all(), migration.present(tx)))
        outbox.close()
        outboxes.made_at_once(monkeypatch)
    assert found[0] == found[1]
    assert len(found[0][0]) > 50


def test_one_that_holds_something_is_left_to_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, asked = outboxes.on_file(tmp_path), list[str | None]()
    monkeypatch.setattr(migration, "_to_the_newest", lambda tx: asked.append(migration.present(tx)))
    outboxes.made_at_once(monkeypatch)
    with outbox.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    migration.upgrade(outbox)
    outbox.close()
    assert asked == ["0001"]
