"""MIS, outbox and Kiva, read in parts and compared: at night by the relay, and when a person asks.

Each part is one picture of the outbox, so that the three sides of a loan fit together; a hundred thousand loans take no
more room than a thousand.
"""

# ruff: noqa: S608 - the texts are put together of parts of this file alone

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.account import reconcile
from kiva_relay.account.reconcile import Discrepancy, DiscrepancyKind, LoanSides, OfMis, OfOutbox, Reconciling
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import (
    decision,
    discrepancy,
    meta,
    mirror,
    mirror_table,
    report,
    table,
    unread,
    watermark,
)
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.discrepancy import FoundApart
from kiva_relay.outbox.meta import Reconciled
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.report import facts, mis_row
from kiva_relay.report.suggestion import Suggestion, Unclear
from kiva_relay.resource import loan_id as spelled

PART = 400
"""So many loans are compared at a time."""

_captured, _mirror, _entry = table.captured.c, mirror_table.mirror.c, table.entry.c
_ROWS = sa.select(
    _captured.identity,
    _captured.in_scope,
    _captured.gone,
    _captured.lent,
    _captured.repaid,
    _captured.written_off,
    _captured.client_id,
    _captured.captured_at,
    _captured.created_at,
)
_OF_RESOURCE = _ROWS.where(
    _captured.resource == sa.bindparam("resource"), _captured.identity.in_(sa.bindparam("ids", expanding=True))
)
_OF_ENTRY = (
    "e.id, e.identity, e.loan_id, e.client_id, e.amount, e.currency, e.publish_by, e.evidence, e.settled_at, e.done_at"
)
# By the index `entry_at_kiva`: its condition has to stand here word by word.
_DELIVERED = f"SELECT {_OF_ENTRY} FROM entry e WHERE e.state = 'delivered' AND e.resource = 'loan_draft'"
_TYPES = {"publish_by": table.entry.c.publish_by.type, "settled_at": table.entry.c.settled_at.type}
_BY_IDENTITY = (
    sa.text(f"{_DELIVERED} AND e.identity IN :ids").bindparams(sa.bindparam("ids", expanding=True)).columns(**_TYPES)
)
_BY_LOAN = (
    sa.text(f"SELECT {_OF_ENTRY} FROM entry e WHERE e.loan_fold IN :folds AND e.resource || '' = 'loan_draft'"
            " AND e.state || '' = 'delivered'")
    .bindparams(sa.bindparam("folds", expanding=True))
    .columns(**_TYPES)
)  # fmt: skip
_NEXT_DRAFTS = sa.text(f"{_DELIVERED} AND e.identity > :after ORDER BY e.identity LIMIT :most").columns(**_TYPES)
# By the index `entry_position`, likewise.
_TOLD = (
    sa.text("""
SELECT e.loan_id, e.amount, p.basis, p.lent, coalesce(r.finalised_at, r.closed_at) AS closed_at
FROM entry e JOIN report r ON r.period = e.period LEFT JOIN position p ON p.entry_id = e.id
WHERE e.resource = 'repayment' AND e.state <> 'superseded' AND e.state = 'delivered' AND e.loan_id IN :loans
  AND r.closed_at IS NOT NULL
ORDER BY e.period, e.version
""")
    .bindparams(sa.bindparam("loans", expanding=True))
    .columns(closed_at=table.entry.c.settled_at.type)
)
_REPORTED = sa.text(
    "SELECT DISTINCT loan_id FROM entry WHERE resource = 'repayment' AND state <> 'superseded'"
    " AND state = 'delivered' AND loan_id IN :loans"
).bindparams(sa.bindparam("loans", expanding=True))
_SHARED_FOLDS = sa.text("SELECT loan_fold FROM mirror WHERE loan_fold <> '' GROUP BY loan_fold HAVING count(*) > 1")
_SEEN_BEFORE = ("adopted", "look_up")
"""Evidence of a draft that Kiva listed."""


class _Compared(NamedTuple):
    """A part that was compared: what was found, behind which key it goes on, and how many it had."""

    found: list[FoundApart]
    after: str
    size: int


_Part = Callable[[Connection, Reconciling, str], _Compared]


