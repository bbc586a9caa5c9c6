"""Loans for which Kiva expects a report, and of which nothing of its period stands in the outbox."""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta, mirror, table
from kiva_relay.resource import loan_id as spelled


@dataclass(frozen=True)
class Unreported:
    """The loans for which Kiva expects a report, and that have no entry in its period: how many.

    `known` is how many the MIS gives; `unknown` are the ids, as Kiva spells them, of those that it does not. `alike`
    are those that it has in other letters (upper or lower case): Kiva's id, and the MIS's. `doubled`: so many more
    loans of Kiva's share their id with one that is counted elsewhere. `stamp` is what this was worked out from.
    """

    known: int = 0
    unknown: tuple[str, ...] = ()
    doubled: int = 0
    stamp: tuple[object, ...] = ()
    alike: tuple[tuple[str, str], ...] = ()


_MANY = 10_000
"""Loans for which Kiva expects a report, and which are looked for one by one."""

_EXPECTED = ", ".join(repr(status) for status in mirror.EXPECTED)
_UNREPORTED = sa.text(f"""
SELECT DISTINCT m.loan_id, CASE WHEN EXISTS (
    SELECT 1 FROM captured c WHERE c.resource = 'repayment' AND c.identity = m.loan_id AND c.in_scope
  ) THEN 1 ELSE 0 END AS known
FROM mirror m
WHERE m.status IN ({_EXPECTED})
  AND m.loan_id NOT IN (SELECT e.loan_id FROM entry e WHERE e.settled_at IS NULL AND e.resource = 'repayment')
  AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.kiva_id = m.kiva_id AND d.period = :period
    AND d.undone_at IS NULL AND d.verb = 'leave_out')
  AND NOT EXISTS (
    SELECT 1 FROM entry e WHERE e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id
      AND e.period = :period AND (e.state <> 'withdrawn' OR e.{table.LEFT_AT_CLOSING.partition(" AND ")[2]}))
""")
_DOUBLED = sa.text(f"SELECT count(*) - count(DISTINCT loan_id) FROM mirror WHERE status IN ({_EXPECTED})")
_ROWS = 5_000
_LAST_ENTRY = sa.select(sa.func.max(table.entry.c.id))


def find(
    tx: Connection, stamp: tuple[object, ...], *, period: str, before: Unreported | None, recent: bool
) -> Unreported:
    """The loans for which Kiva expects a report, and that have no entry in its period.

    Args:
        tx: a reading transaction.
        stamp: what was counted in the same picture, its period first; what this is worked out from stands behind it.
        period: that of the report, YYYY-MM.
        before: what was found last; taken as it is while nothing that it was worked out from has moved.
        recent: that was just now. Where there are many, it takes a third of a second, and is not asked again so soon.
    """
    if recent and before is not None and before.stamp[:1] == (period,) and before.known > _MANY:
        return before
    last = mirror.last_complete(tx)
    stamp = (*stamp, mirror.last_reading(tx) if last is None else last.id, tx.execute(_LAST_ENTRY).scalar())
    if before is not None and before.stamp == stamp:
        return before
    own = meta.ALIASES.get(tx) or {}
    # One by one: of a hundred thousand that a report begins with, the MIS knows nearly all.
    number, keys = 0, dict[str, str]()
    for loan_id, is_known in tx.execute(_UNREPORTED, {"period": period}):
        number += 1
        if not is_known:
            # Another spelling of the same id, or one that was typed by hand, whose own id somebody wrote down.
            keys[loan_id] = spelled.key(loan_id)
    given = _in_scope(tx, {own.get(key, key) for key in keys.values()})
    unknown = sorted(loan_id for loan_id, key in keys.items() if own.get(key, key) not in given)
    # Every row of the MIS is compared: once for these loans, and again when Kiva's list was read again.
    same = before is not None and before.stamp[-2:-1] == stamp[-2:-1] and _unknown(before) == unknown
    alike = before.alike if before is not None and same else _alike(tx, unknown)
    named = {kiva_id for kiva_id, _ in alike}
    return Unreported(
        known=number - len(unknown),
        unknown=tuple(loan_id for loan_id in unknown if loan_id not in named),
        doubled=tx.execute(_DOUBLED).scalar_one(),
        stamp=stamp,
        alike=alike,
    )


def _unknown(before: Unreported) -> list[str]:
    return sorted({*before.unknown, *(kiva_id for kiva_id, _ in before.alike)})


def _alike(tx: Connection, loan_ids: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Those of some ids of Kiva's that a row of the MIS has in other letters (upper or lower case), with the MIS's."""
    columns, wanted = table.captured.c, {spelled.fold(loan_id): loan_id for loan_id in loan_ids}
    if not wanted:
        return ()
    query = sa.select(columns.identity).where(
        columns.resource == "repayment", columns.in_scope, columns.identity.is_not(None)
    )
    found = {
        (wanted[fold], identity)
        for identity in tx.execute(query.execution_options(yield_per=_ROWS)).scalars()
        if (fold := spelled.fold(identity)) in wanted
    }
    return tuple(sorted(found))


def _in_scope(tx: Connection, identities: Collection[str]) -> set[str]:
    """Those of some identities that a row of the MIS has, in scope."""
    columns, wanted, found = table.captured.c, sorted(identities), set[str]()
    for start in range(0, len(wanted), 500):
        where = (columns.resource == "repayment", columns.in_scope, columns.identity.in_(wanted[start : start + 500]))
        found |= set(tx.execute(sa.select(columns.identity).where(*where)).scalars())
    return found
