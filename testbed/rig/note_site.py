"""A small institution on one machine: a MIS of notes in SQLite, a mapping, and a relay that has no Kiva to talk to."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.config import loader
from kiva_relay.outbox import heartbeat, table
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.service.relay import Relay
from testbed.rig import configuration, running

_CONFIG = """\
kiva:
  environment: sandbox
  partner_id: 123
  client_id: abc
  client_secret: {{env: KIVA_SECRET}}
  token_url: http://127.0.0.1:9/token
  api_url: http://127.0.0.1:9
mis: {{url: "sqlite:///{folder}/mis.db", timezone: Africa/Dakar, poll_every: {poll_every}, max_load: 100}}
mappings: mappings
resources: [journal]
loan_drafts: {{since: all}}
journals: {{since: all}}
outbox: {{url: "sqlite:///{folder}/outbox.db", witness: "{folder}/witness.log"}}
delivery: {{brake: {brake}}}
metrics: {{listen: "off"}}
log: {{format: text}}
"""
_MAPPING = """\
resource: journal
identity: id
source: {{table: {table}, key: id, changed_at: changed}}
fields: {{internal_loan_id: account, subject: {{text: "{subject}"}}, body: body}}
"""


@dataclass
class NoteSite:
    """Its folder; what the files say is written by `write`."""

    folder: Path
    poll_every: str = "100ms"
    tables: tuple[str, ...] = ("note",)
    _written: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        (self.folder / "mappings").mkdir()
        with contextlib.closing(self._mis()) as mis, mis:
            for name in self.tables:
                mis.execute(f"CREATE TABLE {name} (id integer primary key, account text, body text, changed timestamp)")
        self.write("subject 0", brake=1000)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config.yaml"

    def write(self, subject: str, *, brake: int) -> None:
        """Edit the files: what each note's subject is, and one setting."""
        self.config.write_text(_CONFIG.format(folder=self.folder, poll_every=self.poll_every, brake=brake))
        self.config.chmod(0o640)
        for name in self.tables:
            text = _MAPPING.format(table=name, subject=subject)
            (self.folder / "mappings" / f"journal.{name}.yaml").write_text(text)

    def note(self, table_name: str = "note", *, times: int = 1) -> int:
        """Write notes into the MIS; the number of the last one."""
        with self._lock, contextlib.closing(self._mis()) as mis, mis:
            for _ in range(times):
                self._written += 1
                mis.execute(
                    f"INSERT INTO {table_name} VALUES (?, 'L1', 'She sews.', datetime('now'))",
                    (self._written,),
                )
            return self._written

    def rewrite(self, number: int) -> None:
        """Write a note of the table `note` once more."""
        with self._lock, contextlib.closing(self._mis()) as mis, mis:
            mis.execute("UPDATE note SET body = body || '.', changed = datetime('now') WHERE id = ?", (number,))

    @contextlib.contextmanager
    def relay(self, clock: Clock | None = None) -> Iterator[Relay]:
        """A relay in this process, opened."""
        settings = loader.load(self.config, environ={})
        relay = Relay(settings, configuration.documents(settings), time=clock)
        relay.open()
        try:
            with running.readers_are_awaited():
                yield relay
        finally:
            relay.close()

    @contextlib.contextmanager
    def daemon(self, clock: Clock | None = None) -> Iterator[Relay]:
        """A relay that runs in threads of this process."""
        with self.relay(clock) as relay, running.in_threads(relay):
            yield relay

    def body(self, relay: Relay, number: int) -> str:
        """The newest body of a note; empty while it is not in the outbox."""
        columns = table.entry.c
        where = (columns.resource == "journal", columns.identity == str(number))
        with relay.outbox.read() as tx:
            query = sa.select(columns.body).where(*where).order_by(columns.version.desc()).limit(1)
            return tx.execute(query).scalar() or ""

    def beat(self, relay: Relay) -> Heartbeat | None:
        """What the relay last said of itself."""
        with relay.outbox.read() as tx:
            return heartbeat.read(tx)

    def _mis(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "mis.db", timeout=30)
