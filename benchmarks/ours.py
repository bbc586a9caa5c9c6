"""The relay before the book of the comparison, as a process of its own, with its outbox in a file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import book
from benchmarks.contender import Watched
from kiva_relay.outbox import hold, table
from testbed.rig import outboxes
from testbed.rig.measured import NOWHERE, MeasuredRelay, environment


class OurRelay(MeasuredRelay):
    """A relay that has one mapping of the book, for the first `most` loans of it."""

    def __init__(
        self,
        folder: Path,
        mis: str,
        *,
        resource: str = "loan_draft",
        most: int = 0,
        kiva: str = NOWHERE,
        settings: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        folder.rmdir()
        super().__init__(folder, mis, kiva=kiva, since="all", hold_for="0s", **changes)
        (folder / "mappings" / "loan_draft.yaml").unlink()
        text = book.MAPPINGS[resource]
        if most:
            text = text.replace("where: status = 300", f"where: status = 300 AND id <= {most}")
        (folder / "mappings" / f"{resource}.yaml").write_text(text, encoding="utf-8")
        written = json.loads(self.config.read_text(encoding="utf-8"))
        written |= {"resources": [resource], "repayments": {"when": "continuous", "cutoff": "today"}}
        written |= settings or {}
        self.config.write_text(json.dumps(written), encoding="utf-8")
        self.resource = resource
        self.watched: Watched | None = None
        self.began = 0.0
        outboxes.on_file(folder).close()

    def start(self) -> None:
        """Begin it, and look at what it costs."""
        self.stop_looking()
        self.began = time.monotonic()
        super().start()
        assert self.process is not None
        self.watched = Watched(self.process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def stop_looking(self) -> None:
        """Look no more."""
        if self.watched is not None:
            self.watched.stop()

    def close(self) -> None:
        """End it, and all that was opened for it."""
        self.end()
        self.stop_looking()
        self.outbox.close()

    def hold(self) -> None:
        """Hold what it would send, before it starts."""
        with self.outbox.begin() as tx:
            hold.put(tx, self.resource, "asked", by="the benchmark", note="not yet", now=datetime.now(UTC))

    def release(self) -> None:
        """Let it go, as an administrator does."""
        typed = self._typed("release", self.resource, "--note", "now", "--yes")
        done = subprocess.run(typed, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"kiva-relay release: {done.stdout}{done.stderr}")

    def states(self) -> Counter[str]:
        """How many entries are in each state."""
        columns = table.entry.c
        counted = sa.select(columns.state, sa.func.count()).where(columns.resource == self.resource)
        with self.outbox.read() as tx:
            return Counter(dict(tx.execute(counted.group_by(columns.state)).tuples().all()))
