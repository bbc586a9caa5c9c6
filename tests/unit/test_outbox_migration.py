"""An outbox in a file is copied before its tables are changed."""

from __future__ import annotations

from pathlib import Path

import alembic.util
import pytest
import sqlalchemy as sa

from kiva_relay.outbox import meta, migration
from kiva_relay.outbox.database import Outbox
from testbed.rig import outboxes


def test_what_a_migration_spoils_can_be_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = outboxes.on_file(tmp_path)
    with outbox.begin() as tx:
        meta.PARTNER_ID.put(tx, "123")
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
    newest = migration.revisions()[-1]
    monkeypatch.setattr(migration, "revisions", lambda: ["0000", newest])  # it is not there, and so the upgrade fails
    with pytest.raises(alembic.util.CommandError):
        migration.upgrade(outbox)
    outbox.close()
    path = tmp_path / f"outbox.db.before-{newest}"
    assert path.stat().st_mode & 0o777 == 0o600
    copy = Outbox(f"sqlite:///{path}")
    with copy.read() as tx:
        assert migration.present(tx) == "0000"
        assert meta.PARTNER_ID.get(tx) == "123"
    copy.close()


def test_what_is_new_is_not_copied_and_brought_up_to_date_once(tmp_path: Path) -> None:
    outbox = Outbox(f"sqlite:///{tmp_path / 'outbox.db'}")
    assert migration.upgrade(outbox) == migration.revisions()
    assert migration.upgrade(outbox) == []
    outbox.close()
    assert not list(tmp_path.glob("*.before-*"))
