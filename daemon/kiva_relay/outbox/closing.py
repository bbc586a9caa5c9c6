"""Positions whose report closes: what was not sent of them is over, and what Kiva may hold stays said.

All functions take an open writing transaction (`Outbox.begin()`), as `store` does.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import query, store, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import Actor, State

CLOSED_UNKNOWN = "closed_unknown"


def close(tx: Connection, entry: Entry, *, reason: str, now: datetime) -> Entry:
    """End a position whose report is closed; a newer one, of the next report, goes on.

    `reason` is why what was never sent is not owed any more. Where Kiva may hold another position than the last that
    it accepted, it is `CLOSED_UNKNOWN` instead, so that this stays said.
    """
    if may_be_at_kiva(tx, entry):
        reason = CLOSED_UNKNOWN
    ended = store.move(tx, entry, State.WITHDRAWN, Actor.INTAKE, now=now, reason=reason)
    return store.follow(tx, ended, by=Actor.INTAKE, now=now)


_UNSENT_POSITIONS = (
    table.entry.c.resource == "repayment",
    table.entry.c.state.in_([State.READY.value, State.WAITING.value]),
)


def has_unsent(tx: Connection, over: sa.ColumnElement[bool]) -> bool:
    """Is there a position that is `over` and was not sent?"""
    return tx.execute(sa.select(table.entry.c.id).where(*_UNSENT_POSITIONS, over).limit(1)).first() is not None


def close_all(
    tx: Connection, over: sa.ColumnElement[bool], *, reason: str, keep: Collection[str], now: datetime
) -> int:
    """End at once all positions that were never sent and are `over`; how many. A reason of `keep` stays.

    Those of which Kiva may hold another one were closed before, each for itself: nothing waits behind what is left.
    """
    entry = table.entry.c
    for state in (State.READY, State.WAITING):
        machine.check(state, State.WITHDRAWN, Actor.INTAKE)
    ended = sa.update(table.entry).where(*_UNSENT_POSITIONS, over)
    values = {
        "state": State.WITHDRAWN.value,
        "reason": sa.case((entry.reason.in_(sorted(keep)), entry.reason), else_=reason),
        "changed_at": now,
        "settled_at": now,
        "row_version": entry.row_version + 1,
        "waits_for": None,
    }
    return tx.execute(ended.values(**values)).rowcount


def may_be_at_kiva(tx: Connection, entry: Entry) -> bool:
    """Was this position sent, or one since the last that Kiva accepted, and nobody knows what became of it?

    False while another of them is still in doubt: that one will say so.
    """
    other = query.stand(tx, entry.resource, entry.identity).in_flight
    last = query.last_delivered(tx, entry.resource, entry.identity, before=entry.version)
    after = 0 if last is None else last.version
    if other is not None and other.id != entry.id and after < other.version <= entry.version:
        return False
    perhaps = query.perhaps_arrived(tx, entry.resource, entry.identity, after=after, until=entry.version)
    return perhaps is not None
