"""The last heartbeat of the relay, as typed values. The one place that knows how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from kiva_relay.outbox import binding

ALIVE_FOR = timedelta(seconds=30)
"""A relay whose last heartbeat is older is not running: it writes one every 5 seconds."""

_NAME = "heartbeat"


@dataclass(frozen=True)
class ServerHealth:
    """How one of the two servers is, the MIS or Kiva. `words` is what came back when it last did not answer well."""

    last_good: datetime | None = None
    away_since: datetime | None = None
    words: str = ""


@dataclass(frozen=True)
class StreamStanding:
    """How it is with the MIS's stream of changes: followed now (`live`), wanted (`made`), or why not.

    `kept` is how many bytes of its log the MIS keeps for it.
    """

    live: bool = False
    made: bool = False
    why: str = ""
    kept: int = 0
    wal_status: str = ""


@dataclass(frozen=True)
class LastHeartbeat:
    """What a relay last wrote about itself.

    `modes` is stream → capture mode; `stopped_streams` is stream → why it is not read; `horizon_age` is for how many
    seconds the oldest transaction of the MIS has been open, `pinned_by` whose it is; `edited` are files that are not
    in force; `no_room` says how full the disk is, when it is too full.
    """

    beats_at: datetime
    started_at: datetime
    pid: int
    mis: ServerHealth = ServerHealth()
    kiva: ServerHealth = ServerHealth()
    modes: Mapping[str, str] = field(default_factory=dict)
    stopped_streams: Mapping[str, str] = field(default_factory=dict)
    horizon_age: float = 0.0
    pinned_by: str = ""
    stream: StreamStanding = StreamStanding()
    edited: tuple[str, ...] = ()
    no_room: str = ""

    def is_alive(self, now: datetime) -> bool:
        """Did it beat just now?"""
        return now - self.beats_at < ALIVE_FOR


def read(tx: Connection) -> LastHeartbeat | None:
    """The last heartbeat; None when no relay ever ran on this outbox, or the last one stopped in order."""
    stored = stored_form(tx)
    return None if stored is None else _of(stored)


def stored_form(tx: Connection) -> Mapping[str, Any] | None:
    """The same as it is stored, for programs."""
    text = binding.get(tx, _NAME)
    return None if text is None else orjson.loads(text)


def is_alive(tx: Connection, now: datetime) -> bool:
    """Is a relay running on this outbox?"""
    last = read(tx)
    return last is not None and last.is_alive(now)


def _of(stored: Mapping[str, Any]) -> LastHeartbeat:
    stream = stored.get("replication") or {}
    return LastHeartbeat(
        beats_at=datetime.fromisoformat(stored["beats_at"]),
        started_at=datetime.fromisoformat(stored["started_at"]),
        pid=stored["pid"],
        mis=_server(stored.get("mis") or {}),
        kiva=_server(stored.get("kiva") or {}),
        modes=stored.get("modes") or {},
        stopped_streams=stored.get("stopped_streams") or {},
        horizon_age=stored.get("horizon_age") or 0.0,
        pinned_by=stored.get("pinned_by") or "",
        stream=StreamStanding(
            live=bool(stream.get("live")),
            made=bool(stream.get("made")),
            why=stream.get("why") or "",
            kept=stream.get("kept") or 0,
            wal_status=stream.get("wal_status") or "",
        ),
        edited=tuple(stored.get("edited") or ()),
        no_room=stored.get("no_room") or "",
    )


def _server(stored: Mapping[str, Any]) -> ServerHealth:
    good, away = stored.get("last_good"), stored.get("away_since")
    return ServerHealth(
        last_good=None if good is None else datetime.fromisoformat(good),
        away_since=None if away is None else datetime.fromisoformat(away),
        words=str(stored.get("words") or ""),
    )
