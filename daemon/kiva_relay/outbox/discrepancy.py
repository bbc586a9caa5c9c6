"""What a comparison of MIS, outbox and Kiva found: one row a difference, kept as long as it is found again.

A person may say that nothing is to be done about one: it counts no more until what each side says changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, meta, reconcile_table
from kiva_relay.outbox.store import Overtaken

_columns = reconcile_table.discrepancy.c
_CHUNK = 400
_MOST_NAMED = 5
AS_LIKELY, SHARED = "as_likely", "shared"
"""Why nothing is suggested, the first of `because`; behind it the MIS's ids that are as likely, or the one id and the
loans of Kiva's for which it is as likely."""
_AGAIN = sa.update(reconcile_table.discrepancy).where(_columns.id == sa.bindparam("its_id"))
# Of an index alone: it is asked with each heartbeat, and where Kiva lists nothing each loan of the book differs.
_UNSEEN = sa.select(_columns.kind, sa.func.count()).where(reconcile_table.UNSEEN).group_by(_columns.kind)
_SUGGESTED = reconcile_table.SUGGESTED
_SHARED = (
    sa.select(_columns.id, _columns.suggested, _columns.loan_id, _columns.kiva_id)
    .where(
        _SUGGESTED,
        _columns.suggested.in_(
            sa.select(_columns.suggested).where(_SUGGESTED).group_by(_columns.suggested).having(sa.func.count() > 1)
        ),
    )
    .order_by(_columns.loan_id, _columns.id)
)


@dataclass(frozen=True)
class FoundApart:
    """What is to be kept of a difference: `suggested` is the MIS's id of the loan that it probably is.

    `because` says why that one: amount, client, id, date. Without one, it may say why none is suggested.
    """

    kind: str
    subject: str
    kiva_id: str
    loan_id: str
    entry_id: int | None
    params: Mapping[str, str]
    suggested: str | None = None
    because: Sequence[str] | None = None


@dataclass(frozen=True)
class KeptDiscrepancy(FoundApart):
    """One that was found by the newest comparison; `id` is what it is called by."""

    id: int = 0
    since: datetime | None = None
    found_by: str = ""
    seen_at: datetime | None = None
    seen_by: str | None = None


_ALL = sa.select(*(_columns[name] for name in KeptDiscrepancy.__dataclass_fields__)).order_by(_columns.id)


def keep(tx: Connection, found: Sequence[FoundApart], *, run: str, now: datetime) -> None:
    """Keep what a comparison found in a part of the book.

    One that stands there as it is keeps its number, since when, and what a person said of it. `run` names the
    comparison: a later one sorts behind an earlier one.
    """
    known = {}
    subjects = sorted({one.subject for one in found})
    for start in range(0, len(subjects), _CHUNK):
        some = _ALL.where(_columns.subject.in_(subjects[start : start + _CHUNK]))
        known.update({(row.kind, row.subject): row for row in tx.execute(some)})
    new, again = [], []
    for one in found:
        values: dict[str, Any] = {name: getattr(one, name) for name in FoundApart.__dataclass_fields__}
        row = known.get((one.kind, one.subject))
        if row is None:
            new.append(values | {"since": now, "found_by": run})
            continue
        said = {"since": row.since, "seen_at": row.seen_at, "seen_by": row.seen_by}
        if row.params != values["params"]:
            said = {"since": now, "seen_at": None, "seen_by": None}
        again.append(values | said | {"found_by": max(run, row.found_by), "its_id": row.id})
    # Of each kind one statement: a book of which Kiva lists nothing differs in each loan.
    if new:
        tx.execute(sa.insert(reconcile_table.discrepancy), new)
    if again:
        tx.execute(_AGAIN, again)


def finish(tx: Connection, *, run: str, compared: meta.Reconciled) -> None:
    """The comparison is through: what it did not find is no difference any more.

    A row that is likely for two of Kiva's loans is suggested for none.
    """
    tx.execute(sa.delete(reconcile_table.discrepancy).where(_columns.found_by < run))
    shared = tx.execute(_SHARED).all()
    for row in shared:
        also = [one.loan_id or one.kiva_id for one in shared if one.suggested == row.suggested and one.id != row.id]
        because = [SHARED, row.suggested, *also[:_MOST_NAMED]]
        mine = sa.update(reconcile_table.discrepancy).where(_columns.id == row.id)
        tx.execute(mine.values(suggested=None, because=because))
    meta.RECONCILED.put(tx, compared)


def every(tx: Connection, *, besides_seen: bool = False, most: int | None = None) -> list[KeptDiscrepancy]:
    """Those of the newest comparison, the first found first; `besides_seen`: without what a person has seen."""
    wanted = _ALL.where(_columns.seen_at.is_(None)) if besides_seen else _ALL
    rows = tx.execute(wanted if most is None else wanted.limit(most))
    return [KeptDiscrepancy(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def of(tx: Connection, number: int) -> KeptDiscrepancy | None:
    """The one of this number."""
    row = tx.execute(_ALL.where(_columns.id == number)).one_or_none()
    return None if row is None else KeptDiscrepancy(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def must_be(tx: Connection, number: int) -> KeptDiscrepancy:
    """The one of this number.

    Raises:
        UsageError: there is none.
    """
    found = of(tx, number)
    if found is None:
        raise errors.UsageError(
            f"There is no difference {number} (any more). Nothing was changed.", hint="kiva-relay reconcile"
        )
    return found


def numbers(tx: Connection) -> dict[str, int]:
    """Kind → how many of which no person has said that nothing is to be done."""
    return {str(row[0]): int(row[1]) for row in tx.execute(_UNSEEN)}


def seen(tx: Connection, one: KeptDiscrepancy, *, by: str, note: str, now: datetime) -> None:
    """A person says that nothing more is to be done about one, as it was shown.

    Raises:
        Overtaken: it is another one now.
        UsageError: somebody has said so already.
    """
    current = of(tx, one.id)
    if current is None or current.params != one.params:
        raise Overtaken(f"difference {one.id} is no longer as it was shown")
    if current.seen_at is not None:
        raise errors.UsageError(
            f"{current.seen_by} has marked difference {one.id} (loan {one.loan_id}) already.",
            hint="kiva-relay reconcile",
        )
    where = _columns.id == one.id
    tx.execute(sa.update(reconcile_table.discrepancy).where(where).values(seen_at=now, seen_by=by))
    about = {"discrepancy": one.id, "kind": one.kind, "kiva_id": one.kiva_id, "loan": one.loan_id}
    act.record(tx, by=by, verb="reconcile done", about=about, note=note, now=now)


def forget(tx: Connection, loan_ids: Collection[str], kiva_ids: Collection[str]) -> int:
    """Delete those of some loans: a comparison finds again what is still there to be found."""
    ours = sa.or_(_columns.loan_id.in_(sorted(loan_ids)), _columns.kiva_id.in_(sorted({*kiva_ids} - {""})))
    return tx.execute(sa.delete(reconcile_table.discrepancy).where(ours)).rowcount
