"""Loans of an open report that stand alike: with one position of the period, and no decision. Counted, not read.

Where such a loan stands depends on a few codes of its position, and on nothing else: neither on an amount, nor on what
other loans are. So thousands are counted in one statement, and `report/place.py` says of each group where it stands.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror
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

_WARNED = "CASE WHEN e.evidence = 'warned' THEN 1 ELSE 0 END"
_HANDLED = "CASE WHEN e.done_at IS NULL THEN 0 ELSE 1 END"
_BY_KIVA = f"CASE WHEN e.state = 'refused' AND e.refusals LIKE '%\"code\":\"{place.BY_KIVA}\"%' THEN 1 ELSE 0 END"
_CODES = f"e.state || ' ' || coalesce(e.reason, '') || ' ' || e.stream || ' ' || {_WARNED} || {_HANDLED} || {_BY_KIVA}"
_ITS_ENTRY = "e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id AND e.period = :period"
_COUNTED = sa.text(
    f"SELECT {_CODES} AS codes, e.state, e.reason, e.stream, {_WARNED} AS warned, {_HANDLED} AS handled,"  # noqa: S608 - our own words
    f" {_BY_KIVA} AS by_kiva, count(*) AS number"
    f" FROM mirror m CROSS JOIN entry e WHERE m.status IN ({_STATUSES}) AND {SINGLE} AND {_ITS_ENTRY}"
    " GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1"
)
# By the loan's number at Kiva: joined to nothing, its status serves no index, and nothing is sorted.
_NAMED = sa.text(
    f"SELECT m.kiva_id FROM mirror m CROSS JOIN entry e WHERE m.kiva_id > '' AND m.status || '' IN ({_STATUSES})"  # noqa: S608 - our own words
    f" AND {SINGLE} AND {_ITS_ENTRY} AND {_CODES} IN :codes ORDER BY m.kiva_id LIMIT :most OFFSET :first"
).bindparams(sa.bindparam("codes", expanding=True))
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


def counted(tx: Connection, period: str, now_is: ReportSituation) -> tuple[AlikeLines, ...]:
    """All of them, by what makes them alike."""
    found = []
    for row in tx.execute(_COUNTED, {"period": period}):
        refusals = [{"code": place.BY_KIVA}] if row.by_kiva else ()
        position = PositionFacts(
            number=0,
            version=1,
            state=State(row.state),
            reason=row.reason,
            amount=None,
            mis=None,
            identity="",
            stream=row.stream,
            evidence="warned" if row.warned else None,
            refusals=refusals,
            handled=bool(row.handled),
        )
        line = place.line(LoanFacts(MirroredLoan("", "", "", ""), (position,)), now_is)
        reason = str(line.params.get("reason", line.cause))
        found.append(AlikeLines(row.codes, line.kind, line.cause, reason, row.number))
    return tuple(found)


def named(tx: Connection, period: str, codes: Collection[str], *, first: int, most: int) -> list[str]:
    """Kiva's numbers of the loans with these codes, in their order: from the one at `first` on, at most so many."""
    if not codes or most <= 0:
        return []
    given = {"period": period, "codes": sorted(codes), "first": first, "most": most}
    return list(tx.execute(_NAMED, given).scalars())


def besides(period: str) -> sa.TextClause:
    """A condition on the table of entries: not the one position of such a loan."""
    return sa.text(f"NOT ({_IS_OF_ONE})").bindparams(period=period)
