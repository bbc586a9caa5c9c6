"""How many things are at Kiva, counted as they get there: so nobody has to read a history to say it.

A number moves in the transaction of the move that it counts, and is compared with the entries themselves at night. A
draft or journal counts once an identity; a position counts once a loan and period, however many versions of it Kiva
took. What Kiva had before us (evidence `adopted`) is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.state import State

DELIVERED = "delivered"
ADOPTED = "adopted"


@dataclass(frozen=True)
class Counted:
    """What one number counts. `period` is YYYY-MM for positions, empty for the rest; `line` is delivered or adopted."""

    resource: str
    period: str
    line: str


Numbers = Mapping[Counted, int]

_columns = table.tally.c
_ADD = (
    sa.update(table.tally)
    .where(
        _columns.resource == sa.bindparam("its_resource"),
        _columns.period == sa.bindparam("its_period"),
        _columns.line == sa.bindparam("its_line"),
    )
    .values(number=_columns.number + sa.bindparam("more"))
)
_INSERT = sa.insert(table.tally)
# By the partial index `entry_position`: its condition has to stand here word by word.
_ANOTHER_OF_THE_LOAN = sa.text(
    "SELECT 1 FROM entry WHERE resource = 'repayment' AND state <> 'superseded'"
    " AND loan_id = :loan_id AND period = :period AND state = 'delivered' AND id <> :id LIMIT 1"
)
_ALL = sa.text(
    "SELECT resource, '' AS period, CASE WHEN evidence = 'adopted' THEN 'adopted' ELSE 'delivered' END AS line,"
    " count(*) AS number FROM entry WHERE state = 'delivered' AND resource <> 'repayment' GROUP BY 1, 3"
    " UNION ALL SELECT 'repayment', period, 'delivered', count(DISTINCT loan_id) FROM entry"
    " WHERE resource = 'repayment' AND state <> 'superseded' AND state = 'delivered' GROUP BY period"
)


def moved(tx: Connection, before: Entry | None, after: Entry) -> None:
    """An entry came to Kiva, or is there no longer: count it. `before` is None for a new entry."""
    was, now_is = (_counted(entry) for entry in (before, after))
    if was == now_is:
        return
    if was is not None:
        _add(tx, was, after, -1)
    if now_is is not None:
        _add(tx, now_is, after, 1)


def numbers(tx: Connection) -> dict[Counted, int]:
    """Every number, as it was counted; what was never counted is not there."""
    return {Counted(row.resource, row.period, row.line): row.number for row in tx.execute(sa.select(table.tally))}


def counted_anew(tx: Connection) -> dict[Counted, int]:
    """Every number, by reading all entries that were delivered."""
    return {Counted(row.resource, row.period, row.line): row.number for row in tx.execute(_ALL)}


def differences(tx: Connection) -> list[tuple[Counted, int, int]]:
    """Where a number is not what the entries say: what it counts, the number, and what it should be."""
    known, right = numbers(tx), counted_anew(tx)
    return list(_differing(known, right))


def put_right(tx: Connection) -> list[tuple[Counted, int, int]]:
    """Make every number what the entries say; what differed."""
    found = differences(tx)
    for what, number, right in found:
        _put(tx, what, right - number)
    return found


def _differing(known: Numbers, right: Numbers) -> Iterator[tuple[Counted, int, int]]:
    for what in sorted(known.keys() | right.keys(), key=lambda one: (one.resource, one.period, one.line)):
        if known.get(what, 0) != right.get(what, 0):
            yield what, known.get(what, 0), right.get(what, 0)


def _counted(entry: Entry | None) -> Counted | None:
    if entry is None or entry.state is not State.DELIVERED:
        return None
    position = entry.resource == "repayment"
    adopted = entry.evidence == "adopted" and not position
    return Counted(entry.resource, entry.period if position else "", ADOPTED if adopted else DELIVERED)


def _add(tx: Connection, what: Counted, entry: Entry, more: int) -> None:
    if what.resource == "repayment":
        given = {"loan_id": entry.loan_id, "period": what.period, "id": entry.id}
        if tx.execute(_ANOTHER_OF_THE_LOAN, given).first() is not None:
            return
    _put(tx, what, more)


def _put(tx: Connection, what: Counted, more: int) -> None:
    its = {"its_resource": what.resource, "its_period": what.period, "its_line": what.line, "more": more}
    if tx.execute(_ADD, its).rowcount == 0:
        tx.execute(_INSERT, {"resource": what.resource, "period": what.period, "line": what.line, "number": more})
