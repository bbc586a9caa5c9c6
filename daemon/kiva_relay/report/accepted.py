"""The loans of a report of which nothing has to be said: Kiva took the one position that there is. Counted, not read.

In a good month they are nearly all, and whoever looks at a report of a hundred thousand loans wants to see the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import field
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror, report
from kiva_relay.report.line import ReportLine, ReportLineKind

_STATUSES = ", ".join(repr(status) for status in mirror.EXPECTED)
# By the index `entry_position`, whose condition has to stand here word by word.
_OF_PERIOD = "resource = 'repayment' AND state <> 'superseded' AND loan_id = m.loan_id AND period = :period"
_TAKEN = f"{_OF_PERIOD} AND state = 'delivered' AND evidence <> 'warned'"

PLAIN = (
    f"EXISTS (SELECT 1 FROM entry WHERE {_TAKEN})"  # noqa: S608 - our own words
    f" AND (SELECT count(*) FROM entry WHERE {_OF_PERIOD}) = 1"
    " AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.undone_at IS NULL AND d.kiva_id = m.kiva_id"
    " AND d.period = :period)"
    " AND NOT EXISTS (SELECT 1 FROM mirror x WHERE x.loan_fold = m.loan_fold AND x.kiva_id <> m.kiva_id"
    f" AND x.status IN ({_STATUSES}))"
)
"""What holds for such a loan `m` of the mirror, with the parameter `period`. Each of them is a line `accepted`."""

_JOINED = (
    f"m.status || '' IN ({_STATUSES}) AND {PLAIN} AND e.resource = 'repayment' AND e.state <> 'superseded'"
    " AND e.loan_id = m.loan_id AND e.period = :period"
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
    rows = tx.execute(_EACH.execution_options(yield_per=_AT_ONCE), {"period": period})
    for kiva_id, loan_id, client_id, status, currency, identity, amount in rows:
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
    rows = tx.execute(_AMOUNTS.execution_options(yield_per=_AT_ONCE), {"period": period})
    amount = _amount
    for part in rows.partitions():  # one by one they come at twice the price
        for kiva_id, loan_id, status, currency, lent_at_kiva, position, at_kiva, lent in part:
            yield AcceptedLoan(
                kiva_id,
                loan_id,
                status,
                currency,
                amount(lent_at_kiva),
                amount(position),
                amount(at_kiva),
                amount(lent),
            )


def of(loans: Iterable[AcceptedLoan]) -> Accepted:
    """The same, counted."""
    sums: dict[str, Decimal] = {}
    statuses = Counter[str]()
    for one in loans:
        statuses[one.status] += 1
        if one.at_kiva is not None:
            sums[one.currency or ""] = sums.get(one.currency or "", Decimal(0)) + one.at_kiva
    return Accepted(statuses, sums)


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
