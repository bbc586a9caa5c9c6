"""The loans of a report of which nothing has to be said: Kiva took the one position that there is. Counted, not read.

In a good month they are nearly all, and whoever looks at a report of a hundred thousand loans wants to see the others.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import field
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror, report
from kiva_relay.report.line import ReportLine, ReportLineKind

_STATUSES = ", ".join(repr(status) for status in mirror.EXPECTED)
# By the index `entry_position`, whose condition has to stand here word by word.
_OF_PERIOD = "resource = 'repayment' AND state <> 'superseded' AND loan_id = m.loan_id AND period = :period"
_TAKEN = f"{_OF_PERIOD} AND state = 'delivered' AND evidence <> 'warned'"

_ALONE = (
    f"(SELECT count(*) FROM entry WHERE {_OF_PERIOD}) = 1"  # noqa: S608 - our own words
    " AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.undone_at IS NULL AND d.kiva_id = m.kiva_id"
    " AND d.period = :period)"
)

PLAIN = (
    f"EXISTS (SELECT 1 FROM entry WHERE {_TAKEN}) AND {_ALONE}"  # noqa: S608 - as above
    " AND NOT EXISTS (SELECT 1 FROM mirror x WHERE x.loan_fold = m.loan_fold AND x.kiva_id <> m.kiva_id"
    f" AND x.status IN ({_STATUSES}))"
)
"""What holds for such a loan `m` of the mirror, with the parameter `period`. Each of them is a line `accepted`."""

# The same beside its entry `e`: that one was taken, and no other has to be looked for. Ids that two loans have are
# gathered once, for all loans are looked at.
_JOINED = (
    f"m.status || '' IN ({_STATUSES}) AND {_ALONE}"  # noqa: S608 - as above
    f" AND m.loan_fold NOT IN (SELECT loan_fold FROM mirror WHERE status || '' IN ({_STATUSES})"
    " GROUP BY loan_fold HAVING count(*) > 1)"
    " AND e.resource = 'repayment' AND e.state <> 'superseded' AND e.loan_id = m.loan_id AND e.period = :period"
    " AND e.state = 'delivered' AND e.evidence <> 'warned'"
)
_COUNTED = sa.text(
    "SELECT m.status, m.currency, e.amount, count(*) FROM mirror m CROSS JOIN entry e"  # noqa: S608 - as above
    f" WHERE {_JOINED} GROUP BY m.status, m.currency, e.amount"
)


_EACH = sa.text(
    "SELECT m.kiva_id, m.loan_id, m.client_id, m.status, m.currency, e.identity, e.amount"  # noqa: S608 - as above
    f" FROM mirror m CROSS JOIN entry e WHERE {_JOINED} ORDER BY m.kiva_id"
)
# Of two rows of the MIS with one identity, the one in scope says what was lent.
_AMOUNTS = sa.text(
    "SELECT m.kiva_id, m.loan_id, m.status, m.currency, m.amount, coalesce(p.mis, e.amount), e.amount,"  # noqa: S608 - as above
    " coalesce((SELECT c.lent FROM captured c WHERE c.resource = 'repayment' AND c.identity = e.identity"
    " ORDER BY c.in_scope DESC LIMIT 1), p.lent)"
    " FROM mirror m CROSS JOIN entry e LEFT JOIN position p ON p.entry_id = e.id"
    f" WHERE {_JOINED} ORDER BY m.kiva_id"
)
_AT_ONCE = 5_000
_NOTHING = Decimal(0)


@dataclass(frozen=True)
class Accepted:
    """How many, by their status at Kiva, and what Kiva holds of them, by currency."""

    statuses: Counter[str] = field(default_factory=Counter)
    sums: dict[str, Decimal] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """How many loans these are."""
        return self.statuses.total()


def counted(tx: Connection, period: str) -> Accepted:
    """Those of a period that is open."""
    return _added(tuple(row) for row in tx.execute(_COUNTED, {"period": period}))


def lines(tx: Connection, period: str) -> Iterator[ReportLine]:
    """Those of a period that is open, one by one, with what a file needs of them."""
    for kiva_id, loan_id, client_id, status, currency, identity, amount in itertools.chain.from_iterable(
        _parts(tx, _EACH, period)
    ):
        yield ReportLine(
            kiva_id=kiva_id,
            loan_id=loan_id,
            kind=ReportLineKind.ACCEPTED,
            client_id=client_id,
            status=status,
            currency=currency,
            identity=identity,
            at_kiva=Decimal(amount),
        )


class AcceptedLoan(NamedTuple):
    """One of them, with its amounts as of a line of the report."""

    kiva_id: str
    loan_id: str
    status: str
    currency: str | None
    lent_at_kiva: Decimal | None
    position: Decimal | None
    at_kiva: Decimal | None
    lent: Decimal | None
    cause: str = ""

    @property
    def kind(self) -> ReportLineKind:
        """The line in which they all stand."""
        return ReportLineKind.ACCEPTED


def amounts(tx: Connection, period: str, *, closed: bool) -> Iterator[AcceptedLoan]:
    """Those of a period with their amounts, by Kiva's number; of one that has closed as they stood then."""
    if closed:
        for one in report.frozen(tx, period, kind=ReportLineKind.ACCEPTED.value):
            said = one.facts.get
            lent_at_kiva, position, at_kiva, lent = (_amount(said(name)) for name in _NAMES)
            status, currency = said("status", ""), said("currency")
            yield AcceptedLoan(
                one.kiva_id, one.loan_id, status, currency, lent_at_kiva, position, at_kiva, lent, one.cause
            )
        return
    for part in _parts(tx, _AMOUNTS, period):
        # Column by column: one by one they come at twice the price.
        kiva_ids, loan_ids, statuses, currencies, *amounts_ = zip(*part, strict=True)
        yield from map(AcceptedLoan, kiva_ids, loan_ids, statuses, currencies, *(map(_amount, one) for one in amounts_))


def _parts(tx: Connection, asked: sa.TextClause, period: str) -> Iterator[Sequence[Any]]:
    """Rows as they come from a server, some thousands at a time.

    Not by the option `yield_per`: of a statement that is text SQLAlchemy does not look at it, and each part is one row.
    """
    rows = tx.execute(asked, {"period": period}, execution_options={"stream_results": True})
    return rows.partitions(_AT_ONCE)


def of(loans: Collection[AcceptedLoan]) -> Accepted:
    """The same, counted."""
    sums: dict[str, Decimal] = {}
    for one in loans:
        if one.at_kiva is not None:
            sums[one.currency or ""] = sums.get(one.currency or "", _NOTHING) + one.at_kiva
    return Accepted(Counter(one.status for one in loans), sums)


_NAMES = ("lent_at_kiva", "position", "at_kiva", "lent")


@lru_cache(maxsize=4096)
def _amount(text: str | None) -> Decimal | None:
    return Decimal(text) if text else None


def of_closed(tx: Connection, period: str) -> Accepted:
    """Those of a period that has closed, as they stood then."""
    found = (one.facts for one in report.frozen(tx, period, kind=ReportLineKind.ACCEPTED.value))
    return _added((facts.get("status", ""), facts.get("currency"), facts.get("at_kiva"), 1) for facts in found)


def _added(rows: Iterable[tuple[str, str | None, str | None, int]]) -> Accepted:
    statuses: Counter[str] = Counter()
    sums: dict[str, Decimal] = {}
    for status, currency, amount, number in rows:
        statuses[status] += number
        if amount is not None:
            sums[currency or ""] = sums.get(currency or "", Decimal(0)) + Decimal(amount) * number
    return Accepted(statuses, sums)
