"""Is a loan owed twice? One client, one amount, within ten days: a person is asked before the draft is sent.

What is alike is decided here, from values. It is asked when a draft becomes owed (capture), and when Kiva lists a loan
that was not there (reconciler). What a person answers is one row, and a row is one of the things by which capture
decides what is owed: it writes no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, duplicate_table, mirror, mirror_table, table, watermark
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.resource import loan_id as spelled

PROBABLE = "probable_duplicate"
"""Why a draft waits: another one, or a loan of Kiva's, is of the same client and amount."""
VERB = "draft another"
"""The act: it is another loan, and is sent."""
WITHIN = timedelta(days=10)

RESOURCE = "loan_draft"
_NEW = ("inactive", "fundRaising")
"""Statuses of loans that were posted lately, also where Kiva's list was read for the first time."""
_OVER = ("deleted", "ended", "refunded", "expired", "inactive_expired")
_FRESH, _KNOWN = "fresh", "known"


@dataclass(frozen=True)
class Likeness:
    """What a loan is recognised by. `lent` is the day of its disbursal, `known` the day when it was first seen."""

    loan_id: str
    identity: str
    client_id: str
    amount: Decimal
    currency: str
    lent: date | None
    known: date


def probable(draft: Likeness, others: Iterable[Likeness]) -> tuple[Likeness, ...]:
    """Those of the others that may be the same loan: one client, one amount, within ten days."""
    return tuple(other for other in others if _is_like(draft, other))


def _is_like(draft: Likeness, other: Likeness) -> bool:
    if not draft.client_id or draft.client_id != other.client_id or draft.amount != other.amount:
        return False
    if spelled.key(draft.loan_id) == spelled.key(other.loan_id) or draft.identity == other.identity:
        return False
    if draft.currency and other.currency and draft.currency != other.currency:
        return False
    if draft.lent is not None and other.lent is not None:
        return abs(draft.lent - other.lent) <= WITHIN
    return abs(draft.known - other.known) <= WITHIN


@dataclass(frozen=True)
class Wanted:
    """A draft of which it is asked whether it is owed twice; `ids` are those under which Kiva may list it."""

    identity: str
    loan_id: str
    client_id: str
    amount: str | None
    currency: str | None
    publish_by: date | None
    ids: tuple[str, ...]


def of_entry(entry: Entry) -> Wanted:
    """The question about an entry."""
    ids = tuple(mirror.candidates(entry))
    return Wanted(
        entry.identity, entry.loan_id, entry.client_id, entry.amount, entry.currency, entry.publish_by, ids
    )  # fmt: skip


def alike(
    tx: Connection, wanted: Wanted, *, now: datetime, since: int = 0, waiting_too: bool = False
) -> tuple[Likeness, ...]:
    """What a draft looks like, whatever was answered: other drafts, and loans that Kiva lists.

    A draft that waits for this very answer does not count, so that no two wait for each other; with `waiting_too` it
    does. With `since`, only loans that Kiva lists since that reading count.
    """
    if not wanted.client_id or wanted.amount is None:
        return ()
    drafts = [] if since else _drafts(tx, wanted.client_id, waiting_too=waiting_too)
    others = [*drafts, *_at_kiva(tx, wanted, since=since, besides={spelled.key(one.loan_id) for one in drafts})]
    if not others:
        return ()
    began = tx.execute(_FIRST, {"identity": wanted.identity}).scalar() or now
    return probable(
        Likeness(
            wanted.loan_id,
            wanted.identity,
            wanted.client_id,
            Decimal(wanted.amount),
            wanted.currency or "",
            wanted.publish_by,
            began.date(),
        ),
        others,
    )


def asked(tx: Connection, wanted: Wanted, *, now: datetime, since: int = 0) -> tuple[str, ...]:
    """The loan ids about which a person has to be asked; none where somebody said that it is another loan."""
    found = alike(tx, wanted, now=now, since=since)
    if not found or tx.execute(_SENT, {"identity": wanted.identity}).first() is not None:
        return ()
    return _unanswered(tx, wanted, found)


