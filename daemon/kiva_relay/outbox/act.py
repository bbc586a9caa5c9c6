"""What persons did: every settle, hold, release and reload, with who and why. Never deleted."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import table


def person(environ: Mapping[str, str] = os.environ) -> str:
    """Who is at the keyboard: the one who called sudo, not root."""
    return environ.get("SUDO_USER") or getpass.getuser()


def record(tx: Connection, *, by: str, verb: str, about: Any, note: str, now: datetime) -> None:
    """Write down an act. `about` is ids and codes, nothing personal."""
    tx.execute(sa.insert(table.act).values(at=now, person=by, verb=verb, about=about, note=note))
