"""Who looks on while the branch works: a relay in a process of its own, and a poller that knows no better."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from kiva_relay.outbox.database import Outbox
from testbed.rig import killable, patience, yaml_text
from testbed.workload.branch import MAPPING
from testbed.workload.engine import ZONE, Engine


class Naive:
    """The poller that everybody writes first: what it has of each loan."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        last: Any = None
        connection = None
        while not self._over.wait(0.25):
            try:
                connection = connection or self._engine.connect()
                cursor = connection.cursor()
                if last is None:
                    cursor.execute("SELECT id, token, changed FROM loan WHERE changed IS NOT NULL")
                else:
                    cursor.execute("SELECT id, token, changed FROM loan WHERE changed > %s", [last])
                for loan, token, changed in cursor.fetchall():
                    self.tokens[loan] = token
                    last = changed if last is None or changed > last else last
                connection.rollback()
            except Exception as error:
                if not self._engine.gone(error):
                    raise
                _close(connection)
                connection = None
        _close(connection)


def _close(connection: Any) -> None:
    if connection is not None:
        with contextlib.suppress(Exception):
            connection.close()


@dataclass
class Watcher:
    """One relay, which watches by one capture mode."""

    mode: str
    folder: Path
    config: Path
    outbox: Outbox
    process: ForkServerProcess | None = None
    kills: int = 0

    def set_up(self) -> None:
        """Make publication and slot, as an administrator does."""
        command = [sys.executable, "-m", "kiva_relay", "watch", "setup", "--apply", "--config", str(self.config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "KIVA_SECRET": "s3cr3t"})

    def start(self) -> None:
        life = killable.Life(self.config, self.folder / "relay.log", environ={"KIVA_SECRET": "s3cr3t"})
        self.process = killable.start(life)

    def kill(self) -> None:
        """End it with SIGKILL, and begin another."""
        assert self.process is not None
        assert self.process.exitcode is None, f"a relay ended by itself; see {self.folder}/relay.log"
        self.process.kill()
        self.process.join()
        self.kills += 1
        self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.join(patience.seconds(20))
        self.outbox.close()


def watcher(engine: Engine, mode: str, folder: Path, **mis: Any) -> Watcher:
    """A relay's configuration. It sends nothing: what it owes is what is looked at. `mis`: its settings that differ."""
    folder.mkdir()
    (folder / "mappings").mkdir()
    (folder / "mappings" / "loan_draft.yaml").write_text(MAPPING, encoding="utf-8")
    settings = {
        "kiva": {
            "environment": "sandbox",
            "partner_id": "123",
            "client_id": "relay",
            "client_secret": {"env": "KIVA_SECRET"},
            "token_url": "http://127.0.0.1:9/oauth/token",
            "api_url": "http://127.0.0.1:9",
            "send": False,
        },
        "mis": {
            "url": engine.mis,
            "timezone": ZONE,
            "poll_every": "500ms",
            "max_load": 100,
            "watch": engine.modes.get(mode, mode),
            "sweep_at": _another_hour(),
            **mis,
        },
        "mappings": str(folder / "mappings"),
        "outbox": {"url": f"sqlite:///{folder}/outbox.db"},
        "loan_drafts": {"since": "all"},
        "journals": {"since": "all"},
        "delivery": {"brake": 100_000},
        "metrics": {"listen": "off"},
    }
    config = folder / "config.yaml"
    config.write_text(yaml_text.of(settings), encoding="utf-8")
    config.chmod(0o600)
    return Watcher(mode, folder, config, Outbox(f"sqlite:///{folder}/outbox.db"))


def _another_hour() -> str:
    """An hour at which no sweep can come between."""
    return f"{(datetime.now(UTC).hour + 12) % 24:02d}:00"
