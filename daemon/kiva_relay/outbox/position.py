"""What is known of each position beside its amount: on which basis it is, and what the MIS has lent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import report_table, table
from kiva_relay.outbox.entry import OwedPosition

_entry, _position = table.entry.c, report_table.position.c
_INSERT = sa.insert(report_table.position)
_LAST_CLOSED = (
    sa.select(_entry.amount, _position.basis, _position.lent)
    .select_from(table.entry.outerjoin(report_table.position, _position.entry_id == _entry.id))
    .where(
        _entry.resource == "repayment",
        _entry.identity == sa.bindparam("identity"),
        sa.text(f"entry.{table.AT_KIVA}"),
        _entry.period != sa.bindparam("period"),
    )
    .order_by(_entry.version.desc())
    .limit(1)
)


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


def last_of_another_period(tx: Connection, identity: str, period: str) -> TakenPosition | None:
    """The position that Kiva took last in another period: one of this period is simply replaced."""
    row = tx.execute(_LAST_CLOSED, {"identity": identity, "period": period}).first()
    return None if row is None else TakenPosition(*row)
