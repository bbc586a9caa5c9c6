"""What Kiva says it has: the rows of `GET /loans`, kept; filled by delivery, read by capture and the courier."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import table
from kiva_relay.outbox.entry import Entry, Owed
from kiva_relay.resource import body as json_body
from kiva_relay.resource import loan_draft
from kiva_relay.resource import loan_id as spelled

EXPECTED = ("payingBack", "defaulted")
"""Statuses in which Kiva expects a repayment report (Kiva's SDK, "report payments")."""

PUBLISHED = (
    "fundRaising",
    "raised",
    "expired",
    "payingBack",
    "ended",
    "defaulted",
    "refunded",
    "inactive_expired",
)
"""Statuses that a loan can only have after a person published its draft."""

GONE = ("deleted",)
"""Statuses in which Kiva does not have the loan."""

OVERTAKEN = "a person deleted a draft in PA2 meanwhile"
"""Why a reading of the list does not count."""

_CHUNK = 500


@dataclass(frozen=True)
class MirroredLoan:
    """A loan as Kiva lists it. Ids are exactly as Kiva spells them; the amount is Decimal text."""

    kiva_id: str
    loan_id: str
    client_id: str
    status: str
    amount: str | None = None
    currency: str | None = None


_LOANS = sa.select(*(table.mirror.c[name] for name in MirroredLoan.__dataclass_fields__)).order_by(
    table.mirror.c.kiva_id
)
_BY_LOAN_ID = _LOANS.where(
    table.mirror.c.loan_fold.in_(sa.bindparam("folds", expanding=True)), table.mirror.c.status.not_in(GONE)
)


@dataclass(frozen=True)
class Refresh:
    """One reading of the whole list. Only a complete one proves that something is absent."""

    id: int
    started_at: datetime
    ended_at: datetime | None


def begin_refresh(tx: Connection, *, now: datetime) -> int:
    """Open a refresh and return its number."""
    key = tx.execute(sa.insert(table.mirror_refresh).values(started_at=now, complete=False)).inserted_primary_key
    assert key is not None  # noqa: S101 - the table numbers its rows
    return int(key[0])


def keep(tx: Connection, refresh: int, loans: Iterable[MirroredLoan]) -> None:
    """Store what a refresh listed: the first sighting of a kiva_id stays, the rest is as Kiva says now."""
    known = set(tx.execute(sa.select(table.mirror.c.kiva_id)).scalars())
    for loan in loans:
        values = {
            "loan_id": loan.loan_id,
            "loan_fold": spelled.fold(loan.loan_id),
            "client_id": loan.client_id,
            "status": loan.status,
            "amount": loan.amount,
            "currency": loan.currency,
            "last_seen": refresh,
        }
        if loan.kiva_id in known:
            tx.execute(sa.update(table.mirror).where(table.mirror.c.kiva_id == loan.kiva_id).values(**values))
        else:
            tx.execute(sa.insert(table.mirror).values(kiva_id=loan.kiva_id, first_seen=refresh, **values))
            known.add(loan.kiva_id)


def end_refresh(
    tx: Connection, refresh: int, *, complete: bool, listed: int, detail: str | None, now: datetime
) -> None:
    """Close a refresh; a complete one forgets what Kiva no longer lists."""
    where = table.mirror_refresh.c.id == refresh
    values = {"ended_at": now, "complete": complete, "listed": listed, "detail": detail}
    tx.execute(sa.update(table.mirror_refresh).where(where).values(**values))
    if complete:
        tx.execute(sa.delete(table.mirror).where(table.mirror.c.last_seen < refresh))


def forget(tx: Connection, loan_ids: Sequence[str]) -> None:
    """A person says that these drafts are not at Kiva any more: until the next reading says otherwise, they are not.

    When they were listed first stays known, and what was published cannot have been deleted. A reading that is under
    way may have met them before they were deleted: it will not count.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    meant = [
        loan for loan in _alike(tx, loan_ids) if spelled.key(loan.loan_id) in keys and loan.status not in PUBLISHED
    ]
    where = table.mirror.c.kiva_id.in_([loan.kiva_id for loan in meant])
    tx.execute(sa.update(table.mirror).where(where).values(status=GONE[0]))
    under_way = table.mirror_refresh.c.ended_at.is_(None)
    tx.execute(sa.update(table.mirror_refresh).where(under_way).values(detail=OVERTAKEN))


def is_overtaken(tx: Connection, refresh: int) -> bool:
    """Did a person say, while it was read, that something of it was deleted?"""
    return tx.execute(sa.select(table.mirror_refresh.c.detail).filter_by(id=refresh)).scalar() == OVERTAKEN


def last_complete(tx: Connection, *, started_after: datetime | None = None) -> Refresh | None:
    """The newest complete refresh, if it began after the moment given."""
    columns = table.mirror_refresh.c
    query = sa.select(columns.id, columns.started_at, columns.ended_at).where(columns.complete)
    if started_after is not None:
        query = query.where(columns.started_at > started_after)
    row = tx.execute(query.order_by(columns.id.desc()).limit(1)).one_or_none()
    return None if row is None else Refresh(*row)


def why_incomplete(tx: Connection) -> str:
    """Why the newest reading of the list that ended was not complete; empty when it was, or none ended yet."""
    columns = table.mirror_refresh.c
    ended = sa.select(columns.complete, columns.detail).where(columns.ended_at.is_not(None))
    row = tx.execute(ended.order_by(columns.id.desc()).limit(1)).one_or_none()
    return "" if row is None or row.complete else row.detail or ""


def by_loan_id(tx: Connection, loan_ids: Collection[str], *, listed_by: int | None = None) -> dict[str, MirroredLoan]:
    """Loans that Kiva has under these ids, by the id's key; where several share one, that in the later stage.

    `listed_by`: only those that this reading of the list showed.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    found: dict[str, MirroredLoan] = {}
    where = () if listed_by is None else (table.mirror.c.last_seen == listed_by,)
    for loan in _alike(tx, loan_ids, *where):
        key = spelled.key(loan.loan_id)
        if key in keys and (key not in found or loan.status in EXPECTED):
            found[key] = loan
    return found


def differing_in_case(tx: Connection, loan_ids: Collection[str], *, since: int = 0) -> list[MirroredLoan]:
    """Loans that Kiva has under ids that differ from all of these, and from some in case only.

    `since`: only those that this reading of the list, or a later one, was the first to show.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    alike = _alike(tx, loan_ids, table.mirror.c.first_seen >= since)
    return [loan for loan in alike if spelled.key(loan.loan_id) not in keys]


def _alike(tx: Connection, loan_ids: Collection[str], *where: sa.ColumnElement[bool]) -> Iterator[MirroredLoan]:
    folds = sorted({spelled.fold(loan_id) for loan_id in loan_ids})
    query = _BY_LOAN_ID.where(*where) if where else _BY_LOAN_ID
    for start in range(0, len(folds), _CHUNK):
        for row in tx.execute(query, {"folds": folds[start : start + _CHUNK]}):
            yield MirroredLoan(*row)


def expected(tx: Connection) -> dict[str, MirroredLoan]:
    """The loans for which Kiva expects a repayment report, by Kiva's spelling of the loan id."""
    return {loan.loan_id: loan for loan in _loans(tx, table.mirror.c.status.in_(EXPECTED))}


def sighting(tx: Connection, loan_ids: Sequence[str], *, not_before: datetime) -> MirroredLoan | None:
    """A loan under one of these ids that was not in the last complete reading before the moment given.

    A loan that was listed before proves nothing about a later attempt: it may be an older one with the same id.
    """
    refresh = table.mirror_refresh.c
    before = sa.select(sa.func.max(refresh.id)).where(refresh.complete, refresh.ended_at < not_before)
    last_before = tx.execute(before).scalar()
    if last_before is None:
        return None
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    folds = [spelled.fold(loan_id) for loan_id in loan_ids]
    new = _loans(tx, table.mirror.c.loan_fold.in_(folds), table.mirror.c.first_seen > last_before)
    return next((loan for loan in new if spelled.key(loan.loan_id) in keys), None)


def is_published(tx: Connection, entry: Entry) -> bool:
    """Has a person published the loan of this entry (any of its ids is listed in such a status)?"""
    loans = by_loan_id(tx, candidates(entry))
    return any(loan.status in PUBLISHED for loan in loans.values())


def candidates(entry: Entry | Owed) -> list[str]:
    """The ids under which Kiva may list the loan of an entry: its own, and those in the body of a draft."""
    ids = [entry.loan_id]
    if entry.resource == "loan_draft" and entry.body is not None:
        ids += loan_draft.loan_ids(json_body.decode(entry.body.encode()))
    return list(dict.fromkeys(ids))


def _loans(tx: Connection, *where: sa.ColumnElement[bool]) -> list[MirroredLoan]:
    return [MirroredLoan(*row) for row in tx.execute(_LOANS.where(*where))]
