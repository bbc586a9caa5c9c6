"""The contract of the outbox: each of its tests runs on a SQLite file and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kiva_relay.outbox.database import Outbox
from testbed.rig import outboxes
from testbed.rig.delivering import Machine


@pytest.fixture(params=["sqlite", "postgresql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """A fresh outbox with its tables."""
    here = request.param == "sqlite"
    opened = outboxes.on_file(tmp_path) if here else Outbox(request.getfixturevalue("postgres_outbox"))
    yield opened
    opened.close()


@pytest.fixture
def machine(tmp_path: Path, outbox: Outbox) -> Iterator[Machine]:
    """What delivers, with a Kiva that answers as it is told."""
    made = Machine(tmp_path, outbox)
    yield made
    made.context.witness.close()