def run(outbox: Outbox, settings: Settings, *, now: datetime) -> Reconciled | None:
    """Compare all, and keep what differs; None where Kiva's list was never read whole.

    Raises:
        OutboxAway: the outbox cannot be read or written.
    """
    with outbox.read() as tx:
        refresh = mirror.last_complete(tx)
        if refresh is None:
            return None
        known, shared = _situation(tx, settings, now=now), _shared_keys(tx)
    name = now.isoformat()
    parts: tuple[_Part, ...] = (partial(_kiva_part, shared=shared), _draft_part)
    counts = [_through(outbox, part, known, run=name) for part in parts]
    compared = Reconciled(now, refresh.started_at, counts[0], counts[1], known.book_is_read)
    with outbox.begin() as tx:
        discrepancy.finish(tx, run=name, compared=compared)
    return compared


def _through(outbox: Outbox, part: _Part, known: Reconciling, *, run: str) -> int:
    """Compare part by part; how many loans there were."""
    after, size = "", 0
    while True:
        with outbox.read() as tx:
            compared = part(tx, known, after)
        if compared.found:
            with outbox.begin() as tx:
                discrepancy.keep(tx, compared.found, run=run, now=known.now)
        size += compared.size
        if compared.size < PART:
            return size
        after = compared.after


def _situation(tx: Connection, settings: Settings, *, now: datetime) -> Reconciling:
    closed = [one.closed_at for one in report.every(tx) if one.closed_at is not None]
    return Reconciling(
        now=now,
        today=now.astimezone(ZoneInfo(settings.mis.timezone)).date(),
        book_is_read="repayment" in settings.resources and _is_read(tx),
        closed_at=max(closed, default=None),
    )


def _is_read(tx: Connection) -> bool:
    """Was the book of repayments, in which every loan stands for its whole life, read whole?"""
    marks = watermark.watermarks(tx)
    of_repayments = [mark for name, mark in marks.items() if unread.resource_of(tx, name) == "repayment"]
    whole = all(mark.backfilled_at is not None and mark.scan != "backfill" for mark in marks.values())
    return bool(of_repayments) and whole


# ---------------------------------------------------------------- from Kiva's list


def _kiva_part(tx: Connection, known: Reconciling, after: str, *, shared: set[str]) -> _Compared:
    loans = mirror.after(tx, after, most=PART)
    if not loans:
        return _Compared([], after, 0)
    aliases = _aliases(tx)
    identities = {loan.kiva_id: _identity(loan, aliases) for loan in loans}
    rows, ours = _rows(tx, identities.values()), _drafts(tx, loans, identities)
    twins = _twins(tx, identities, aliases, shared & {spelled.key(loan.loan_id) for loan in loans})
    told = _told(tx, [loan for loan in loans if _is_repaid(rows.get(identities[loan.kiva_id]))])
    found: list[Discrepancy] = []
    for loan in loans:
        identity = identities[loan.kiva_id]
        sides = LoanSides(loan, ours.get(identity), rows.get(identity), twins.get(identity, ()), told.get(loan.loan_id))
        found += reconcile.compare(sides, known)
    strange = {one.kiva_id for one in found if one.kind is DiscrepancyKind.UNKNOWN_HERE}
    suggested = _suggestions(tx, [loan for loan in loans if loan.kiva_id in strange], aliases)
    return _Compared([_apart(one, suggested.get(one.kiva_id)) for one in found], loans[-1].kiva_id, len(loans))


def _apart(one: Discrepancy, probably: Suggestion | Unclear | None) -> FoundApart:
    suggested, because = None, None
    if one.kind is DiscrepancyKind.UNKNOWN_HERE:
        match probably:
            case Suggestion():
                suggested, because = probably.identity, probably.because
            case Unclear():
                because = (discrepancy.AS_LIKELY, *probably.rows)
    return FoundApart(
        one.kind.value,
        one.subject,
        one.kiva_id,
        one.loan_id,
        one.entry,
        dict(one.params),
        suggested,
        None if because is None else list(because),
    )


def _aliases(tx: Connection) -> dict[str, str]:
    return {**(meta.ALIASES.get(tx) or {}), **decision.aliases(tx)}


def _identity(loan: MirroredLoan, aliases: Mapping[str, str]) -> str:
    """The MIS's key of a loan; of one that has no id at Kiva, none that could be anybody's."""
    key = spelled.key(loan.loan_id)
    return aliases.get(key, key) or f"({loan.kiva_id})"


