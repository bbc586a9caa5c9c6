"""Capture without a server: the simulated MIS, a fresh outbox in a file, a clock that stands until it is moved."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import sqlalchemy as sa

from kiva_relay.capture.context import CaptureContext, Origin
from kiva_relay.capture.cycle import Capture
from kiva_relay.config import loader
from kiva_relay.config import settings as config
from kiva_relay.mapping import document as documents_
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.outbox import query, table, watermark
from kiva_relay.outbox.database import Outbox, create_file
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from kiva_relay.outbox.watermark import Captured
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.window import RepaymentReport
from kiva_relay.source.mis import Mis
from testbed.rig import configuration
from testbed.simulation.mis import SimulatedMis, write_mappings

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CREATED = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
OPEN = RepaymentReport("2026-10", date(2026, 10, 31), is_open=True)
CLOSED = RepaymentReport("2026-10", date(2026, 10, 31), is_open=False, stage="closed")
MORE = """
delivery: {hold_for: 15m, brake: 3}
repayments: {when: continuous, cutoff: today}
"""


@cache
def _loaded() -> tuple[config.Settings, tuple[Document, ...]]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        text = configuration.WRITTEN.replace("mappings: fineract", f"mappings: {write_mappings(folder / 'mappings')}")
        file = configuration.write(folder, MORE, text=text.replace("{env: KIVA_SECRET}", "'a secret'"))
        settings = loader.load(file, environ={})
        found = documents_.load(settings.mapping_folders, parameters={}, resources=settings.resources)
        return settings.model_copy(update={"mappings": []}), tuple(found)


def settings(**changes: Mapping[str, object]) -> config.Settings:
    """The settings of the simulated MIS; `changes` by section."""
    found, _ = _loaded()
    sections = {name: getattr(found, name).model_copy(update=dict(values)) for name, values in changes.items()}
    return found.model_copy(update=sections)


def document(resource: str) -> Document:
    """The mapping of a resource; it is called like it."""
    return next(one for one in _loaded()[1] if one.resource == resource)


def look(resource: str = "loan_draft", origin: Origin = "poll", **changes: Any) -> CaptureContext:
    """What a page is decided with."""
    values: dict[str, Any] = {
        "document": document(resource),
        "settings": settings(),
        "origin": origin,
        "now": NOW,
        "today": NOW.date(),
        "report": OPEN,
        "scan_number": 7 if origin in ("backfill", "sweep", "leaving") else None,
        "lists": Lists(),
        "first_start": datetime(2026, 11, 10, 12, 0, tzinfo=UTC),
    }
    return CaptureContext(**(values | changes))


BODIES: dict[str, dict[str, Any]] = {
    "loan_draft": {"entreps": [{"loan_id": "L1", "client_id": "C1", "amount": Decimal("100.50")}], "currency": "XOF",
                   "disburse_time": "2026-11-25", "schedule": []},
    "repayment": {"loan_id": "L1", "amount": Decimal("40.00")},
    "journal": {"internal_loan_id": "L1", "subject": "News", "body": "She doubled her stall."},
}  # fmt: skip


def mapped(resource: str = "loan_draft", **changes: Any) -> Mapped:
    """What a mapping made of key 1; with `body=None` and without reasons it came to nothing."""
    values: dict[str, Any] = {
        "identity": "1" if resource == "journal" else "L1",
        "loan_id": "L1",
        "client_id": "C1",
        "created_at": CREATED,
        "body": BODIES[resource],
    }
    return Mapped(**(values | changes))


def seen(resource: str = "loan_draft", **changes: Any) -> Captured:
    """What is known of key 1."""
    values: dict[str, Any] = {
        "stream": resource,
        "key": "1",
        "resource": resource,
        "identity": "1" if resource == "journal" else "L1",
        "hash": "old",
        "in_scope": True,
        "baselined": False,
        "refused": False,
        "again": False,
        "created_at": str(CREATED),
        "scan_number": 3,
        "captured_at": NOW - timedelta(days=1),
    }
    return Captured(**(values | changes))


def loan(loan_id: str = "L1", status: str = "payingBack", **changes: Any) -> MirroredLoan:
    """A loan that Kiva lists."""
    return MirroredLoan(**({"kiva_id": "K1", "loan_id": loan_id, "client_id": "", "status": status} | changes))


def entry(resource: str = "loan_draft", **changes: Any) -> Entry:
    """An entry that was delivered."""
    values: dict[str, Any] = dict.fromkeys(Entry.__dataclass_fields__)
    values |= {
        "id": 5, "resource": resource, "identity": "L1", "version": 1, "state": State.DELIVERED, "stream": resource,
        "key": "1", "loan_id": "L1", "client_id": "C1", "period": "", "origin": "poll", "repeats": 0, "row_version": 1,
        "due_at": NOW, "created_at": NOW, "changed_at": NOW,
    }  # fmt: skip
    return Entry(**(values | changes))


class StandingClock:
    """It stands until somebody moves it; a wait passes at once, and moves it."""

    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - NOW).total_seconds()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.pass_(seconds)
        return event.is_set()

    def pass_(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@cache
def _empty_outbox() -> bytes:
    with TemporaryDirectory() as name:
        file = Path(name) / "outbox.db"
        engine = sa.create_engine(f"sqlite:///{file}")
        table.metadata.create_all(engine)
        engine.dispose()
        return file.read_bytes()


def fresh_outbox(folder: Path) -> Outbox:
    """An outbox with its tables, made without its migrations, which are tried elsewhere; a power cut would spoil it."""
    file = folder / "outbox.db"
    create_file(file)
    file.write_bytes(_empty_outbox())
    outbox = Outbox(f"sqlite:///{file}")
    sa.event.listen(outbox.engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
    return outbox


@dataclass
class Rig:
    """A MIS and an outbox, and a capture between them."""

    outbox: Outbox
    mis: SimulatedMis
    settings: config.Settings
    documents: list[Document]
    clock: StandingClock = field(default_factory=StandingClock)
    reached: list[str] = field(default_factory=list)
    """The step boundaries that were passed."""

    def capture(self, **more: Any) -> Capture:
        """A capture as a new process has it."""
        return Capture(
            outbox=self.outbox,
            settings=self.settings,
            clock=self.clock,
            mis=cast("Mis", self.mis),
            documents=self.documents,
            stop=threading.Event(),
            at=self.reached.append,
            **more,
        )

    def versions(self, resource: str, identity: str) -> list[Entry]:
        """All entries of an identity, newest first."""
        with self.outbox.read() as tx:
            whole = [query.find(tx, entry.id) for entry in query.versions(tx, resource, identity)]
        return [entry for entry in whole if entry is not None]

    def marks(self) -> dict[str, watermark.Watermark]:
        with self.outbox.read() as tx:
            return watermark.watermarks(tx)


def rig(folder: Path, resources: Sequence[str] = tuple(RESOURCES), **changes: Mapping[str, object]) -> Rig:
    """A MIS without loans, and an outbox that knows nothing."""
    changed = settings(loan_drafts={"since": "all"}, journals={"since": "all"}, **changes)
    mis = SimulatedMis(random.Random(1), tuple(resources))
    return Rig(fresh_outbox(folder), mis, changed, [document(one) for one in resources])
