"""A configuration that is right, with a MIS and a stand-in for Kiva, into which a test plants mistakes."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kiva_relay import cli
from testbed.kiva import server
from testbed.rig.office import MAPPINGS, TABLES

_CONFIG = """\
kiva:
  environment: sandbox
  partner_id: "123"
  client_id: relay
  client_secret: {{file: {folder}/secret}}
  columns: 2
  token_url: {kiva}/oauth/token
  api_url: {kiva}
mis:
  url: sqlite:///{folder}/mis.db
  timezone: Africa/Dakar
  poll_every: 10s
mappings: mappings
loan_drafts: {{since: 2026-11-01}}
journals: {{since: all}}
repayments:
  basis: cumulative_principal
  opens_on: {{day: 1, at: "06:00"}}
  closes_on: {{day: 10, at: "18:00"}}
delivery:
  hold_for: 15m
outbox:
  url: sqlite:///{folder}/outbox.db
metrics:
  listen: "off"
"""


@dataclass
class PlantedOffice:
    """Its folder and its files; `restore` makes all of them right again."""

    folder: Path
    kiva: str

    def __post_init__(self) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "mis.db")) as mis:
            mis.executescript(TABLES)
        self.restore()

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "config.yaml"

    def restore(self) -> None:
        """Everything right."""
        self.config.write_text(_CONFIG.format(folder=self.folder, kiva=self.kiva), encoding="utf-8")
        self.config.chmod(0o640)
        (self.folder / "secret").write_text("s3cr3t\n", encoding="utf-8")
        (self.folder / "secret").chmod(0o640)
        own = self.folder / "mappings"
        (own / "lookup").mkdir(parents=True, exist_ok=True)
        for file in (*own.glob("*.y*ml"), *(own / "lookup").iterdir()):
            file.unlink()
        for name, text in MAPPINGS.items():
            (own / f"{name}.yaml").write_text(text, encoding="utf-8")

    def typed(self, *command: str) -> tuple[int, str]:
        """A command of the administrator's: its exit code, and all that it said."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = cli.main([*command, "--config", str(self.config)])
        return code, said.getvalue()


@contextlib.contextmanager
def office(folder: Path) -> Iterator[PlantedOffice]:
    """One, with its stand-in."""
    with server.start() as pa2:
        yield PlantedOffice(folder, pa2.url)