def _is_repaid(row: OfMis | None) -> bool:
    return row is not None and row.lent is not None and row.repaid is not None and row.repaid >= row.lent


def _rows(tx: Connection, identities: Iterable[str]) -> dict[str, OfMis]:
    """What capture knows of loans, by identity: of both resources, for a draft's row leaves its scope in the end."""
    wanted, found = sorted(set(identities)), dict[str, OfMis]()
    for resource in ("loan_draft", "repayment"):
        for row in tx.execute(_OF_RESOURCE, {"resource": resource, "ids": wanted}):
            one = _row(row, reported=resource == "repayment")
            before = found.get(one.identity)
            found[one.identity] = one if before is None else _together(before, one)
    return found


def _row(row: Any, *, reported: bool) -> OfMis:
    lent, repaid, written_off = (
        None if text is None else Decimal(text) for text in (row.lent, row.repaid, row.written_off)
    )
    return OfMis(
        row.identity,
        bool(row.in_scope),
        bool(row.gone) and not row.in_scope,
        reported,
        lent,
        repaid,
        written_off,
        row.client_id or "",
        row.captured_at,
        row.created_at or "",
    )


def _together(one: OfMis, other: OfMis) -> OfMis:
    """Two rows of one loan: the amounts of that which is reported and in scope; gone where both are."""
    better = max((one, other), key=lambda row: (row.in_scope, row.reported))
    if other.reported and not better.reported:
        better = other
    return better._replace(
        in_scope=any(row.in_scope for row in (one, other) if row.reported == better.reported),
        gone=one.gone and other.gone,
    )


def _drafts(tx: Connection, loans: Sequence[MirroredLoan], identities: Mapping[str, str]) -> dict[str, OfOutbox]:
    """Our drafts of loans, by the loan's identity: found by it, else by an id that was sent."""
    wanted = sorted(set(identities.values()))
    found = {row.identity: _ours(row) for row in tx.execute(_BY_IDENTITY, {"ids": wanted})}
    others = {spelled.fold(loan.loan_id): identities[loan.kiva_id] for loan in loans if loan.loan_id}
    others = {fold: identity for fold, identity in others.items() if identity not in found}
    if others:
        for row in tx.execute(_BY_LOAN, {"folds": sorted(others)}):
            identity = others.get(spelled.fold(row.loan_id))
            if identity is not None and spelled.key(row.loan_id) == identity:
                found[identity] = _ours(row)
    return found


def _ours(row: Any, *, was_listed: bool = False) -> OfOutbox:
    return OfOutbox(
        row.id,
        row.loan_id,
        row.settled_at,
        row.client_id,
        None if row.amount is None else Decimal(row.amount),
        row.currency,
        row.publish_by,
        row.done_at is not None,
        was_listed or row.evidence in _SEEN_BEFORE,
    )


def _twins(
    tx: Connection, identities: Mapping[str, str], aliases: Mapping[str, str], shared: set[str]
) -> dict[str, list[MirroredLoan]]:
    """Of each identity that several of Kiva's loans have, these loans, by their number. `shared`: keys of several."""
    mine = set(identities.values())
    aliased = {key: own for key, own in aliases.items() if own in mine}
    if not shared and not aliased:
        return {}
    found: dict[str, dict[str, MirroredLoan]] = defaultdict(dict)
    for loan in mirror.under(tx, {*shared, *aliased, *aliased.values()}):
        if loan.status not in reconcile.OVER_IN_VAIN:
            found[_identity(loan, aliases)][loan.kiva_id] = loan
    return {identity: [each[number] for number in sorted(each)] for identity, each in found.items() if len(each) > 1}


def _shared_keys(tx: Connection) -> set[str]:
    folds, keys = list(tx.execute(_SHARED_FOLDS).scalars()), set[str]()
    for start in range(0, len(folds), PART):
        where = _mirror.loan_fold.in_(folds[start : start + PART])
        keys |= {spelled.key(loan_id) for loan_id in tx.execute(sa.select(_mirror.loan_id).where(where)).scalars()}
    return keys


