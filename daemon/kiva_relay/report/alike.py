"""Loans of an open report that stand alike: with one position of the period, and no decision. Counted, not read.

Where such a loan stands depends on a few codes of its position, and on nothing else: neither on an amount, nor on what
other loans are. So thousands are counted in one statement, and `report/place.py` says of each group where it stands.

Of a hundred thousand loans the statement takes half a second of the processor. So who asks often asks first for the
stamp, which moves with everything that is counted, and takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror, table
from kiva_relay.outbox import state as machine
from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.outbox.state import State
from kiva_relay.report import place
from kiva_relay.report.line import ReportLineKind
from kiva_relay.report.place import LoanFacts, PositionFacts, ReportSituation

_STATUSES = ", ".join(repr(status) for status in mirror.EXPECTED)
# By the index `entry_position`, whose condition has to stand here word by word.
_OF_PERIOD = "resource = 'repayment' AND state <> 'superseded' AND loan_id = m.loan_id AND period = :period"
SINGLE = (
    "m.kiva_id NOT IN (SELECT d.kiva_id FROM decision d WHERE d.period = :period AND d.undone_at IS NULL)"  # noqa: S608 - our own words
    f" AND m.loan_fold NOT IN (SELECT x.loan_fold FROM mirror x WHERE x.status IN ({_STATUSES})"
    " GROUP BY x.loan_fold HAVING count(*) > 1)"
    f" AND (SELECT count(*) FROM entry WHERE {_OF_PERIOD}) = 1"
    f" AND EXISTS (SELECT 1 FROM entry WHERE {_OF_PERIOD} AND state <> 'withdrawn')"
)
"""What holds for such a loan `m` of the mirror, with the parameter `period`."""

# Of what Kiva took, the index has all that is asked: `evidence` stands behind it, in a row that may hold a photo.
_WARNED = f"CASE WHEN e.id IN (SELECT w.id FROM entry w WHERE w.{table.WARNED}) THEN 1 ELSE 0 END"  # noqa: S608 - our own words
_TAKEN = "e.state = 'delivered'"
_STREAM = f"CASE WHEN {_TAKEN} THEN '' ELSE e.stream END"
_HANDLED = f"CASE WHEN {_TAKEN} OR e.done_at IS NULL THEN 0 ELSE 1 END"
_BY_KIVA = f"CASE WHEN e.state = 'refused' AND e.refusals LIKE '%\"code\":\"{place.BY_KIVA}\"%' THEN 1 ELSE 0 END"
_CODES = f"e.state || ' ' || coalesce(e.reason, '') || ' ' || {_STREAM} || ' ' || {_WARNED} || {_HANDLED} || {_BY_KIVA}"
_ITS_ENTRY = "e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id AND e.period = :period"
# The same as SINGLE, where the position is at hand.
_IS_SINGLE = (
    "m.kiva_id NOT IN (SELECT d.kiva_id FROM decision d WHERE d.period = :period AND d.undone_at IS NULL)"  # noqa: S608 - our own words
    " AND NOT EXISTS (SELECT 1 FROM mirror x WHERE x.loan_fold = m.loan_fold AND x.kiva_id <> m.kiva_id"
    f" AND x.status || '' IN ({_STATUSES})) AND e.state <> 'withdrawn'"
    " AND NOT EXISTS (SELECT 1 FROM entry o WHERE o.resource = 'repayment' AND o.state <> 'superseded'"
    " AND o.loan_id = m.loan_id AND o.period = :period AND o.id <> e.id)"
)
_COUNTED = sa.text(
    f"SELECT {_CODES} AS codes, count(*) AS number"  # noqa: S608 - our own words
    f" FROM mirror m CROSS JOIN entry e WHERE m.status IN ({_STATUSES}) AND {_ITS_ENTRY} AND {_IS_SINGLE}"
    " GROUP BY 1 ORDER BY 1"
)
_ORDERED = "ORDER BY m.kiva_id LIMIT :most OFFSET :first"
# By the loan's number at Kiva: joined to nothing, its status serves no index, and nothing is sorted.
_NAMED = sa.text(
    f"SELECT m.kiva_id FROM mirror m CROSS JOIN entry e WHERE m.kiva_id > '' AND m.status || '' IN ({_STATUSES})"  # noqa: S608 - our own words
    f" AND {_ITS_ENTRY} AND {_IS_SINGLE} AND {_CODES} IN :codes {_ORDERED}"
).bindparams(sa.bindparam("codes", expanding=True))
# Of what is not over there are few, among however many loans.
_NAMED_OPEN = sa.text(
    f"SELECT m.kiva_id FROM entry e CROSS JOIN mirror m WHERE e.{table.OPEN} AND e.resource || '' = 'repayment'"  # noqa: S608 - our own words
    " AND e.period = :period"
    f" AND {_CODES} IN :codes AND m.loan_fold = e.loan_fold AND m.loan_id = e.loan_id"
    f" AND m.status || '' IN ({_STATUSES}) AND {_IS_SINGLE} {_ORDERED}"
).bindparams(sa.bindparam("codes", expanding=True))
_OVER = tuple(f"{one.value} " for one in machine.FINAL)
_STAMP = sa.text(
    "SELECT (SELECT ended_at FROM mirror_refresh ORDER BY id DESC LIMIT 1), (SELECT max(id) FROM mirror_refresh),"  # noqa: S608 - our own words
    " (SELECT max(id) FROM entry), (SELECT max(id) FROM attempt), (SELECT max(id) FROM act),"
    " (SELECT max(id) FROM decision), (SELECT sum(number) FROM tally WHERE resource = 'repayment'),"
    " (SELECT max(settled_at) FROM entry WHERE settled_at IS NOT NULL),"
    f" (SELECT max(changed_at) FROM entry WHERE {table.OPEN} AND resource = 'repayment'),"
    f" (SELECT count(*) FROM entry WHERE {table.OPEN} AND resource = 'repayment')"
)
_IS_OF_ONE = (
    f"entry.period = :period AND entry.loan_id IN (SELECT m.loan_id FROM mirror m WHERE m.status IN ({_STATUSES})"  # noqa: S608 - our own words
    f" AND {SINGLE})"
)


@dataclass(frozen=True)
class AlikeLines:
    """How many loans stand in one line with one cause. `codes` are those of their positions; `reason` is of a hold."""

    codes: str
    kind: ReportLineKind
    cause: str
    reason: str
    number: int


def stamp(tx: Connection) -> tuple[object, ...] | None:
    """What moves with everything that is counted here; None while Kiva's list is being read, and moves itself."""
    found = tuple(tx.execute(_STAMP).one())
    return None if found[0] is None else found


