"""Positions that become owed, or are owed no longer, by the calendar and by Kiva's list: no row of the MIS changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import meta, mirror, store, table, watermark
from kiva_relay.outbox.state import State
from kiva_relay.resource import window

CLOSED = "window_closed"


def turn(tx: Connection, report: window.RepaymentReport, *, aliases: Mapping[str, str], now: datetime) -> None:
    """Mark the positions to be computed, and withdraw what was not sent when the window closed.

    Args:
        tx: a writing transaction of the outbox.
        report: the repayment report of `now`.
        aliases: ids that were typed by hand at Kiva, and the MIS's own id of the same loan.
        now: with a zone.
    """
    if not report.is_open:
        _withdraw(tx, reason=CLOSED, now=now)
    expected = {aliases.get(loan_id, loan_id) for loan_id in mirror.expected(tx)}
    if meta.REPORT.get(tx) != report.stamp:
        meta.REPORT.put(tx, report.stamp)
    else:
        expected -= _reported(tx, report.period)
    if report.is_open:
        watermark.read_identities_again(tx, "repayment", expected)


def _withdraw(tx: Connection, *, reason: str, now: datetime) -> None:
    """Positions that were not sent are no longer owed: Kiva would book them in the next period."""
    columns = table.entry.c
    where = (columns.resource == "repayment", columns.state.in_([State.READY.value, State.WAITING.value]))
    for identity in set(tx.execute(sa.select(columns.identity).where(*where)).scalars()):
        store.left_scope(tx, "repayment", identity, reason=reason, now=now)


def _reported(tx: Connection, period: str) -> set[str]:
    """Identities that have a position of this period that was not replaced or withdrawn."""
    columns = table.entry.c
    where = (
        columns.resource == "repayment",
        columns.period == period,
        columns.state.not_in([State.SUPERSEDED.value, State.WITHDRAWN.value]),
    )
    return set(tx.execute(sa.select(columns.identity).where(*where)).scalars())
