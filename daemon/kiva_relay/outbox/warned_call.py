"""Calls that Kiva took, and of which it named a problem that belongs to none of their entries. Only reads."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import listing, query, table
from kiva_relay.outbox.entry import Entry


@dataclass(frozen=True)
class WarnedCall:
    """A call that Kiva took, and of which it named a problem that belongs to none of its entries.

    `number` is what Kiva calls it (an upload's id), `words` are Kiva's own about the problem.
    """

    entries: tuple[Entry, ...]
    number: str
    words: list[str]


def calls(tx: Connection) -> list[WarnedCall]:
    """Those calls, oldest first, with those of their entries that no newer one has replaced."""
    found: dict[int, list[Entry]] = {}
    for entry in listing.entries_in_order(tx, sa.text(f"entry.{table.WARNED}"), sa.not_(query.is_replaced())):
        found.setdefault(_call(tx, entry), []).append(entry)
    return [WarnedCall(tuple(entries), *_said(tx, batch, entries)) for batch, entries in found.items()]


def of_the_same_call(tx: Connection, entry: Entry) -> list[Entry]:
    """Of a call of which Kiva named a problem, the entries that nobody has settled yet; of any other, just this one."""
    if entry.evidence != "warned":
        return [entry]
    return [one for call in calls(tx) for one in call.entries if entry.id in {each.id for each in call.entries}] or [
        entry
    ]


def _call(tx: Connection, entry: Entry) -> int:
    member = table.batch_member.c
    return int(tx.execute(sa.select(sa.func.max(member.batch_id)).where(member.entry_id == entry.id)).scalar_one())


def _said(tx: Connection, batch: int, entries: Sequence[Entry]) -> tuple[str, list[str]]:
    """Kiva's number of a call, and its words about it."""
    receipt = {name: value for name, value in (entries[0].receipt or {}).items() if name != "problems"}
    named = tx.execute(sa.select(table.attempt.c.problems).where(table.attempt.c.batch_id == batch)).scalars()
    words = [one.get("details") or one.get("message") or one.get("code") for said in named for one in said or ()]
    return str(next(iter(receipt.values()), "")), list(dict.fromkeys(str(each or "?") for each in words))
