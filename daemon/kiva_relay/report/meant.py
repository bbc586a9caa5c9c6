"""The lines that a person may mean by numbers and loan ids: found without reading the report of a whole book."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import mirror, report, table
from kiva_relay.report import current
from kiva_relay.report.line import ReportLine
from kiva_relay.resource import loan_id as spelled

_MOST_DIGITS = 18
"""A longer number is none of an entry: a database has no room for it."""


def lines(
    tx: Connection, settings: Settings, period: str, *, numbers: Sequence[str], loan_ids: Sequence[str]
) -> list[ReportLine]:
    """The lines of the loans that are meant, by `kiva_id`; also those that share their id.

    Args:
        tx: a transaction of the outbox.
        settings: those in force.
        period: YYYY-MM.
        numbers: as a line has them: of its entry (`1042`), or `k` and Kiva's number of the loan.
        loan_ids: as Kiva or a person spells them.
    """
    keys = {spelled.key(loan_id) for loan_id in (*loan_ids, *_of_entries(tx, numbers))}
    kiva_ids = {number[1:] for number in numbers if number[:1] == "k"}
    if _is_closed(tx, period):
        found = (kiva_id for kiva_id, loan_id in report.frozen_ids(tx, period) if spelled.key(loan_id) in keys)
    else:
        found = (loan.kiva_id for loan in mirror.under(tx, keys))
    return current.lines_with(tx, settings, period, kiva_ids.union(found))


def every_id(tx: Connection, period: str) -> Iterator[str]:
    """The ids of all loans of a report, as Kiva spells them, by its numbers: to find the one that is nearest."""
    if _is_closed(tx, period):
        yield from (loan_id for _, loan_id in report.frozen_ids(tx, period))
    else:
        yield from mirror.expected(tx)


def _of_entries(tx: Connection, numbers: Sequence[str]) -> list[str]:
    """The loan ids of entries."""
    entries = [int(one) for one in numbers if one.isascii() and one.isdigit() and len(one) <= _MOST_DIGITS]
    columns = table.entry.c
    return list(tx.execute(sa.select(columns.loan_id).where(columns.id.in_(entries))).scalars())


def _is_closed(tx: Connection, period: str) -> bool:
    of_period = report.of(tx, period)
    return of_period is not None and of_period.closed_at is not None