def in_question(tx: Connection, wanted: Wanted, *, now: datetime) -> tuple[str, ...]:
    """The loan ids that a person is shown with a draft that waits, and of which one answer speaks; none: none waits.

    They are those about which she has to be asked, and the drafts that wait for an answer of their own: of three that
    are alike two wait, each for the first alone. Answered one after the other, the second would be asked about again.
    """
    if not asked(tx, wanted, now=now):
        return ()
    return _unanswered(tx, wanted, alike(tx, wanted, now=now, waiting_too=True))


def answer(tx: Connection, entry: Entry, *, by: str, note: str, now: datetime) -> None:
    """Put down that a draft which waits is another loan than those that it looks like; the relay sends it.

    Raises:
        UsageError: it does not wait for that, or somebody has said so already.
    """
    waits = entry.state is State.WAITING and entry.reason == PROBABLE
    others = put(tx, entry, by=by, note=note, now=now) if waits else []
    if not others:
        raise errors.UsageError(
            f"Draft {entry.id} (loan {entry.loan_id}) does not wait for this answer, or somebody has given it.",
            hint=f"kiva-relay outbox show {entry.id}",
        )
    act.record(tx, by=by, verb=VERB, about={"entry": entry.id, "others": others}, note=note, now=now)
    watermark.read_identities_again(tx, RESOURCE, [entry.identity])


def put(tx: Connection, entry: Entry, *, by: str, note: str, now: datetime) -> list[str]:
    """Write down that a draft is another loan than those that it looks like: the keys of their ids, as far as asked."""
    wanted = of_entry(entry)
    others = sorted({spelled.key(one) for one in in_question(tx, wanted, now=now)})
    if not others:
        return others
    # What was said before stays said: a third loan does not make the second the same again.
    before = _answers(tx, [entry.identity]).get(entry.identity)
    known = before.others if before is not None and before.binds(wanted) else frozenset()
    row = duplicate_table.duplicate
    replaced = sa.update(row).where(duplicate_table.IN_FORCE, row.c.identity == entry.identity)
    tx.execute(replaced.values(undone_at=now))
    values = {
        "at": now,
        "identity": entry.identity,
        "client_id": entry.client_id,
        "amount": entry.amount,
        "others": sorted(known.union(others)),
        "person": by,
        "note": note,
    }
    tx.execute(sa.insert(row).values(**values))
    return others


def waiting(tx: Connection, *, now: datetime) -> list[tuple[Entry, tuple[str, ...]]]:
    """Drafts that wait for this answer, each with the loans that it looks like; not those that were answered."""
    entries = [of(row) for row in tx.execute(_WAITING)]
    found = [(entry, in_question(tx, of_entry(entry), now=now)) for entry in entries]
    return [(entry, others) for entry, others in found if others]


# ---------------------------------------------------------------- what is read

