"""How many things are at Kiva, counted as they get there: so nobody has to read a history to say it.

A number moves in the transaction of the move that it counts, and is compared with the entries themselves at night. A
draft or journal counts once an identity; a position counts once a loan and period, however many versions of it Kiva
took. What Kiva had before us (evidence `adopted`) is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

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
# Of positions, those beside which Kiva has another one of the same loan and period. By the partial index
# `entry_position`: its condition has to stand here word by word.
_AMONG_OTHERS = sa.text(
    "SELECT DISTINCT its.id FROM entry AS its JOIN entry AS other ON other.loan_id = its.loan_id"
    " AND other.period = its.period AND other.id <> its.id"
    " WHERE its.id IN :numbers AND other.resource = 'repayment' AND other.state <> 'superseded'"
    " AND other.state = 'delivered'"
).bindparams(sa.bindparam("numbers", expanding=True))
_CHUNK = 500
_ALL = sa.text(
    "SELECT resource, '' AS period, CASE WHEN evidence = 'adopted' THEN 'adopted' ELSE 'delivered' END AS line,"
    " count(*) AS number FROM entry WHERE state = 'delivered' AND resource <> 'repayment' GROUP BY 1, 3"
    " UNION ALL SELECT 'repayment', period, 'delivered', count(DISTINCT loan_id) FROM entry"
    " WHERE resource = 'repayment' AND state <> 'superseded' AND state = 'delivered' GROUP BY period"
)


def moved(tx: Connection, moves: Sequence[tuple[Entry | None, Entry]]) -> None:
    """Entries came to Kiva, or are there no longer: count them. Before a new entry there is None.

    Those that move together are of one request: no two of them are positions of one loan.
    """
    changed = [
        (was, now_is, after) for before, after in moves if (was := _counted(before)) != (now_is := _counted(after))
    ]
    others = _among_others(tx, [after.id for _was, _now_is, after in changed if after.resource == "repayment"])
    more: Counter[Counted] = Counter()
    for was, now_is, after in changed:
        if after.id not in others:
            more.subtract([was] if was is not None else [])
            more.update([now_is] if now_is is not None else [])
    for what, number in more.items():
        _put(tx, what, number)


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


def _among_others(tx: Connection, numbers: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(numbers), _CHUNK):
        found.update(tx.execute(_AMONG_OTHERS, {"numbers": numbers[start : start + _CHUNK]}).scalars())
    return found


def _put(tx: Connection, what: Counted, more: int) -> None:
    its = {"its_resource": what.resource, "its_period": what.period, "its_line": what.line, "more": more}
    if tx.execute(_ADD, its).rowcount == 0:
        tx.execute(_INSERT, {"resource": what.resource, "period": what.period, "line": what.line, "number": more})
