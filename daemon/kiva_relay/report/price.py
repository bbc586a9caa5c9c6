"""What it costs to leave a loan out of a report: Kiva bills it as if it were repaid on schedule. An estimate.

By the schedule that was posted to Kiva with the draft, while that is kept; else by the MIS's. Where Kiva has an amount
of the period already, that one stands, and leaving a newer one out bills no schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import report_table, table
from kiva_relay.report import line as lines_
from kiva_relay.report.line import Price, ReportLine, ReportLineKind
from kiva_relay.resource import body as json_body
from kiva_relay.resource import field
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.repayment import OUTSTANDING

POSTED, MIS, UNKNOWN = "posted", "mis", "unknown"
_COSTS_NOTHING = (ReportLineKind.ACCEPTED, ReportLineKind.ON_ITS_WAY)
_PART = 200
"""So many loans are looked at together; of each draft only the schedule is kept, for its body may hold a photo."""

Schedule = Sequence[tuple[str, Decimal]]
"""Instalments: the month in which each falls due, as `2026-11`, and its principal."""

_entry, _position = table.entry.c, report_table.position.c
_DRAFTS = sa.select(_entry.loan_id, _entry.body).where(
    _entry.loan_fold.in_(sa.bindparam("folds", expanding=True)),
    _entry.resource == "loan_draft",
    _entry.state == "delivered",
    _entry.body.is_not(None),
)
_SCHEDULED = sa.select(_position.entry_id, _position.scheduled).where(
    _position.entry_id.in_(sa.bindparam("entries", expanding=True)), _position.scheduled.is_not(None)
)


@dataclass(frozen=True)
class OpenAmount:
    """What is known of a loan's debt, in its own currency.

    Attributes:
        posted: the schedule of its draft as it was sent to Kiva; None: not sent by us, or no longer kept.
        scheduled: the principal that falls due in the period by the MIS's schedule; None: unknown.
        open: what is still to be repaid; None: unknown.
    """

    posted: Schedule | None = None
    scheduled: Decimal | None = None
    open: Decimal | None = None


def priced(tx: Connection, lines: Iterable[ReportLine], *, period: str, basis: str) -> Iterator[ReportLine]:
    """The same lines; those that may not be reported have their price. `basis`: what their amounts mean."""
    each = iter(lines)
    while part := list(islice(each, _PART)):
        cost = [one for one in part if one.kind not in _COSTS_NOTHING and one.at_kiva is None]
        posted = dict(_posted(tx, sorted({spelled.fold(one.loan_id) for one in cost}))) if cost else {}
        scheduled = _scheduled(tx, [one.entry for one in cost if one.entry is not None])
        for one in part:
            if one.kind in _COSTS_NOTHING or one.at_kiva is not None:
                yield one
                continue
            due = None if one.entry is None else scheduled.get(one.entry)
            owed = OpenAmount(posted.get(spelled.key(one.loan_id)), due, still_open(one, basis))
            yield replace(one, price=price(owed, period=period))


def price(owed: OpenAmount, *, period: str) -> Price:
    """The price of leaving a loan out of the report of a period."""
    posted = None
    if owed.posted is not None:
        posted = sum((principal for month, principal in owed.posted if month == period), Decimal(0))
    for amount, by in ((posted, POSTED), (owed.scheduled, MIS)):
        if amount is not None:
            return Price(amount if owed.open is None else min(amount, owed.open), owed.open, by)
    return Price(None, owed.open, UNKNOWN)


def still_open(one: ReportLine, basis: str) -> Decimal | None:
    """What is still to be repaid of a loan; None where nobody knows what was lent.

    By the MIS; where that has no amount, or one in another currency, by what Kiva has.
    """
    by_mis = one.cause != lines_.OTHER_CURRENCY
    amount = one.position if by_mis and one.position is not None else one.before
    if amount is not None and basis == OUTSTANDING:
        return max(amount, Decimal(0))
    lent = one.lent if by_mis and one.lent is not None else one.lent_at_kiva
    return None if lent is None else max(lent - (amount or Decimal(0)), Decimal(0))


def schedule(draft: Mapping[str, Any]) -> Schedule | None:
    """The instalments of a draft's body; None: it has none, or some that do not read."""
    rows = draft.get("schedule")
    instalments = [_instalment(one) for one in rows] if isinstance(rows, list) else []
    return [one for one in instalments if one is not None] if instalments and None not in instalments else None


def _instalment(one: Any) -> tuple[str, Decimal] | None:
    if not isinstance(one, Mapping) or not field.fits("amount", one.get("principal")):
        return None
    day = field.as_date(one.get("date"))
    return None if day is None else (f"{day:%Y-%m}", Decimal(one["principal"]))


def _posted(tx: Connection, folds: Sequence[str]) -> Iterator[tuple[str, Schedule]]:
    for row in tx.execute(_DRAFTS, {"folds": folds}):
        found = schedule(json_body.decode(row.body.encode()))
        if found is not None:
            yield spelled.key(row.loan_id), found


def _scheduled(tx: Connection, entries: Sequence[int]) -> dict[int, Decimal]:
    if not entries:
        return {}
    return {row.entry_id: Decimal(row.scheduled) for row in tx.execute(_SCHEDULED, {"entries": entries})}