def groups(tx: Connection, period: str) -> Sequence[sa.Row[Any]]:
    """How many loans have positions with the same codes."""
    return tx.execute(_COUNTED, {"period": period}).all()


def placed(found: Sequence[sa.Row[Any]], now_is: ReportSituation) -> tuple[AlikeLines, ...]:
    """Where the loans of each group stand, as things are now."""
    lines = []
    for row in found:
        state, reason, rest = row.codes.split(" ", 2)
        stream, _, flags = rest.rpartition(" ")
        warned, handled, by_kiva = (flag == "1" for flag in flags)
        position = PositionFacts(
            number=0,
            version=1,
            state=State(state),
            reason=reason or None,
            amount=None,
            mis=None,
            identity="",
            stream=stream,
            evidence="warned" if warned else None,
            refusals=[{"code": place.BY_KIVA}] if by_kiva else (),
            handled=handled,
        )
        line = place.line(LoanFacts(MirroredLoan("", "", "", ""), (position,)), now_is)
        why = str(line.params.get("reason", line.cause))
        lines.append(AlikeLines(row.codes, line.kind, line.cause, why, row.number))
    return tuple(lines)


def named(tx: Connection, period: str, codes: Collection[str], *, first: int, most: int) -> list[str]:
    """Kiva's numbers of the loans with these codes, in their order: from the one at `first` on, at most so many."""
    if not codes or most <= 0:
        return []
    given = {"period": period, "codes": sorted(codes), "first": first, "most": most}
    of_open = not any(one.startswith(_OVER) for one in codes)
    return list(tx.execute(_NAMED_OPEN if of_open else _NAMED, given).scalars())


def besides(period: str) -> sa.TextClause:
    """A condition on the table of entries: not the one position of such a loan."""
    return sa.text(f"NOT ({_IS_OF_ONE})").bindparams(period=period)
