"""Outboxes for tests: the same suite runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kiva_relay.outbox import migration
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.entry import Owed

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def on_file(folder: Path) -> Outbox:
    """A fresh outbox in a SQLite file."""
    path = folder / "outbox.db"
    create_file(path)
    return migrated(f"sqlite:///{path}")


def migrated(url: str) -> Outbox:
    """An outbox with its tables."""
    outbox = Outbox(url)
    migration.upgrade(outbox)
    return outbox


def later(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def owed(identity: str = "000000871", body: str | None = '{"amount":1}', **changes: object) -> Owed:
    """A thing owed, as intake puts it down."""
    values: dict[str, object] = {
        "resource": "loan_draft",
        "identity": identity,
        "stream": "loan_draft.individual",
        "key": identity.lstrip("0"),
        "loan_id": identity,
        "fingerprint": "1:abc",
        "origin": "poll",
        "due_at": NOW,
        "body": body,
        "body_sha256": None if body is None else hashlib.sha256(body.encode()).hexdigest(),
    }
    return Owed(**(values | changes))  # type: ignore[arg-type]
