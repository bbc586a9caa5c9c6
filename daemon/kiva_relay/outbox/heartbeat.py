"""The sign of life of a running relay: what it writes into the outbox every 5 seconds, and the commands read.

The commands are other processes. What they cannot see in the entries (does the MIS answer, since when is Kiva away,
which job is late) stands here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta

import orjson
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta

ALIVE_FOR = timedelta(seconds=30)
"""A relay whose last heartbeat is older is not running."""

_FACT = meta.text("heartbeat")


@dataclass(frozen=True)
class Reachability:
    """How one of the two servers answers: the MIS, or Kiva.

    `last_good`: when it last answered well, in UTC; None: not since the relay started.
    `away_since`: since when it does not answer, in UTC; None while it does.
    `words`: what came back last, in the server's or the network's own words; empty while it answers.
    """

    last_good: datetime | None = None
    away_since: datetime | None = None
    words: str = ""


@dataclass(frozen=True)
class StreamHealth:
    """How it is with the MIS's stream of changes (replication).

    `live`: it is followed now. `made`: somebody set it up, so that it is missed when it is not live.
    `why`: why it is not followed; empty while it is. `kept`: bytes of its log that the MIS keeps for the slot; None:
    unknown. `wal_status`: PostgreSQL's own word for the slot, as `reserved` or `unreserved`; empty: there is no slot.
    """

    live: bool = False
    made: bool = False
    why: str = ""
    kept: int | None = None
    wal_status: str = ""


@dataclass(frozen=True)
class JobHealth:
    """How one job of the schedule goes.

    `last_run`: when its work last ended, well or not, in UTC; None: not since the relay started.
    `seconds`: how long that took. `error`: the kind of error that it ended with; empty when it ended well.
    `overdue`: seconds by which it is late, 0 while it is not.
    """

    name: str
    last_run: datetime | None = None
    seconds: float = 0.0
    error: str = ""
    overdue: float = 0.0


@dataclass(frozen=True)
class Heartbeat:
    """What the relay says of itself.

    `started_at`, `beats_at`: when it started and when this was written, in UTC; `pid`: its process.
    `mis`, `kiva`: how the two servers answer.
    `streams`: the mappings in force, and the resource of each.
    `modes`: by mapping, how its changes are noticed (`replication`, `xmin`, `horizon`, `overlap`, `sweep`).
    `stopped_streams`: by mapping, why it does not fit the MIS and is not read.
    `horizon_age`: for how many seconds the oldest transaction of the MIS has been open; `pinned_by`: whose it is, empty
    when that cannot be seen.
    `replication`: the MIS's stream of changes; None where the relay follows none.
    `edited`: names of files that differ from what is in force. `no_room`: which disk is full, empty when none is.
    `stuck`: by loop of the relay, what has kept it from getting on for ten minutes.
    `jobs`: those of the schedule.
    """

    started_at: datetime
    version: str
    pid: int
    beats_at: datetime
    mis: Reachability = field(default_factory=Reachability)
    kiva: Reachability = field(default_factory=Reachability)
    streams: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    stopped_streams: Mapping[str, str] = field(default_factory=dict)
    horizon_age: float = 0.0
    pinned_by: str = ""
    replication: StreamHealth | None = None
    edited: tuple[str, ...] = ()
    no_room: str = ""
    stuck: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[JobHealth, ...] = ()

    def is_alive(self, now: datetime) -> bool:
        """Was it written just now?"""
        return now - self.beats_at < ALIVE_FOR


@functools.cache
def _stored() -> TypeAdapter[Heartbeat]:
    return TypeAdapter(Heartbeat)


def write(tx: Connection, beat: Heartbeat) -> None:
    """Replace the heartbeat by this one."""
    _FACT.put(tx, orjson.dumps(beat).decode())


def read(tx: Connection) -> Heartbeat | None:
    """The last heartbeat; None when no relay ever ran on this outbox, or the last one stopped in good order.

    One that another version of the relay wrote, and that lacks what this one needs, counts as none.
    """
    text = _FACT.get(tx)
    if text is None:
        return None
    try:
        return _stored().validate_json(text)
    except ValidationError:
        return None


def is_running(tx: Connection, now: datetime) -> bool:
    """Does a relay run on this outbox?"""
    beat = read(tx)
    return beat is not None and beat.is_alive(now)


def forget(tx: Connection) -> None:
    """The relay stopped in good order: no heartbeat."""
    _FACT.remove(tx)
