"""A MIS whose stream of changes is followed, and a relay's capture on it, turned by hand or by the daemon."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa
from psycopg import sql

from kiva_relay import errors
from kiva_relay.capture import follow
from kiva_relay.capture.cycle import Capture
from kiva_relay.clock import SystemClock
from kiva_relay.config import loader, secret
from kiva_relay.config import settings as config
from kiva_relay.outbox import table, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.opening import open_outbox
from kiva_relay.service import opening, relay
from kiva_relay.source import slot
from kiva_relay.source.mis import Mis
from testbed.database.postgres import PostgresServer
from testbed.rig import configuration, running
from testbed.rig.patience import eventually
from testbed.simulation.mis import write_mappings

TABLES = """
CREATE TABLE loan (id int PRIMARY KEY, account text, client text, first_name text DEFAULT 'Awa',
    last_name text DEFAULT 'Diop', status text DEFAULT 'approved', activity int DEFAULT 1, amount numeric(12, 2),
    repaid numeric(12, 2) DEFAULT 0, disbursed date DEFAULT current_date, created timestamptz DEFAULT now(),
    changed timestamptz DEFAULT now());
CREATE TABLE instalment (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, loan_id int, due date,
    principal numeric(12, 2), interest numeric(12, 2) DEFAULT 0);
CREATE TABLE note (id int PRIMARY KEY, account text, body text, created timestamptz DEFAULT now(),
    changed timestamptz DEFAULT now());
CREATE INDEX ON instalment (loan_id);
INSERT INTO loan (id, account, client, amount) SELECT n, 'L' || n, 'C' || n, 100 FROM generate_series(1, {loans}) n;
INSERT INTO instalment (loan_id, due, principal) SELECT n, date '2030-01-25', 100 FROM generate_series(1, {loans}) n;
"""

CONFIG = """\
kiva:
  environment: sandbox
  partner_id: 123
  client_id: abc
  client_secret: {{env: KIVA_SECRET}}
  token_url: http://127.0.0.1:9/token
  api_url: http://127.0.0.1:9
  send: false
mis: {{url: "{url}", timezone: Africa/Dakar, watch: {watch}, poll_every: {poll_every}, max_load: 100}}
mappings: {mappings}
resources: [loan_draft, journal]
outbox: {{url: "sqlite:///{outbox}"}}
loan_drafts: {{since: all}}
journals: {{since: all}}
delivery: {{brake: 100000}}
metrics: {{listen: "off"}}
"""


@dataclass
class Streamed:
    """A MIS of some loans, its server, and what a relay on it is opened with."""

    folder: Path
    server: PostgresServer
    url: str
    name: str
    teller: psycopg.Connection[tuple[Any, ...]]
    settings: config.Settings

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """A statement in the MIS; its rows, if it gives some."""
        cursor = self.teller.execute(text.encode(), values)
        return [] if cursor.description is None else cursor.fetchall()

    @contextlib.contextmanager
    def another(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Another teller."""
        with psycopg.connect(self.url, autocommit=True) as teller:
            yield teller

    def reconnect(self) -> None:
        """The server was away."""
        self.teller.close()
        self.teller = psycopg.connect(self.url, autocommit=True)

    def as_role(self, name: str) -> Streamed:
        """The same MIS, read by a role that may SELECT and nothing else."""
        self.sql(f"DROP ROLE IF EXISTS {name}")
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        self.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        url = self.url.replace(f"postgres:{self.server.password}", name)
        mis = self.settings.mis.model_copy(update={"url": url, "password": secret.Secret("literal", "x")})
        return dataclasses.replace(self, settings=self.settings.model_copy(update={"mis": mis}))

    def set_up(self) -> None:
        """What `watch setup --apply` does."""
        with self.capture() as mine:
            found = mine.mis.slot(self.name, mine.streams)
            for statement in slot.setup(found, mine.streams, mine.mis.dialect):
                self.teller.execute(statement.encode())

    def drop_slot(self) -> None:
        """As somebody would who frees the disk."""
        self.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", self.name)
        gone = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
        eventually(lambda: not self.active())
        self.sql(gone, self.name)

    def active(self) -> bool:
        """Whether somebody reads the slot."""
        rows = self.sql("SELECT active FROM pg_replication_slots WHERE slot_name = %s", self.name)
        return bool(rows and rows[0][0])

    def confirmed(self) -> int:
        """What the server believes to be durable with us."""
        asked = "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s"
        return int(self.sql(asked, self.name)[0][0])

    @contextlib.contextmanager
    def daemon(self, **changes: object) -> Iterator[relay.Relay]:
        """The relay in threads of this process; `changes` to its settings of the MIS."""
        settings = self.settings.model_copy(update={"mis": self.settings.mis.model_copy(update=changes)})
        daemon = relay.Relay(settings, configuration.documents(settings))
        daemon.open()
        try:
            with running.in_threads(daemon):
                yield daemon
        finally:
            daemon.close()

    @contextlib.contextmanager
    def capture(self) -> Iterator[Turned]:
        """An capture as the daemon has it."""
        outbox = open_outbox(self.settings)
        mis = opening.open_mis(self.settings, clock=SystemClock())
        news = threading.Event()
        followed = opening.open_follow(self.settings, mis, outbox, clock=SystemClock(), news=news.set)
        assert followed is not None
        documents = configuration.documents(self.settings)
        capture = Capture(
            outbox=outbox,
            settings=self.settings,
            clock=SystemClock(),
            mis=mis,
            documents=documents,
            stop=threading.Event(),
            following=followed,
        )
        try:
            yield Turned(capture, followed, mis, outbox, news, [one.stream for one in documents])
        finally:
            followed.close()
            mis.close()
            outbox.close()


