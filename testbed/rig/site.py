"""An institution for tests: a MIS with a book in it, a stand-in for Kiva, and a relay between the two."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from kiva_relay.clock import Clock
from kiva_relay.config import loader, shipped
from kiva_relay.config.settings import Settings
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import table
from kiva_relay.sandbox.server import SandboxServer
from kiva_relay.service.relay import Relay, Summary
from testbed.institution import branch
from testbed.institution.teller import Teller
from testbed.kiva.control import Sandbox
from testbed.kiva.state import KivaState
from testbed.rig import configuration, patience, running, yaml_text
from testbed.rig.typed import typed


@dataclass
class Site:
    """What a test works with. `connection` commits each statement by itself."""

    folder: Path
    url: str
    photos: Path
    connection: psycopg.Connection[Any]
    server: SandboxServer[KivaState]
    kiva: Sandbox
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration file, written anew from what the test changed."""
        path = self.folder / "config.yaml"
        path.write_text(yaml_text.of(self._settings()), encoding="utf-8")
        return path

    def teller(self, seed: int = 1) -> Teller:
        """Somebody at work in the MIS."""
        return Teller(self.connection, random.Random(seed), today=date.today(), photos=self.photos)

    @contextlib.contextmanager
    def relay(self, *, time: Clock | None = None) -> Iterator[Relay]:
        """A relay in this process, opened."""
        settings = loader.load(self.config, environ={})
        relay = Relay(settings, documents(settings), time=time)
        relay.open()
        try:
            yield relay
        finally:
            relay.close()

    def once(self, *, time: Clock | None = None) -> Summary:
        """Capture and deliver until nothing is due; by another clock than the machine's."""
        with self.relay(time=time) as relay:
            return relay.once()

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Relay]:
        """A relay that runs in threads of this process, all of which have ended when it is over."""
        with self.relay() as relay, running.in_threads(relay):
            yield relay

    @contextlib.contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The daemon as a process of its own; its output is in `daemon.log`."""
        with (self.folder / "daemon.log").open("a") as log:
            command = [sys.executable, "-m", "kiva_relay", "run", "--config", str(self.config), *arguments]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                patience.ended(process)

    def command(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A command of the administrator's, typed in this process."""
        return typed(*arguments, KIVA_RELAY_CONFIG=str(self.config), **environ)

    def command_apart(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own, in a pipe."""
        return subprocess.run(
            [sys.executable, "-m", "kiva_relay", *arguments],
            capture_output=True,
            text=True,
            timeout=patience.seconds(60),
            env={**os.environ, "KIVA_RELAY_CONFIG": str(self.config), **environ},
            check=False,
        )

    def mis(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement in the MIS; its rows, if it gives some."""
        cursor = self.connection.execute(sql, values)
        return cursor.fetchall() if cursor.description else []

    def entries(self, **where: str) -> list[sa.Row[Any]]:
        """Rows of the outbox."""
        engine = sa.create_engine(f"sqlite:///{self.folder / 'outbox.db'}")
        try:
            with engine.connect() as tx:
                conditions = [table.entry.c[name] == value for name, value in where.items()]
                return list(tx.execute(sa.select(table.entry).where(*conditions).order_by(table.entry.c.id)))
        finally:
            engine.dispose()

    def sent(self, resource: str, loan_id: str = "") -> list[Any]:
        """The bodies that Kiva accepted, oldest first."""
        return [record["body"] for record in self.kiva.ledger(resource=resource, loan_id=loan_id)]

    def positions(self) -> dict[str, Decimal]:
        """The last position that Kiva took of each loan."""
        calls = self.sent("repayment")
        rows = itertools.chain.from_iterable(body["repayments"] for body in calls)
        return {row["loan_id"]: Decimal(row["amount"]) for row in rows}

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "kiva": {
                "environment": "sandbox",
                "partner_id": "123",
                "client_id": "relay",
                "client_secret": {"env": "KIVA_SECRET"},
                "token_url": f"{self.server.url}/oauth/token",
                "api_url": self.server.url,
            },
            "mis": {
                "url": self.url,
                "timezone": "Africa/Dakar",
                "poll_every": "200ms",
                "max_load": 100,
                "photos": str(self.photos),
            },
            "mappings": "fineract",
            "parameters": {"kiva_fund": branch.KIVA_FUND},
            "outbox": {"url": f"sqlite:///{self.folder / 'outbox.db'}"},
            "loan_drafts": {"since": "all"},
            "journals": {"since": "all"},
            "repayments": {"when": "continuous", "cutoff": "today"},
            "delivery": {"hold_for": "0", "brake": 1000, "settle_after": "1s"},
            "mirror": {"refresh_every": "1s"},
            "metrics": {"listen": "off"},
        }
        return _merged(settings, self.changes)


def _merged(into: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


_ready_made: dict[str, list[Document]] = {}


def documents(settings: Settings) -> list[Document]:
    """The mappings of a configuration; the ready-made ones are read once, for reading takes longer than many a test."""
    told = f"{settings.parameters} {settings.resources}"
    if settings.mapping_folders != (shipped.folder("mappings") / "fineract",):
        return configuration.documents(settings)
    if told not in _ready_made:
        _ready_made[told] = configuration.documents(settings)
    return _ready_made[told]
