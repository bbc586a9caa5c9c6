"""A borrower asks to be forgotten: what was kept of a person goes, what the bill and the promise need stays.

Names, texts, photos, the client's id and all quotes of them go at once, of every loan of the client. While Kiva expects
repayments of a loan, its id and amounts stay, for else it is billed by its schedule. Of a loan that is over, or was
never sent, only a keyed hash of its id stays, so that it is never sent (again).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, discrepancy, divergence, forgotten, mirror, query, report_table, store, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import Actor, State
from kiva_relay.resource import loan_id as spelled

_OVER = ("ended", "refunded", "expired", "inactive", "inactive_expired", *mirror.GONE)
"""At Kiva, after which nothing is reported of a loan."""
_PREFIX = "forgotten-"
_PARTS = {"yield_per": 1_000}
_entry, _attempt = table.entry.c, table.attempt.c


@dataclass(frozen=True)
class LoanOfClient:
    """A loan of a client that the relay knows. `status` is as Kiva lists it; None: it does not list it."""

    loan_id: str
    entries: tuple[Entry, ...]
    status: str | None
    kiva_ids: tuple[str, ...]

    @property
    def over(self) -> bool:
        """Does nothing more come of it, so that its id need not stay?"""
        if self.status is not None:
            return self.status in _OVER
        at_kiva = (State.SENDING, State.IN_DOUBT, State.DELIVERED)
        return not any(one.state in at_kiva for one in self.entries)

    @property
    def under_way(self) -> bool:
        """Does something of it go to Kiva, or may have gone?"""
        return any(one.state in (State.READY, *machine.IN_FLIGHT) for one in self.entries)

    def number(self, resource: str) -> int:
        """How many bodies of a resource are kept."""
        return sum(one.resource == resource for one in self.entries)


def of_client(tx: Connection, client: str) -> list[LoanOfClient]:
    """The loans of a client, by the client's id as the MIS spells it: also those of a group that has the client.

    It reads all that is kept: nothing else needs to find a client.
    """
    key, folds = spelled.key(client), set[str]()
    for row in tx.execute(sa.select(_entry.client_id, _entry.loan_fold).where(_entry.client_id != "")):
        if spelled.key(row.client_id) == key:
            folds.add(row.loan_fold)
    named = sa.select(_entry.loan_fold, _entry.body).where(_entry.body.contains(_in_json(client), autoescape=True))
    for row in tx.execute(named):
        if key in {spelled.key(one) for one in _clients(orjson.loads(row.body))}:
            folds.add(row.loan_fold)
    return [_loan(tx, fold) for fold in sorted(folds)]


def _in_json(text: str) -> str:
    return orjson.dumps(text.strip()).decode()[1:-1]


def _clients(body: Any) -> Iterator[str]:
    if isinstance(body, dict):
        for name, value in body.items():
            if name in ("client_id", "internal_client_id"):
                yield str(value)
            else:
                yield from _clients(value)
    elif isinstance(body, list):
        for each in body:
            yield from _clients(each)


def _loan(tx: Connection, fold: str) -> LoanOfClient:
    rows = tx.execute(sa.select(_entry.id).where(_entry.loan_fold == fold).order_by(_entry.id)).scalars()
    entries = tuple(entry for number in list(rows) if (entry := query.find(tx, number)) is not None)
    listed = mirror.under(tx, {entry.loan_id for entry in entries})
    live = [loan for loan in listed if loan.status not in _OVER]
    status = (live or listed)[0].status if listed else None
    return LoanOfClient(entries[0].loan_id, entries, status, tuple(loan.kiva_id for loan in listed))


def forget(tx: Connection, loans: Sequence[LoanOfClient], *, by: str, note: str, now: datetime) -> None:
    """Delete what is kept of the person in these loans.

    Raises:
        UsageError: one of them is being sent just now; nothing was changed.
    """
    for loan in loans:
        if any(one.state is State.SENDING for one in loan.entries):
            raise errors.UsageError(
                f"Loan {loan.loan_id} is being sent just now. Nothing was changed.", hint="Try it again in a minute."
            )
    for loan in loans:
        _remember(tx, loan, by=by, now=now)
        entries = [_discarded(tx, one, now=now) for one in loan.entries]
        for one in entries:
            _empty(tx, one, now=now)
        _forget_attempts(tx, [one.id for one in entries])
        discrepancy.forget(tx, [loan.loan_id], loan.kiva_ids)
        captured = table.captured.c
        its = captured.identity.in_(sorted({one.identity for one in loan.entries}))
        tx.execute(sa.update(table.captured).where(its).values(client_id=None))
        if loan.over:
            _rename(tx, loan)
    # The act names no id: it would be the only thing that still does.
    act.record(tx, by=by, verb="outbox forget", about={"loans": len(loans)}, note=note, now=now)


def finish(tx: Connection, *, now: datetime) -> int:
    """Let loans that were forgotten lose their number once they are over at Kiva; how many did.

    A loan of which something is on its way, or in doubt, waits for another night: its answer belongs to the entry as it
    is. It looks at all entries without a client, some at a time: for the night.
    """
    if not forgotten.any_at_all(tx):
        return 0
    unnamed = (_entry.client_id == "", _entry.loan_id.not_like(f"{_PREFIX}%"))
    named = tx.execute(sa.select(_entry.loan_id, _entry.loan_fold).where(*unnamed).distinct(), execution_options=_PARTS)
    found = set[str]()
    for part in named.partitions():
        ids = {row.loan_id: row.loan_fold for row in part}
        found |= {ids[one] for one in forgotten.all_of(tx, ids)}
    folds = sorted(found)
    over = [loan for loan in (_loan(tx, fold) for fold in folds) if loan.over and not loan.under_way]
    for loan in over:
        for one in loan.entries:
            _empty(tx, one, now=now)
        discrepancy.forget(tx, [loan.loan_id], loan.kiva_ids)
        _rename(tx, loan)
    return len(over)


def _remember(tx: Connection, loan: LoanOfClient, *, by: str, now: datetime) -> None:
    ids = {loan.loan_id, *(one.loan_id for one in loan.entries)}
    ids |= {one.identity for one in loan.entries if one.resource == "loan_draft"}
    forgotten.remember(tx, ids, by=by, now=now)


def _discarded(tx: Connection, one: Entry, *, now: datetime) -> Entry:
    """What was not sent is not sent any more; positions go on."""
    if one.resource not in table.CREATE_ONCE or one.state not in machine.UNSENT:
        return one
    return store.move(tx, one, State.DISCARDED, Actor.PERSON, now=now, reason="person")


def _empty(tx: Connection, one: Entry, *, now: datetime) -> None:
    """Leave of an entry what its promise needs; a position that is on its way keeps its body until it is there."""
    goes = one.resource in table.CREATE_ONCE or one.state in machine.FINAL
    values: dict[str, Any] = {"client_id": "", "row_version": _entry.row_version + 1}
    if goes:
        values |= divergence.emptied(tx, one.body, one.refusals, one.receipt, kept=one.hashes, now=now)
        was_there = one.body is not None or one.hashes
        values["hashes"] = {**values["hashes"], divergence.FORGOTTEN: True} if was_there else None
        values["done_at"] = one.done_at or now
    if one.resource in table.CREATE_ONCE:
        values["body_sha256"] = None
    tx.execute(sa.update(table.entry).where(_entry.id == one.id).values(**values))
    divergence.forget_values(tx, one.id, now=now)


def _forget_attempts(tx: Connection, numbers: Iterable[int]) -> None:
    """What was said of their attempts may quote a name."""
    member = table.batch_member.c
    batches = list(tx.execute(sa.select(member.batch_id).where(member.entry_id.in_(list(numbers)))).scalars())
    ended = (_attempt.batch_id.in_(batches), _attempt.ended_at.is_not(None))
    tx.execute(sa.update(table.attempt).where(*ended).values(detail=None, problems=None))
    upload = report_table.upload.c
    attempts = sa.select(_attempt.id).where(_attempt.batch_id.in_(batches))
    for row in tx.execute(sa.select(upload.attempt_id, upload.problems).where(upload.attempt_id.in_(attempts))).all():
        problems = [{**each, "details": ""} for each in row.problems]
        where = upload.attempt_id == row.attempt_id
        tx.execute(sa.update(report_table.upload).where(where).values(problems=problems))


def _rename(tx: Connection, loan: LoanOfClient) -> None:
    """Of a loan that is over, nobody can read the number any more."""
    for one in loan.entries:
        name = {spelt: f"{_PREFIX}{forgotten.hashed(tx, spelt)}" for spelt in (one.identity, one.loan_id, one.key)}
        values = {"identity": name[one.identity], "loan_id": name[one.loan_id], "key": name[one.key]}
        values["loan_fold"] = values["loan_id"]
        tx.execute(sa.update(table.entry).where(_entry.id == one.id).values(**values))
    identities, captured = {one.identity for one in loan.entries}, table.captured.c
    tx.execute(sa.delete(table.captured).where(captured.identity.in_(sorted(identities | {loan.loan_id}))))
    for columns, rows in (
        (report_table.report_line.c, report_table.report_line),
        (report_table.decision.c, report_table.decision),
    ):
        mine = columns.loan_id.in_(sorted({one.loan_id for one in loan.entries}))
        tx.execute(sa.update(rows).where(mine).values(loan_id=f"{_PREFIX}{forgotten.hashed(tx, loan.loan_id)}"))
