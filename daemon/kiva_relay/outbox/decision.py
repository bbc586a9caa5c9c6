"""What persons decided about loans of a report: one row each, and the newest of a loan is in force.

A row writes no entry. It is one of the things by which capture decides what is owed, so a look at the MIS, a reload and
a sweep all come to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, report_table
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.resource import loan_id as spelled

FOR_LIFE = ""
"""The period of a decision that holds for the loan's whole life."""
REPLACED = "a newer decision"
"""Who undid a decision, where another one took its place."""

_columns = report_table.decision.c


@dataclass(frozen=True)
class Decision:
    """What a person decided about one loan of Kiva's.

    Attributes:
        period: YYYY-MM; empty: for the loan's whole life.
        kiva_id, loan_id: the loan, as Kiva lists it.
        verb: `send` what the MIS gives, `keep` what Kiva took last, `leave_out`, `value`, or `is`.
        value: the amount of `value`, the MIS's own id of `is`.
        seen: what was decided about: amounts as text, by name. It binds to `position`, `lent_at_kiva` and `currency`.
        late: it is sent although its report is closed.
    """

    id: int
    at: datetime
    period: str
    kiva_id: str
    loan_id: str
    verb: str
    value: str | None
    seen: Mapping[str, Any]
    person: str
    note: str
    late: bool
    undone_at: datetime | None = None
    undone_by: str | None = None

    def binds(self, position: str | None, lent_at_kiva: str | None, currency: str | None) -> bool:
        """Are the amounts still those that it was about?"""
        now_is = {"position": position, "lent_at_kiva": lent_at_kiva, "currency": currency}
        return all(self.seen.get(name) == value for name, value in now_is.items())


_ALL = sa.select(*(_columns[name] for name in Decision.__dataclass_fields__))
_FOR_LIFE = _ALL.where(report_table.FOR_LIFE).order_by(_columns.id)


def put(
    tx: Connection,
    *,
    period: str,
    kiva_id: str,
    loan_id: str,
    verb: str,
    value: str | None,
    seen: Mapping[str, Any],
    by: str,
    note: str,
    late: bool,
    now: datetime,
) -> int:
    """Write a decision down, in the place of the one in force; its number."""
    undo(tx, kiva_id, period=period, by=REPLACED, now=now)
    values = {
        "at": now,
        "period": period,
        "kiva_id": kiva_id,
        "loan_id": loan_id,
        "verb": verb,
        "value": value,
        "seen": dict(seen),
        "person": by,
        "note": note,
        "late": late,
    }
    key = tx.execute(sa.insert(report_table.decision).values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 - the table numbers its rows
    return int(key[0])


def say_whose(tx: Connection, kiva_id: str, loan_id: str, identity: str, *, by: str, note: str, now: datetime) -> int:
    """A person says, outside of any report, which of the MIS's loans one of Kiva's is; it holds for its whole life.

    `identity` is the MIS's own id, as a key.
    """
    number = put(
        tx,
        period=FOR_LIFE,
        kiva_id=kiva_id,
        loan_id=loan_id,
        verb="is",
        value=identity,
        seen={},
        by=by,
        note=note,
        late=False,
        now=now,
    )
    about = {"kiva_id": kiva_id, "period": FOR_LIFE, "decision": number}
    act.record(tx, by=by, verb="report decide --is", about=about, note=note, now=now)
    return number


def undo(tx: Connection, kiva_id: str, *, period: str, by: str, now: datetime) -> bool:
    """Take back the decision in force about a loan; false when there is none."""
    where = (report_table.IN_FORCE, _columns.kiva_id == kiva_id, _columns.period == period)
    undone = sa.update(report_table.decision).where(*where).values(undone_at=now, undone_by=by)
    return tx.execute(undone).rowcount > 0


def newest(decided: Mapping[str, Decision], loans: Iterable[MirroredLoan]) -> Decision | None:
    """Of decisions by `kiva_id`, the newest about one of some loans: those that share an id share it."""
    found = [decided[loan.kiva_id] for loan in loans if loan.kiva_id in decided]
    return max(found, key=lambda one: one.id, default=None)


def in_force(tx: Connection, period: str) -> dict[str, Decision]:
    """The decisions in force of a period, by `kiva_id`."""
    where = (_columns.period == period, report_table.STILL_IN_FORCE)
    return {row.kiva_id: _of(row) for row in tx.execute(_ALL.where(*where))}


def all_of(tx: Connection, period: str) -> list[Decision]:
    """Every decision of a period, oldest first, also those that were undone."""
    return [_of(row) for row in tx.execute(_ALL.where(_columns.period == period).order_by(_columns.id))]


def of_loan(tx: Connection, loan_id: str) -> list[Decision]:
    """Every decision about a loan, as Kiva spells its id, oldest first; also those that were undone."""
    return [_of(row) for row in tx.execute(_ALL.where(_columns.loan_id == loan_id).order_by(_columns.id))]


def for_life(tx: Connection) -> list[Decision]:
    """What is known for life: which of the MIS's loans each of these is. Oldest first."""
    return [_of(row) for row in tx.execute(_FOR_LIFE)]


def aliases(tx: Connection) -> dict[str, str]:
    """Ids at Kiva, and the MIS's own of the same loan, as persons said it; both as keys."""
    return {spelled.key(one.loan_id): spelled.key(one.value or "") for one in for_life(tx)}


def _of(row: sa.Row[Any]) -> Decision:
    return Decision(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
