"""Holds: where the relay must not go on alone, it says why and waits. One mechanism for all of them.

A hold is a row beside the entries: what it holds (all, a resource, or `stream:NAME`), a reason code of
`outbox/reason.py` with its parameters, since when, and who released it. Capture goes on meanwhile; only the courier
respects holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.reason import REASONS, HoldReason

ALL = "all"
_SINCE = "attempts_then"
RELAY = "the relay"
STREAM = "stream:"


@dataclass(frozen=True)
class Hold:
    """A hold in force.

    `params` are the values that belong to the reason, JSON scalars by the names that `outbox/reason.py` fills in.
    `allowance` is how many entries may pass although it holds (`release --limit`).
    """

    id: int
    what: str
    reason: str
    params: Mapping[str, Any]
    since: datetime
    held_by: str
    note: str
    allowance: int

    @property
    def why(self) -> HoldReason:
        """What is known of its reason."""
        return REASONS[self.reason]

    def keeps(self, entry: Entry) -> bool:
        """Does it keep an entry from being sent, were it ready?"""
        return self.what in (ALL, entry.resource, STREAM + entry.stream)

    def known(self, say: Callable[..., str] = str.format) -> list[str]:
        """What is known of it beyond its reason, in paragraphs; `say` fills in the blanks of a sentence."""
        return list(self.why.paragraphs({**self.params, "held_by": self.held_by, "note": self.note}, say))


_IN_FORCE = (
    sa.select(*(table.hold.c[name] for name in Hold.__dataclass_fields__))
    .where(table.hold.c.released_at.is_(None))
    .order_by(table.hold.c.id)
)


def put(
    tx: Connection,
    what: str,
    reason: str,
    *,
    now: datetime,
    params: Mapping[str, Any] | None = None,
    by: str = RELAY,
    note: str = "",
) -> bool:
    """Hold `what`; false when it is held for this reason already.

    Raises:
        ValueError: there is no such reason.
    """
    if reason not in REASONS:
        raise ValueError(reason)
    if any(held.what == what and held.reason == reason for held in in_force(tx)):
        return False
    values = {
        "what": what,
        "reason": reason,
        "params": dict(params or {}),
        "since": now,
        "held_by": by,
        "note": note,
    }
    tx.execute(sa.insert(table.hold).values(**values))
    return True


def release(
    tx: Connection,
    what: str,
    *,
    by: str,
    note: str,
    now: datetime,
    limit: int | None = None,
    reason: str | None = None,
) -> list[Hold]:
    """Release the holds on exactly `what`, or let `limit` entries pass while they stay; the holds concerned."""
    concerned = [held for held in in_force(tx) if held.what == what and reason in (None, held.reason)]
    last = tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.attempt.c.id), 0))).scalar_one() if concerned else 0
    for held in concerned:
        values: dict[str, Any] = (
            {"released_at": now, "released_by": by, "release_note": note, "params": {**held.params, _SINCE: last}}
            if limit is None
            else {"allowance": held.allowance + limit}
        )
        tx.execute(sa.update(table.hold).where(table.hold.c.id == held.id).values(**values))
    return concerned


def divide(tx: Connection, everything: Hold, *, by: str, now: datetime) -> None:
    """Make a hold on everything the same hold on each resource, so that one of them can be released."""
    for resource in table.RESOURCES:
        put(
            tx,
            resource,
            everything.reason,
            now=everything.since,
            params=everything.params,
            by=everything.held_by,
            note=everything.note,
        )
    release(tx, ALL, by=by, note="divided by resource", now=now, reason=everything.reason)


def released_after(tx: Connection, what: str, reason: str) -> int:
    """The last attempt that was made when a hold was last released; 0: never. A number, for a clock can be set back."""
    columns = table.hold.c
    where = (columns.what == what, columns.reason == reason, columns.released_at.is_not(None))
    return max(
        (int(params.get(_SINCE, 0)) for params in tx.execute(sa.select(columns.params).where(*where)).scalars()),
        default=0,
    )


def released_since(tx: Connection, what: str, reason: str, moment: datetime) -> bool:
    """Did a person release such a hold after `moment`?"""
    columns = table.hold.c
    where = (columns.what == what, columns.reason == reason, columns.released_by != RELAY, columns.released_at > moment)
    return tx.execute(sa.select(columns.id).where(*where).limit(1)).first() is not None


def in_force(tx: Connection) -> list[Hold]:
    """All holds that were not released, oldest first."""
    return [Hold(**row._mapping) for row in tx.execute(_IN_FORCE)]  # noqa: SLF001 - SQLAlchemy's public name


def newest(tx: Connection) -> int:
    """The number of the hold that was put last, released or not; 0: there was none."""
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.max(table.hold.c.id), 0))).scalar_one())


def was_ever(tx: Connection, reason: str) -> bool:
    """Was anything ever held for this reason, released or not?"""
    return tx.execute(sa.select(table.hold.c.id).where(table.hold.c.reason == reason).limit(1)).first() is not None


def passes(holds: Sequence[Hold], resource: str) -> int | None:
    """How many entries of a resource these let pass: None without a hold on it, else the smallest allowance."""
    allowances = [held.allowance for held in holds if held.what in (ALL, resource)]
    return min(allowances) if allowances else None


def streams(holds: Sequence[Hold]) -> list[str]:
    """The streams that are held by name: nothing that they made goes."""
    return [held.what.removeprefix(STREAM) for held in holds if held.what.startswith(STREAM)]


def use_allowance(tx: Connection, holds: Sequence[Hold], resource: str, number: int) -> None:
    """Take `number` from the allowance of every hold on the resource."""
    for held in holds:
        if held.what in (ALL, resource):
            where = (table.hold.c.id == held.id, table.hold.c.allowance >= number)
            tx.execute(sa.update(table.hold).where(*where).values(allowance=table.hold.c.allowance - number))
