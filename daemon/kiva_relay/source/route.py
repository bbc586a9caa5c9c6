"""From committed transactions to the root keys that they concern, of those whose outcome can be seen by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.source import change, failure, watch
from kiva_relay.source.dialect import Dialect
from kiva_relay.source.pgoutput import Transaction
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

_XIDS = 2**32


@dataclass
class Routed:
    """What a look at handed-over transactions gave.

    `done` were looked at; `waiting` are committed, and no snapshot sees them yet. `keys` are root keys by stream,
    `contents` what the first of them hold. `all_changed` are streams of which all may have changed, `shrunk` those
    whose own table lost rows; `failed` those that could not be routed.
    """

    done: list[Transaction] = field(default_factory=list)
    waiting: list[Transaction] = field(default_factory=list)
    keys: dict[str, dict[str, None]] = field(default_factory=dict)
    contents: dict[str, list[Content]] = field(default_factory=dict)
    all_changed: set[str] = field(default_factory=set)
    shrunk: set[str] = field(default_factory=set)
    failed: dict[str, errors.RelayError] = field(default_factory=dict)


@dataclass(frozen=True)
class VisibleTransactions:
    """What `pg_current_snapshot()` says: all below `xmin` had ended, of those below `xmax` all but `running`."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> VisibleTransactions:
        """Read `100:104:100,102`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def sees(self, xid32: int) -> bool:
        """Whether it sees what a committed transaction did, given the last 32 bits of its id."""
        xid = self.xmax - self.xmax % _XIDS + xid32
        if xid - self.xmax > _XIDS // 2:
            xid -= _XIDS
        elif self.xmax - xid > _XIDS // 2:
            xid += _XIDS
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


def route(
    cx: sa.Connection,
    dialect: Dialect,
    streams: Sequence[Stream],
    transactions: Sequence[Transaction],
    *,
    values: Mapping[str, Mapping[str, object]],
    oids: Mapping[str, int],
) -> Routed:
    """Follow what this snapshot sees of the transactions. A newer snapshot sees it too, so pages may be read in one.

    Args:
        cx: in a snapshot.
        dialect: of PostgreSQL.
        streams: for which to follow.
        transactions: in the order of their commits.
        values: the parameters to bind, by stream.
        oids: of the tables.

    Raises:
        Blamed: a stream cannot be asked.
    """
    snapshot = VisibleTransactions.parse(str(cx.scalar(sa.text("SELECT CAST(pg_current_snapshot() AS text)"))))
    routed = Routed()
    for one in transactions:
        (routed.done if snapshot.sees(one.xid) else routed.waiting).append(one)
    for table in watch.watched(streams) if routed.done else ():
        oid = oids.get(table.table or "")
        if oid is None:
            continue
        for way in table.routes:
            name = way.stream.name
            if any(oid in one.whole for one in routed.done):
                routed.all_changed.add(name)
            if way.relation is None and any(oid in one.deleted for one in routed.done):
                routed.shrunk.add(name)
            rows = dict.fromkeys(row for one in routed.done for row in one.values(oid, way.columns))
            if rows:
                with failure.blamed({name}):
                    roots = change.roots(cx, dialect, way, values[name], rows)
                    routed.keys.setdefault(name, {}).update(dict.fromkeys(roots))
    return routed