@dataclass
class Turned:
    """An capture, turned by hand."""

    capture: Capture
    follow: follow.StreamFollower
    mis: Mis
    outbox: Outbox
    news: threading.Event
    streams: list[Any] = field(default_factory=list)

    def following(self) -> None:
        """Cycle until the backfill is over and nothing is polled any more."""
        eventually(lambda: self.capture.cycle() == 0 and set(self.modes()) == {"replication"} and not self.scans())

    def modes(self) -> list[str]:
        """How each stream is watched."""
        return list(self.capture.modes.values())

    def stands(self) -> dict[str, str | None]:
        """W of each stream."""
        with self.outbox.read() as tx:
            return {name: mark.w for name, mark in watermark.watermarks(tx).items()}

    def scans(self) -> dict[str, str]:
        """Backfills and sweeps under way."""
        with self.outbox.read() as tx:
            marks = watermark.watermarks(tx)
        return {name: mark.scan for name, mark in marks.items() if mark.scan}

    def followed(self) -> int:
        """What the stream brings next, without a poll; how many keys were new or different."""
        return int(eventually(self.capture.follow))

    def followed_again(self) -> bool:
        """Whether a cycle finds the stream live; the server may be on its way back."""
        with contextlib.suppress(errors.Unreachable):
            self.capture.cycle()
            return self.follow.standing.live
        return False

    def quiet(self, seconds: float = 0.3) -> int:
        """What the stream brings within a while."""
        found, pause = 0, threading.Event()
        for _ in range(int(seconds / 0.02)):
            found += self.capture.follow()
            pause.wait(0.02)
        return found

    def body(self, identity: str) -> dict[str, Any]:
        """The newest body of a draft."""
        columns = table.entry.c
        query = sa.select(columns.body).where(columns.resource == "loan_draft", columns.identity == identity)
        with self.outbox.read() as tx:
            text = tx.execute(query.order_by(columns.id.desc())).scalars().first()
        return {} if text is None else dict(orjson.loads(text))

    def name(self, identity: str) -> str:
        """What the newest body says of the borrower's first name; "" where there is none, for it was refused."""
        return "".join(str(one["first_name"]) for one in self.body(identity).get("entreps", [])[:1])

    def interest(self, identity: str) -> list[Decimal]:
        """What the newest body says of the instalments."""
        return [Decimal(one["interest"]) for one in self.body(identity)["schedule"]]

    def state(self, identity: str) -> str:
        """The state of the newest version."""
        columns = table.entry.c
        query = sa.select(columns.state).where(columns.resource == "loan_draft", columns.identity == identity)
        with self.outbox.read() as tx:
            return str(tx.execute(query.order_by(columns.id.desc())).scalars().first())


def create(folder: Path, server: PostgresServer, database: str, *, loans: int = 3, watch: str = "auto",
           poll_every: str = "200ms") -> Streamed:  # fmt: skip
    """The MIS in a fresh database, and a configuration for it; slot and publication are not made yet."""
    url = server.create_database(database)
    teller = psycopg.connect(url, autocommit=True)
    teller.execute(sql.SQL(TABLES).format(loans=sql.Literal(loans)))
    text = CONFIG.format(url=url, watch=watch, poll_every=poll_every, mappings=folder / "mappings",
                         outbox=folder / "outbox.db")  # fmt: skip
    write_mappings(folder / "mappings")
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    settings = loader.load(file, environ={})
    return Streamed(folder, server, url, opening.stream_name(settings), teller, settings)
