"""What all histories of a process share: a folder in memory, an outbox that the dice shake, and the mappings."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.engine import Connection

from kiva_relay.config import loader
from kiva_relay.config import settings as config
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue, table
from kiva_relay.outbox.database import Outbox
from testbed.rig import configuration, outboxes
from testbed.rig.outboxes import NOW
from testbed.simulation.mis import write_mappings


class ShakenOutbox(Outbox):
    """The real outbox. Before and after each writing transaction others may act; right before its end all may end."""

    pause: Callable[[str], None] = staticmethod(lambda _where: None)
    shake: Callable[[str], None] = staticmethod(lambda _where: None)

    @contextlib.contextmanager
    def begin(self, **more: Any) -> Iterator[Connection]:
        """As the outbox does it."""
        self.pause("a transaction begins")
        with super().begin(**more) as tx:
            yield tx
            self.shake("a transaction is about to be committed")
        self.pause("a transaction was committed")


@dataclass
class Workshop:
    """What all histories of a process share: a file, its engine, and the mappings. Emptied for each."""

    folder: Path
    outbox: ShakenOutbox
    settings: config.Settings
    documents: list[Document]

    def emptied(self) -> None:
        """As on the first day, but that Kiva's lists have been read: nothing here depends on them."""
        with self.outbox.engine.begin() as tx:
            for each in reversed(table.metadata.sorted_tables):
                tx.execute(sa.delete(each))
            for kind in catalogue.KINDS:
                catalogue.keep(tx, kind, [], now=NOW)
        (self.folder / "witness.log").unlink(missing_ok=True)


@contextlib.contextmanager
def workshop() -> Iterator[Workshop]:
    """A folder in memory where there is one, for nothing here is about power cuts."""
    memory = Path("/dev/shm")
    # Nothing is logged, nor rendered: a history is told by its steps.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        text = configuration.WRITTEN.replace("first_start", "all").replace("2026-11-01", "all")
        file = configuration.write(
            folder,
            f"""
            delivery: {{hold_for: 0, settle_after: 15m, brake: 1000}}
            repayments: {{when: continuous, cutoff: today, batch: 3}}
            mirror: {{refresh_every: 10m}}
            outbox: {{url: "sqlite:///{folder / "outbox.db"}", witness: "{folder / "witness.log"}"}}
            """,
            text=text.replace("mappings: fineract", f"mappings: {write_mappings(folder / 'mappings')}").replace(
                "{env: KIVA_SECRET}", "'a secret'"
            ),
        )
        settings = loader.load(file, environ={})
        outboxes.on_file(folder).close()
        outbox = ShakenOutbox(settings.outbox.url)
        event.listen(outbox.engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
        try:
            yield Workshop(folder, outbox, settings, configuration.documents(settings))
        finally:
            outbox.close()