def _told(tx: Connection, loans: Sequence[MirroredLoan]) -> dict[str, datetime]:
    """Loan id at Kiva → when the first report closed in which Kiva took that all is repaid.

    Not where a later one took less.
    """
    found: dict[str, datetime] = {}
    if not loans:
        return found
    for loan_id, amount, basis, lent, closed_at in tx.execute(_TOLD, {"loans": [loan.loan_id for loan in loans]}):
        repaid = facts.on_basis(amount, basis, lent, "cumulative_principal")
        if repaid is not None and lent is not None and repaid >= Decimal(lent):
            found.setdefault(loan_id, closed_at)
        else:
            found.pop(loan_id, None)
    return found


def _suggestions(
    tx: Connection, loans: Sequence[MirroredLoan], aliases: Mapping[str, str]
) -> dict[str, Suggestion | Unclear]:
    """Kiva's number of a loan → the row that it probably is, or why none is suggested."""
    return mis_row.Likeliest(tx, aliases).suggestions(loans)


# ---------------------------------------------------------------- from our drafts


def _draft_part(tx: Connection, known: Reconciling, after: str) -> _Compared:
    rows = tx.execute(_NEXT_DRAFTS, {"after": after, "most": PART}).all()
    if not rows:
        return _Compared([], after, 0)
    ids = _ids(tx, rows)
    listed = mirror.by_loan_id(tx, {one for each in ids.values() for one in each})
    absent = [row for row in rows if not any(spelled.key(one) in listed for one in ids[row.id])]
    reported = _reported(tx, [one for row in absent for one in ids[row.id]])
    of_mis = _rows(tx, [row.identity for row in absent])
    found: list[Discrepancy] = []
    for row in absent:
        ours = _ours(row, was_listed=any(one in reported for one in ids[row.id]))
        if not _is_deleted(tx, ids[row.id]):
            found += reconcile.compare(LoanSides(None, ours, of_mis.get(row.identity)), known)
    return _Compared([_apart(one, None) for one in found], rows[-1].identity, len(rows))


def _ids(tx: Connection, rows: Sequence[Any]) -> dict[int, list[str]]:
    """Under which ids Kiva may list each draft: ours, and those that persons said are the same loan."""
    others: dict[str, list[str]] = defaultdict(list)
    for at_kiva, own in _aliases(tx).items():
        others[own].append(at_kiva)
    return {row.id: [row.loan_id, row.identity, *others.get(row.identity, ())] for row in rows}


def _reported(tx: Connection, loan_ids: Sequence[str]) -> set[str]:
    """Those of which Kiva took a position: it had them."""
    found: set[str] = set()
    remaining = iter(loan_ids)
    while some := list(islice(remaining, PART)):
        found |= set(tx.execute(_REPORTED, {"loans": some}).scalars())
    return found


def _is_deleted(tx: Connection, loan_ids: Sequence[str]) -> bool:
    """Does Kiva's list say itself that it was deleted? Then it was compared from there."""
    folds, keys = {spelled.fold(one) for one in loan_ids}, {spelled.key(one) for one in loan_ids}
    where = (_mirror.loan_fold.in_(sorted(folds)), _mirror.status.in_(mirror.GONE))
    return any(spelled.key(one) in keys for one in tx.execute(sa.select(_mirror.loan_id).where(*where)).scalars())


@dataclass(frozen=True)
class Reconciliation:
    """The newest comparison, and what it found. `compared` is None before the first."""

    compared: Reconciled | None
    found: tuple[discrepancy.KeptDiscrepancy, ...]


def last(tx: Connection, *, besides_seen: bool = False) -> Reconciliation:
    """What the newest comparison found."""
    return Reconciliation(meta.RECONCILED.get(tx), tuple(discrepancy.every(tx, besides_seen=besides_seen)))


def accept(tx: Connection, one: discrepancy.KeptDiscrepancy, *, by: str, note: str, now: datetime) -> None:
    """A person takes what is suggested: the loan at Kiva is this one of the MIS's, for its whole life.

    The act is the same as `report decide --is`, and is taken back in the same way.
    """
    decision.say_whose(tx, one.kiva_id, one.loan_id, one.suggested or "", by=by, note=note, now=now)
    watermark.read_identities_again(tx, "repayment", [one.suggested or ""])
    discrepancy.forget(tx, [], [one.kiva_id])
