"""What is known of each position beside its amount: on which basis it is, and what the MIS has lent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import report_table, table
from kiva_relay.outbox.entry import OwedPosition
from kiva_relay.outbox.state import State
from kiva_relay.resource import loan_id as spelled

_entry, _position = table.entry.c, report_table.position.c
_INSERT = sa.insert(report_table.position)
_TAKEN = (
    sa.select(_entry.id, _entry.amount, _position.basis, _position.lent)
    .select_from(table.entry.outerjoin(report_table.position, _position.entry_id == _entry.id))
    .where(_entry.period != sa.bindparam("period"))
    .limit(1)
)
_LAST_CLOSED = _TAKEN.where(
    _entry.resource == "repayment", _entry.identity == sa.bindparam("identity"), sa.text(f"entry.{table.AT_KIVA}")
).order_by(_entry.version.desc())
# By the index `entry_position`, whose condition has to stand here word by word.
_LAST_OF_LOAN = _TAKEN.where(
    sa.text("entry.resource = 'repayment' AND entry.state <> 'superseded'"),
    _entry.state == State.DELIVERED.value,
    _entry.loan_id == sa.bindparam("loan_id"),
).order_by(_entry.id.desc())


@dataclass(frozen=True)
class TakenPosition:
    """What Kiva took: an amount as text, what it means, and what was lent then; None where that is not known."""

    amount: str | None
    basis: str | None
    lent: str | None


def keep(tx: Connection, entry: int, known: OwedPosition) -> None:
    """Write down what is known of an entry that is a position."""
    values = {name: getattr(known, name) for name in ("basis", "mis", "lent", "scheduled")}
    tx.execute(_INSERT, {"entry_id": entry, **values})


def last_of_another_period(tx: Connection, identity: str, loan_id: str, period: str) -> TakenPosition | None:
    """The position that Kiva took last in another period: one of this period is simply replaced.

    Of the loan at Kiva: where a loan is numbered anew in the MIS, what was reported of it has its old identity.
    """
    found = [tx.execute(_LAST_CLOSED, {"identity": identity, "period": period}).first()]
    if spelled.key(loan_id) != identity:
        found.append(tx.execute(_LAST_OF_LOAN, {"loan_id": loan_id, "period": period}).first())
    newest = max((row for row in found if row is not None), key=lambda row: int(row.id), default=None)
    return None if newest is None else TakenPosition(newest.amount, newest.basis, newest.lent)
