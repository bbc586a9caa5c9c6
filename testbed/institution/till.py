"""Money over the counter: posted, back-dated, reversed, with the replay of all that follows.

Nothing is ever deleted from `m_loan_transaction`, and no row is added to undo another: a reversed row says so
itself. When an earlier entry changes how later ones are split, each of those is reversed and copied: its
external id moves to the copy, and `m_loan_transaction_relation` points from the copy to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import dict_row

from testbed.institution import fineract, loan, schedule
from testbed.institution.fineract import REPAYS, TAKES_BACK, Money
from testbed.institution.schedule import ZERO, Instalment, Movement, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from decimal import Decimal

    from psycopg import Connection

    from testbed.institution.fineract import Row
    from testbed.institution.loan import Stamp

_REPLAYED = 3
"""`m_loan_transaction_relation.relation_type_enum`."""


@dataclass
class _Entry:
    """One movement in the replay: a row of the MIS, or (without one) the entry that is being made."""

    kind: Money
    movement: Movement
    row: Row | None = None


def post(connection: Connection, loan_id: int, *, on: date, amount: Decimal, today: date, stamp: Stamp) -> None:
    """Enter a repayment as of a day that may lie before others."""
    entries = _entries(connection, loan_id)
    new = _Entry(Money.REPAYMENT, Movement(on, amount))
    place = sum(1 for entry in entries if entry.movement.on <= on)
    _settle(connection, loan_id, [*entries[:place], new, *entries[place:]], today=today, stamp=stamp)


def reverse(connection: Connection, loan_id: int, transaction_id: int, *, today: date, stamp: Stamp) -> None:
    """Undo one entry, as a person does it in Fineract."""
    undone = {"is_reversed": True, "manually_adjusted_or_reversed": True, "reversed_on_date": today}
    fineract.update(connection, "m_loan_transaction", transaction_id, undone | stamp.modified)
    _settle(connection, loan_id, _entries(connection, loan_id), today=today, stamp=stamp)


def due(connection: Connection, loan_id: int) -> list[Decimal]:
    """What is still to be paid of each instalment that is not paid, in their order."""
    found = []
    for row in _rows(connection, _SCHEDULE, loan_id):
        line = _unpaid(row)
        line.principal_paid = row["principal_completed_derived"] or ZERO
        line.interest_paid = row["interest_completed_derived"] or ZERO
        if line.outstanding:
            found.append(line.outstanding)
    return found


_SCHEDULE = b"SELECT * FROM m_loan_repayment_schedule WHERE loan_id = %(loan)s ORDER BY installment"
_ENTRIES = b"""
    SELECT * FROM m_loan_transaction
    WHERE loan_id = %(loan)s AND NOT is_reversed AND transaction_type_enum = ANY(%(kinds)s)
    ORDER BY transaction_date, id
"""


def _rows(connection: Connection, query: bytes, loan_id: int) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, {"loan": loan_id, "kinds": [*REPAYS, *TAKES_BACK]}).fetchall()


def _entries(connection: Connection, loan_id: int) -> list[_Entry]:
    found = []
    for row in _rows(connection, _ENTRIES, loan_id):
        kind = Money(row["transaction_type_enum"])
        movement = Movement(row["transaction_date"], row["amount"], back=kind in TAKES_BACK)
        found.append(_Entry(kind, movement, row))
    return found


def _unpaid(row: Row) -> Instalment:
    return Instalment(
        row["installment"],
        row["fromdate"],
        row["duedate"],
        row["principal_amount"] or ZERO,
        row["interest_amount"] or ZERO,
    )


def _settle(connection: Connection, loan_id: int, entries: Sequence[_Entry], *, today: date, stamp: Stamp) -> None:
    """Replay all entries, and write what is different from what the MIS has."""
    rows = _rows(connection, _SCHEDULE, loan_id)
    lines = [_unpaid(row) for row in rows]
    splits = schedule.replay(lines, [entry.movement for entry in entries])
    for entry, split in zip(entries, splits, strict=True):
        if entry.row is None:
            _enter(connection, loan_id, entry, split, today=today, stamp=stamp)
        elif loan.portions(split) != {name: entry.row[name] for name in loan.portions(split)}:
            _replace(connection, entry.row, split, today=today, stamp=stamp)
        elif entry.row["outstanding_loan_balance_derived"] != split.balance:
            balance = {"outstanding_loan_balance_derived": split.balance}
            fineract.update(connection, "m_loan_transaction", entry.row["id"], balance | stamp.modified)
    for row, line in zip(rows, lines, strict=True):
        paid = loan.paid(line)
        if paid != {name: row[name] for name in paid}:
            fineract.update(connection, "m_loan_repayment_schedule", row["id"], paid | stamp.modified)
    overpaid = sum((split.overpaid for split in splits), ZERO)
    last = max((entry.movement.on for entry in entries), default=today)
    moved = loan.sums(lines, overpaid=overpaid) | stamp.modified
    moved |= loan.standing(lines, overpaid=overpaid, on=last, user=stamp.user)
    fineract.update(connection, "m_loan", loan_id, moved)
    connection.execute("UPDATE m_loan SET version = version + 1 WHERE id = %s", [loan_id])


def _enter(connection: Connection, loan_id: int, entry: _Entry, split: Split, *, today: date, stamp: Stamp) -> None:
    row = loan.transaction(
        loan_id,
        _office(connection, loan_id),
        entry.kind,
        on=entry.movement.on,
        submitted=today,
        amount=entry.movement.amount,
        split=split,
    )
    fineract.insert(connection, "m_loan_transaction", row | stamp.created)


def _replace(connection: Connection, old: Row, split: Split, *, today: date, stamp: Stamp) -> None:
    gone = {"is_reversed": True, "reversed_on_date": today, "external_id": None}
    fineract.update(connection, "m_loan_transaction", old["id"], gone | stamp.modified)
    copy = {name: value for name, value in old.items() if name != "id"}
    copy |= loan.portions(split) | {"outstanding_loan_balance_derived": split.balance} | stamp.created
    relation = {
        "from_loan_transaction_id": fineract.insert(connection, "m_loan_transaction", copy),
        "to_loan_transaction_id": old["id"],
        "relation_type_enum": _REPLAYED,
    }
    fineract.insert(connection, "m_loan_transaction_relation", relation | stamp.created)


def _office(connection: Connection, loan_id: int) -> int:
    found = connection.execute(
        """
        SELECT coalesce(c.office_id, g.office_id) FROM m_loan l
        LEFT JOIN m_client c ON c.id = l.client_id LEFT JOIN m_group g ON g.id = l.group_id WHERE l.id = %s
        """,
        [loan_id],
    ).fetchone()
    if found is None:
        raise LookupError(loan_id)
    return int(found[0])
