"""What Kiva says it has: the rows of `GET /loans`, kept; filled by delivery, read by capture and the courier."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta, mirror_table
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

LIVE = ("fundRaising", "raised", "reviewed", "issue", "payingBack", "defaulted")
"""Statuses in which something can still be done about a loan at Kiva, or is owed for it."""

GONE = ("deleted",)
"""Statuses in which Kiva does not have the loan."""

OVERTAKEN = "a person deleted a draft in PA2 meanwhile"
"""Why a reading of the list does not count."""

SAME_FOR = timedelta(hours=3)
"""So long the list must have lacked the same before a person may take it as it is."""

_CHUNK = 500
_PAGE = 5000


@dataclass(frozen=True, slots=True)
class MirroredLoan:
    """A loan as Kiva lists it. Ids are exactly as Kiva spells them; the amount is Decimal text.

    `status_detail`, `delinquent` and `borrower_count` are None where Kiva does not say, as is `created_on`: the day on
    which Kiva got it, as ISO text in UTC.
    """

    kiva_id: str
    loan_id: str
    client_id: str
    status: str
    amount: str | None = None
    currency: str | None = None
    uuid: str | None = None
    status_detail: str | None = None
    delinquent: bool | None = None
    borrower_count: int | None = None
    created_on: str | None = None


LOAN_COLUMNS = tuple(mirror_table.mirror.c[name] for name in MirroredLoan.__dataclass_fields__)
"""Of the table, in the order of a loan's values."""
_LOANS = sa.select(*LOAN_COLUMNS).order_by(mirror_table.mirror.c.kiva_id)
# By the loan's number at Kiva: joined to nothing, its status serves no index, and no part is sorted again.
_EXPECTED = sa.text(
    "SELECT kiva_id, loan_id FROM mirror"  # noqa: S608 - our own words
    f" WHERE kiva_id > :after AND status || '' IN ({', '.join(map(repr, EXPECTED))}) ORDER BY kiva_id LIMIT :most"
)
_LAST_READING = (
    sa.select(mirror_table.mirror_refresh.c.id)
    .where(mirror_table.mirror_refresh.c.ended_at.is_not(None))
    .order_by(mirror_table.mirror_refresh.c.id.desc())
    .limit(1)
)
_LAST_COMPLETE = (
    sa.select(*(mirror_table.mirror_refresh.c[name] for name in ("id", "started_at", "ended_at")))
    .where(mirror_table.mirror_refresh.c.complete, mirror_table.mirror_refresh.c.started_at > sa.bindparam("after"))
    .order_by(mirror_table.mirror_refresh.c.id.desc())
    .limit(1)
)
_SOME_IDS = (
    sa.select(mirror_table.mirror.c.kiva_id)
    .where(mirror_table.mirror.c.kiva_id > sa.bindparam("after"))
    .order_by(mirror_table.mirror.c.kiva_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_EVENT = mirror_table.mirror_event
_KNOWN = sa.select(*LOAN_COLUMNS).where(mirror_table.mirror.c.kiva_id.in_(sa.bindparam("kiva_ids", expanding=True)))
_CHANGE = sa.update(mirror_table.mirror).where(mirror_table.mirror.c.kiva_id == sa.bindparam("its_id"))
_BY_LOAN_ID = _LOANS.where(
    mirror_table.mirror.c.loan_fold.in_(sa.bindparam("folds", expanding=True)),
    mirror_table.mirror.c.status.not_in(GONE),
)


@dataclass(frozen=True)
class Refresh:
    """One reading of the whole list. Only a complete one proves that something is absent."""

    id: int
    started_at: datetime
    ended_at: datetime | None


def begin_refresh(tx: Connection, *, now: datetime) -> int:
    """Open a refresh and return its number."""
    key = tx.execute(sa.insert(mirror_table.mirror_refresh).values(started_at=now, complete=False)).inserted_primary_key
    assert key is not None  # noqa: S101 - the table numbers its rows
    return int(key[0])


def others(tx: Connection, loans: Collection[MirroredLoan]) -> list[MirroredLoan]:
    """Of loans that a reading lists, those that are not known just so: most of a list is as it was an hour ago."""
    known = {MirroredLoan(*row) for row in tx.execute(_KNOWN, {"kiva_ids": [loan.kiva_id for loan in loans]})}
    return [loan for loan in loans if loan not in known]


def lacking_in(tx: Connection, listed: Container[str], *, after: str = "") -> tuple[list[str], str | None]:
    """Of some loans that are known, behind a Kiva id, the ids of those that a reading did not list.

    And the last id that was looked at, behind which it goes on; None at the end.
    """
    kiva_ids = tx.execute(_SOME_IDS, {"after": after, "most": _PAGE}).scalars().all()
    end = kiva_ids[-1] if len(kiva_ids) == _PAGE else None
    return [kiva_id for kiva_id in kiva_ids if kiva_id not in listed], end


def keep(tx: Connection, refresh: int, loans: Collection[MirroredLoan]) -> None:
    """Store what a refresh listed: the first sighting of a kiva_id stays, the rest is as Kiva says now.

    That a status became another is kept for ever, with the moment: Kiva tells only what it is.
    """
    known = _known(tx, [loan.kiva_id for loan in loans])
    became = [loan for loan in loans if known.get(loan.kiva_id, loan.status) != loan.status]
    rows = {loan.kiva_id: asdict(loan) | {"loan_fold": spelled.fold(loan.loan_id)} for loan in loans}
    new = [row | {"first_seen": refresh} for kiva_id, row in rows.items() if kiva_id not in known]
    changed = [row | {"its_id": kiva_id} for kiva_id, row in rows.items() if kiva_id in known]
    if new:
        tx.execute(sa.insert(mirror_table.mirror), new)
    if changed:
        tx.execute(_CHANGE, changed)
    if became:
        began = tx.execute(sa.select(mirror_table.mirror_refresh.c.started_at).filter_by(id=refresh)).scalar_one()
        events = [
            {"kiva_id": loan.kiva_id, "at": began, "was": known[loan.kiva_id], "became": loan.status} for loan in became
        ]
        tx.execute(sa.insert(_EVENT), events)


def drop(tx: Connection, refresh: int, kiva_ids: Collection[str]) -> None:
    """Forget loans that a reading of the whole list did not find; that they were there is kept for ever.

    In parts, and before the reading is complete: one that ends in between proves nothing new, and what it did not find
    was not there all the same. A book of loans in one transaction would keep all others waiting, and its ids in memory.
    """
    gone = mirror_table.mirror.c.kiva_id.in_(kiva_ids)
    began = sa.select(mirror_table.mirror_refresh.c.started_at).filter_by(id=refresh).scalar_subquery()
    was = sa.select(mirror_table.mirror.c.kiva_id, began, mirror_table.mirror.c.status).where(gone)
    tx.execute(sa.insert(_EVENT).from_select(["kiva_id", "at", "was"], was))
    tx.execute(sa.delete(mirror_table.mirror).where(gone))


def end_refresh(
    tx: Connection, refresh: int, *, complete: bool, listed: int | None, detail: str | None, now: datetime
) -> None:
    """Close a refresh. `complete`: what it did not list was dropped before. `listed`: None where Kiva gave no list."""
    where = mirror_table.mirror_refresh.c.id == refresh
    values = {"ended_at": now, "complete": complete, "listed": listed, "detail": detail}
    tx.execute(sa.update(mirror_table.mirror_refresh).where(where).values(**values))


@dataclass(frozen=True)
class StatusChange:
    """A loan's status at Kiva became another one, or the loan is no longer listed: then `became` is None.

    `at` is when the reading of Kiva's list began that showed it.
    """

    at: datetime
    was: str
    became: str | None


def history(tx: Connection, kiva_id: str) -> list[StatusChange]:
    """How the status of a loan changed since it was first listed, oldest first."""
    columns = _EVENT.c
    found = sa.select(columns.at, columns.was, columns.became).where(columns.kiva_id == kiva_id)
    return [StatusChange(*row) for row in tx.execute(found.order_by(columns.id))]


def forget(tx: Connection, loan_ids: Sequence[str]) -> None:
    """A person says that these drafts are not at Kiva any more: until the next reading says otherwise, they are not.

    When they were listed first stays known, and what was published cannot have been deleted. A reading that is under
    way may have met them before they were deleted: it will not count.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    meant = [
        loan for loan in _alike(tx, loan_ids) if spelled.key(loan.loan_id) in keys and loan.status not in PUBLISHED
    ]
    where = mirror_table.mirror.c.kiva_id.in_([loan.kiva_id for loan in meant])
    tx.execute(sa.update(mirror_table.mirror).where(where).values(status=GONE[0]))
    under_way = mirror_table.mirror_refresh.c.ended_at.is_(None)
    tx.execute(sa.update(mirror_table.mirror_refresh).where(under_way).values(detail=OVERTAKEN))


def is_overtaken(tx: Connection, refresh: int) -> bool:
    """Did a person say, while it was read, that something of it was deleted?"""
    return tx.execute(sa.select(mirror_table.mirror_refresh.c.detail).filter_by(id=refresh)).scalar() == OVERTAKEN


def last_complete(tx: Connection, *, started_after: datetime | None = None) -> Refresh | None:
    """The newest complete refresh, if it began after the moment given."""
    row = tx.execute(_LAST_COMPLETE, {"after": started_after or _BEFORE_ALL}).one_or_none()
    return None if row is None else Refresh(*row)


def last_reading(tx: Connection) -> int | None:
    """The number of the newest reading of the list that ended, complete or not; None when none did."""
    return tx.execute(_LAST_READING).scalar()


def why_incomplete(tx: Connection) -> str:
    """Why the newest reading of the list that ended was not complete; empty when it was, or none ended yet."""
    columns = mirror_table.mirror_refresh.c
    ended = sa.select(columns.complete, columns.detail).where(columns.ended_at.is_not(None))
    row = tx.execute(ended.order_by(columns.id.desc()).limit(1)).one_or_none()
    return "" if row is None or row.complete else row.detail or ""


@dataclass(frozen=True)
class Lacking:
    """Kiva gives a list that is not whole, again and again for the same reason; `since` the first such reading."""

    why: str
    since: datetime


def lacking(tx: Connection) -> Lacking | None:
    """What the newest readings that gave a list lack, all alike; None when the newest was whole, or there is none."""
    columns, found = mirror_table.mirror_refresh.c, None
    given = sa.select(columns.started_at, columns.complete, columns.detail).where(
        columns.ended_at.is_not(None), columns.listed.is_not(None), columns.detail.is_distinct_from(OVERTAKEN)
    )
    for row in tx.execute(given.order_by(columns.id.desc())):
        if row.complete or (found is not None and row.detail != found.why):
            break
        found = Lacking(row.detail or "", row.started_at)
    return found


@dataclass(frozen=True)
class TakenReading:
    """Kiva's list lacks just what a person has taken it with. `read_at` is when the newest such reading began."""

    why: str
    read_at: datetime


def taken(tx: Connection) -> TakenReading | None:
    """Did a person take the list as it is, and is the newest reading still just that?"""
    why = meta.LIST_TAKEN.get(tx)
    if why is None:
        return None
    columns = mirror_table.mirror_refresh.c
    given = sa.select(columns.started_at, columns.complete, columns.detail).where(
        columns.ended_at.is_not(None), columns.listed.is_not(None), columns.detail.is_distinct_from(OVERTAKEN)
    )
    row = tx.execute(given.order_by(columns.id.desc()).limit(1)).one_or_none()
    return None if row is None or row.complete or row.detail != why else TakenReading(why, row.started_at)


def is_taken(tx: Connection, *, since: datetime) -> bool:
    """The same, by a reading that began after `since`."""
    found = taken(tx)
    return found is not None and found.read_at > since


def under(tx: Connection, loan_ids: Collection[str]) -> list[MirroredLoan]:
    """All loans that Kiva has under these ids, also where several share one."""
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    return [loan for loan in _alike(tx, loan_ids) if spelled.key(loan.loan_id) in keys]


def by_loan_id(tx: Connection, loan_ids: Collection[str], *, listed_by: int | None = None) -> dict[str, MirroredLoan]:
    """Loans that Kiva has under these ids, by the id's key; where several share one, that in the later stage.

    `listed_by`: only those that this reading, a complete one, showed: it forgot what it did not list.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    where = () if listed_by is None else (mirror_table.mirror.c.first_seen <= listed_by,)
    return by_key(loan for loan in _alike(tx, loan_ids, *where) if spelled.key(loan.loan_id) in keys)


def by_key(loans: Iterable[MirroredLoan]) -> dict[str, MirroredLoan]:
    """Loans by their id's key; where several share one, that in the later stage."""
    found: dict[str, MirroredLoan] = {}
    for loan in loans:
        key = spelled.key(loan.loan_id)
        if key not in found or loan.status in EXPECTED:
            found[key] = loan
    return found


def differing_in_case(tx: Connection, loan_ids: Collection[str], *, since: int = 0) -> list[MirroredLoan]:
    """Loans that Kiva has under ids that differ from all of these, and from some in case only.

    `since`: only those that this reading of the list, or a later one, was the first to show.
    """
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    alike = _alike(tx, loan_ids, mirror_table.mirror.c.first_seen >= since)
    return [loan for loan in alike if spelled.key(loan.loan_id) not in keys]


def alike(tx: Connection, loan_ids: Collection[str]) -> list[MirroredLoan]:
    """Loans that Kiva has under these ids, in whichever case."""
    return list(_alike(tx, loan_ids))


def _alike(tx: Connection, loan_ids: Collection[str], *where: sa.ColumnElement[bool]) -> Iterator[MirroredLoan]:
    folds = sorted({spelled.fold(loan_id) for loan_id in loan_ids})
    query = _BY_LOAN_ID.where(*where) if where else _BY_LOAN_ID
    for start in range(0, len(folds), _CHUNK):
        for row in tx.execute(query, {"folds": folds[start : start + _CHUNK]}):
            yield MirroredLoan(*row)


def expected(tx: Connection) -> Iterator[str]:
    """The loans for which Kiva expects a repayment report, by Kiva's spelling of the loan id; read in parts."""
    after = ""
    while part := tx.execute(_EXPECTED, {"after": after, "most": _PAGE}).all():
        yield from (loan_id for _, loan_id in part)
        after = part[-1].kiva_id


def expected_by_status(tx: Connection) -> dict[str, int]:
    """For how many loans Kiva expects a repayment report, by their status there."""
    status = mirror_table.mirror.c.status
    counted = sa.select(status, sa.func.count()).where(status.in_(EXPECTED)).group_by(status)
    return {row[0]: int(row[1]) for row in tx.execute(counted)}


def after(tx: Connection, kiva_id: str, *, most: int) -> list[MirroredLoan]:
    """The next loans in the order of their numbers at Kiva, at most so many."""
    return [MirroredLoan(*row) for row in tx.execute(_LOANS.where(mirror_table.mirror.c.kiva_id > kiva_id).limit(most))]


def sighting(tx: Connection, loan_ids: Sequence[str], *, not_before: datetime) -> MirroredLoan | None:
    """A loan under one of these ids that was not in the last complete reading before the moment given.

    A loan that was listed before proves nothing about a later attempt: it may be an older one with the same id.
    """
    refresh = mirror_table.mirror_refresh.c
    before = sa.select(sa.func.max(refresh.id)).where(refresh.complete, refresh.ended_at < not_before)
    last_before = tx.execute(before).scalar()
    if last_before is None:
        return None
    keys = {spelled.key(loan_id) for loan_id in loan_ids}
    folds = [spelled.fold(loan_id) for loan_id in loan_ids]
    new = _loans(tx, mirror_table.mirror.c.loan_fold.in_(folds), mirror_table.mirror.c.first_seen > last_before)
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


def _known(tx: Connection, kiva_ids: Sequence[str]) -> dict[str, str]:
    """The status of each of these that is known."""
    columns, known = mirror_table.mirror.c, dict[str, str]()
    for start in range(0, len(kiva_ids), _CHUNK):
        where = columns.kiva_id.in_(kiva_ids[start : start + _CHUNK])
        known.update((row[0], row[1]) for row in tx.execute(sa.select(columns.kiva_id, columns.status).where(where)))
    return known


def _loans(tx: Connection, *where: sa.ColumnElement[bool]) -> list[MirroredLoan]:
    return [MirroredLoan(*row) for row in tx.execute(_LOANS.where(*where))]