_entry = table.entry.c
_ENDED = [State.REFUSED.value, State.SUPERSEDED.value, State.WITHDRAWN.value, State.DISCARDED.value]
_DRAFTS = sa.select(
    _entry.loan_id,
    _entry.identity,
    _entry.amount,
    _entry.currency,
    _entry.publish_by,
    _entry.created_at,
    (_entry.reason.is_not_distinct_from(PROBABLE)).label("waits"),
).where(
    sa.text(table.OF_A_CLIENT),
    _entry.client_id == sa.bindparam("client_id"),
    _entry.amount.is_not(None),
    _entry.state.not_in(_ENDED),
)
_WAITING = (
    sa.select(table.entry)
    .where(_entry.state == State.WAITING.value, _entry.reason == PROBABLE, _entry.resource == RESOURCE)
    .order_by(_entry.id)
)
_FIRST = sa.select(_entry.created_at).where(
    _entry.resource == RESOURCE, _entry.identity == sa.bindparam("identity"), _entry.version == 1
)
_SENT = (
    sa.select(_entry.id)
    .where(
        _entry.resource == RESOURCE,
        _entry.identity == sa.bindparam("identity"),
        _entry.state.in_([State.SENDING.value, State.IN_DOUBT.value, State.DELIVERED.value]),
    )
    .limit(1)
)
_loan = mirror_table.mirror.c
_FIRST_READING = sa.select(sa.func.min(mirror_table.mirror_refresh.c.id)).scalar_subquery()
_AT_KIVA = (
    sa.select(
        _loan.loan_id,
        _loan.amount,
        _loan.currency,
        mirror_table.mirror_refresh.c.started_at,
        sa.case((_loan.first_seen == _FIRST_READING, _KNOWN), else_=_FRESH).label("met"),
        _loan.status,
    )
    .join(mirror_table.mirror_refresh, mirror_table.mirror_refresh.c.id == _loan.first_seen)
    .where(
        _loan.client_id == sa.bindparam("client_id"),
        _loan.amount.is_not(None),
        _loan.status.not_in(_OVER),
        _loan.first_seen >= sa.bindparam("since"),
    )
)


def _drafts(tx: Connection, client_id: str, *, waiting_too: bool) -> list[Likeness]:
    return [
        Likeness(
            row.loan_id,
            row.identity,
            client_id,
            Decimal(row.amount),
            row.currency or "",
            row.publish_by,
            row.created_at.date(),
        )
        for row in tx.execute(_DRAFTS, {"client_id": client_id})
        if waiting_too or not row.waits
    ]


def _at_kiva(tx: Connection, wanted: Wanted, *, since: int, besides: set[str]) -> list[Likeness]:
    """Loans that Kiva lists and that no draft of ours is. When it first listed one is only known of those since."""
    own = {spelled.key(loan_id) for loan_id in (*wanted.ids, wanted.loan_id, wanted.identity)} | besides
    return [
        Likeness(
            row.loan_id, "", wanted.client_id, Decimal(row.amount), row.currency or "", None, row.started_at.date()
        )
        for row in tx.execute(_AT_KIVA, {"client_id": wanted.client_id, "since": since})
        if spelled.key(row.loan_id) not in own and (row.met == _FRESH or row.status in _NEW)
    ]


@dataclass(frozen=True)
class AnotherLoan:
    """What a person said: it is another loan than these. It binds to client and amount."""

    client_id: str
    amount: Decimal
    others: frozenset[str]

    def binds(self, wanted: Wanted) -> bool:
        """Is the draft still the one about which it was said?"""
        return (
            self.client_id == wanted.client_id and wanted.amount is not None and self.amount == Decimal(wanted.amount)
        )


def _answers(tx: Connection, identities: Iterable[str]) -> Mapping[str, AnotherLoan]:
    """What is said of each of these."""
    columns = duplicate_table.duplicate.c
    query = sa.select(columns.identity, columns.client_id, columns.amount, columns.others)
    query = query.where(columns.identity.in_(sorted(set(identities))), duplicate_table.IN_FORCE)
    return {
        row.identity: AnotherLoan(row.client_id, Decimal(row.amount), frozenset(row.others))
        for row in tx.execute(query)
    }


def _unanswered(tx: Connection, wanted: Wanted, found: Sequence[Likeness]) -> tuple[str, ...]:
    """The loan ids of those of which nobody has said that they are other loans."""
    said = _answers(tx, [wanted.identity, *(one.identity for one in found if one.identity)])
    return tuple(one.loan_id for one in found if not _is_answered(wanted, one, said))


def _is_answered(wanted: Wanted, other: Likeness, said: Mapping[str, AnotherLoan]) -> bool:
    """Did a person say of one of the two that it is another loan than the other one?"""
    mine, theirs = said.get(wanted.identity), said.get(other.identity)
    if mine is not None and mine.binds(wanted) and spelled.key(other.loan_id) in mine.others:
        return True
    return theirs is not None and theirs.binds(wanted) and spelled.key(wanted.loan_id) in theirs.others
