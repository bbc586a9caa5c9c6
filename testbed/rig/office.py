"""A small institution on one machine that owes all three resources: a MIS in SQLite, mappings, and the relay's process."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from testbed.rig import patience, yaml_text

TABLES = """
CREATE TABLE loan (id integer PRIMARY KEY, account text NOT NULL, given text NOT NULL);
CREATE TABLE instalment (id integer PRIMARY KEY, loan integer NOT NULL, due text NOT NULL, principal integer NOT NULL);
CREATE TABLE repaid (id integer PRIMARY KEY, account text NOT NULL, amount integer NOT NULL);
CREATE TABLE note (id integer PRIMARY KEY, account text NOT NULL, body text NOT NULL);
"""
MAPPINGS = {
    "loan_draft": """\
resource: loan_draft
identity: account
source: {table: loan, key: id}
fields:
  entreps:
    - {client_id: "'C' ~ account", loan_id: account, first_name: {text: "Ada"}, gender: {text: "female"}, amount: 500}
  currency: {text: "XOF"}
  activity_id: {from: "'Agriculture'", lookup: activities}
  location: {from: "'Dakar: Senegal'", lookup: locations}
  disburse_time: given
  schedule: {each: instalment, do: {date: due, principal: principal, interest: "0"}}
relations:
  instalment: {table: instalment, match: {loan: id}, many: true, order_by: id}
""",
    "repayment": """\
resource: repayment
identity: account
source: {table: repaid, key: id}
fields: {loan_id: account, amount: amount}
""",
    "journal": """\
resource: journal
identity: id
source: {table: note, key: id}
fields: {internal_loan_id: account, subject: {text: "News"}, body: body}
""",
}


@dataclass
class Office:
    """Its MIS, which one thread writes into, and the configuration of a relay towards `kiva`, a URL.

    `changes` are settings by their dotted key. What is owed: `drafts`, the newest amount of each loan in `positions`,
    and the loan of each text of `notes`.
    """

    folder: Path
    kiva: str
    metrics: str = "off"
    changes: Mapping[str, Any] = field(default_factory=dict)
    drafts: list[str] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "mappings").mkdir()
        for name, text in MAPPINGS.items():
            (self.folder / "mappings" / f"{name}.yaml").write_text(text, encoding="utf-8")
        self.mis = sqlite3.connect(self.folder / "mis.db", timeout=30, isolation_level=None)
        self.mis.executescript(TABLES)
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml_text.of(self._settings()), encoding="utf-8")
        self.config.chmod(0o600)

    @property
    def outbox(self) -> str:
        """Its URL."""
        return f"sqlite:///{self.folder / 'outbox.db'}"

    @property
    def log(self) -> Path:
        """What the process writes."""
        return self.folder / "relay.log"

    def grant(self, given: date | None = None) -> str:
        """A new loan, given today or on that day; its account."""
        account = f"L{len(self.drafts)}"
        day = (given or date.today()).isoformat()
        self.mis.execute("BEGIN IMMEDIATE")
        loan = self.mis.execute("INSERT INTO loan (account, given) VALUES (?, ?)", (account, day)).lastrowid
        self.mis.execute("INSERT INTO instalment (loan, due, principal) VALUES (?, ?, 500)", (loan, day))
        self.mis.execute("COMMIT")
        self.drafts.append(account)
        return account

    def repay(self, account: str) -> None:
        """One more unit on a loan that Kiva has."""
        if account not in self.positions:
            self.positions[account] = 0
            self.mis.execute("INSERT INTO repaid (account, amount) VALUES (?, 0)", (account,))
        self.positions[account] += 1
        self.mis.execute("UPDATE repaid SET amount = amount + 1 WHERE account = ?", (account,))

    def tell(self, account: str) -> None:
        """A note on a loan that Kiva has."""
        text = f"Story {len(self.notes)} of a good year."
        self.mis.execute("INSERT INTO note (account, body) VALUES (?, ?)", (account, text))
        self.notes[text] = account

    @contextlib.contextmanager
    def process(self, module: str = "kiva_relay") -> Iterator[subprocess.Popen[bytes]]:
        """The daemon, ready, as `kiva-relay run` starts it; `module` may be another one that leads there."""
        environ = {**os.environ, "KIVA_SECRET": "s3cr3t"}
        command = [sys.executable, "-m", module, "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environ)
        try:
            patience.eventually(lambda: process.poll() is not None or " ready " in self.log.read_text(encoding="utf-8"))
            assert process.poll() is None, self.log.read_text(encoding="utf-8")
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            patience.ended(process)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "kiva": {
                "environment": "sandbox",
                "partner_id": "123",
                "client_id": "relay",
                "client_secret": {"env": "KIVA_SECRET"},
                "token_url": f"{self.kiva}/oauth/token",
                "api_url": self.kiva,
            },
            "mis": {
                "url": f"sqlite:///{self.folder}/mis.db",
                "timezone": "UTC",
                "poll_every": "300ms",
                "max_load": 100,
            },
            "mappings": "mappings",
            "outbox": {"url": self.outbox, "witness": str(self.folder / "witness.log")},
            "loan_drafts": {"since": "all"},
            "journals": {"since": "all", "batch": 5},
            "repayments": {"when": "continuous", "cutoff": "today"},
            "delivery": {"hold_for": "0", "brake": 100_000, "settle_after": "1s"},
            "mirror": {"refresh_every": "1s"},
            "metrics": {"listen": self.metrics},
        }
        for key, value in self.changes.items():
            group, name = key.split(".")
            settings.setdefault(group, {})[name] = value
        return settings
