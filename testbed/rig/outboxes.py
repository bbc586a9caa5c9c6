"""Outboxes for tests: the same suite runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from kiva_relay.outbox import migration, query, sending, store
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.outbox.sending import Batch, Ending, EntryVerdict
from kiva_relay.outbox.state import Actor, State

if TYPE_CHECKING:
    import pytest

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ACCEPTED = Ending("accepted", body_complete=True, status=200, detail=None)
LOST = Ending("in_doubt", body_complete=True, status=None, detail="ReadTimeout")
NOT_SENT = Ending("not_processed", body_complete=False, status=None, detail="ConnectError")


def on_file(folder: Path) -> Outbox:
    """A fresh outbox in a SQLite file: a copy of one that was migrated once a process."""
    path = folder / "outbox.db"
    create_file(path)
    path.write_bytes(_migrated_file())
    return Outbox(f"sqlite:///{path}")


def migrated(url: str) -> Outbox:
    """An outbox whose tables Alembic makes now."""
    outbox = Outbox(url)
    migration.upgrade(outbox)
    return outbox


@functools.cache
def _migrated_file() -> bytes:
    """What Alembic makes: once for all tests of a process, because it takes longer than most of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        create_file(path)
        migrated(f"sqlite:///{path}").close()
        return path.read_bytes()


def made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a relay of this process make the file of its outbox by the statements that Alembic arrives at.

    Alembic itself takes a tenth of a second each time; it is tried by the tests of the migrations.
    """
    by_alembic = migration._to_the_newest

    def made(tx: Connection) -> None:
        if tx.dialect.name != "sqlite" or migration.present(tx) is not None:
            by_alembic(tx)
            return
        for statement in _statements(by_alembic):
            tx.exec_driver_sql(statement)

    monkeypatch.setattr(migration, "_to_the_newest", made)


@functools.cache
def _statements(by_alembic: Callable[[Connection], None]) -> tuple[str, ...]:
    """What makes an empty file into an outbox, each a statement."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        create_file(path)
        outbox = Outbox(f"sqlite:///{path}")
        with outbox.begin() as tx:
            by_alembic(tx)
        outbox.close()
        with contextlib.closing(sqlite3.connect(path)) as made:
            return tuple(line for line in made.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;"))


def later(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def owed(identity: str = "000000871", body: str | None = '{"amount":1}', **changes: object) -> Owed:
    """A thing owed, as capture puts it down."""
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


def entry(number: int, **changes: object) -> Entry:
    """An entry as it stands in the outbox, for tests of decisions: ready, of no database."""
    values: dict[str, object] = dict.fromkeys(Entry.__dataclass_fields__)
    values |= {
        "id": number,
        "resource": "loan_draft",
        "identity": f"{number:09}",
        "version": 1,
        "state": State.READY,
        "stream": "loan_draft.individual",
        "key": str(number),
        "loan_id": f"{number:09}",
        "client_id": "",
        "period": "",
        "body": '{"amount":1}',
        "origin": "poll",
        "due_at": NOW,
        "repeats": 0,
        "created_at": NOW,
        "changed_at": NOW,
        "row_version": 1,
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


def put(outbox: Outbox, *args: object, seconds: float = 0, **changes: object) -> Entry | None:
    """Put down what is owed."""
    with outbox.begin() as tx:
        return store.owe(tx, owed(*args, **changes), now=later(seconds))  # type: ignore[arg-type]


def claim(outbox: Outbox, resource: str = "loan_draft", *, limit: int = 1, seconds: float = 0) -> Batch | None:
    """Claim what is due."""
    with outbox.begin() as tx:
        due = query.due(tx, resource, limit=limit, now=later(seconds))
        return sending.claim(tx, resource, due, fence=1, now=later(seconds), request=lambda b: ",".join(b).encode())


def end(outbox: Outbox, batch: Batch, ending: Ending, verdict: EntryVerdict, *, seconds: float = 1) -> list[Entry]:
    """The answer came; the entries as they stand then."""
    with outbox.begin() as tx:
        verdicts = {entry.id: verdict for entry in batch.entries}
        return sending.end(tx, batch, ending, verdicts, by=Actor.COURIER, now=later(seconds))


def states(outbox: Outbox, identity: str = "000000871", resource: str = "loan_draft") -> list[str]:
    """The states of an identity's versions, oldest first."""
    with outbox.read() as tx:
        return [entry.state.value for entry in reversed(query.versions(tx, resource, identity))]


def deliver(outbox: Outbox, resource: str = "loan_draft") -> list[Entry]:
    """Kiva accepts what is due."""
    batch = claim(outbox, resource, limit=9)
    assert batch is not None
    return end(outbox, batch, ACCEPTED, EntryVerdict(State.DELIVERED, receipt={"loan_draft_uuid": "u"}))


def lose(outbox: Outbox, resource: str = "loan_draft") -> Entry:
    """The answer to what is due is lost."""
    batch = claim(outbox, resource)
    assert batch is not None
    return end(outbox, batch, LOST, EntryVerdict(State.IN_DOUBT, reason="answer_lost"))[0]
