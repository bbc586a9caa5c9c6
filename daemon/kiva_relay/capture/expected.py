"""Positions that become owed, or are owed no longer, by the calendar and by Kiva's list: no row of the MIS changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import meta, mirror, query, store, table, watermark
from kiva_relay.outbox.entry import Entry, of
from kiva_relay.outbox.state import State
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource import window

CLOSED = "window_closed"


def turn(
    tx: Connection,
    report: window.RepaymentReport,
    *,
    aliases: Mapping[str, str],
    settle_after: timedelta,
    now: datetime,
) -> None:
    """Mark the positions to be computed, and end what was not sent, or is unknown, when its report closed.

    Args:
        tx: a writing transaction of the outbox.
        report: the repayment report of `now`.
        aliases: ids that were typed by hand at Kiva, and the MIS's own id of the same loan.
        settle_after: so long after a request ended it can no longer arrive.
        now: with a zone.
    """
    is_another = meta.REPORT.get(tx) != report.stamp
    _close(tx, report, also_refused=is_another, settle_after=settle_after, now=now)
    listed = {spelled.key(loan_id) for loan_id in mirror.expected(tx)}
    expected = {aliases.get(loan_id, loan_id) for loan_id in listed}
    if is_another:
        meta.REPORT.put(tx, report.stamp)
    else:
        expected -= _reported(tx, report.period)
    if report.is_open:
        watermark.read_identities_again(tx, "repayment", expected)


def _close(
    tx: Connection,
    report: window.RepaymentReport,
    *,
    also_refused: bool,
    settle_after: timedelta,
    now: datetime,
) -> None:
    """Positions that were not sent are no longer owed: Kiva would book them in the next period.

    What is in doubt ends once it can no longer arrive, so that it never stands in the way of the next report.
    """
    if not report.is_open:
        for entry in _positions(tx, State.READY, State.WAITING):
            store.close(tx, entry, reason=CLOSED, now=now)
        for entry in _positions(tx, State.REFUSED) if also_refused else ():
            if store.may_be_at_kiva(tx, entry):
                store.close(tx, entry, reason=CLOSED, now=now)
    for entry in _positions(tx, State.IN_DOUBT):
        sent = query.last_sent(tx, entry) if not report.is_open or entry.period != report.period else None
        if sent is not None and now >= sent.ended_at + settle_after:
            store.close(tx, entry, reason=CLOSED, now=now)


def _positions(tx: Connection, *states: State) -> list[Entry]:
    columns = table.entry.c
    where = (columns.resource == "repayment", columns.state.in_([state.value for state in states]))
    return [of(row) for row in tx.execute(sa.select(table.entry).where(*where).order_by(columns.id))]


def _reported(tx: Connection, period: str) -> set[str]:
    """Identities that have a position of this period that was not replaced or withdrawn."""
    columns = table.entry.c
    where = (
        columns.resource == "repayment",
        columns.period == period,
        columns.state.not_in([State.SUPERSEDED.value, State.WITHDRAWN.value]),
    )
    return set(tx.execute(sa.select(columns.identity).where(*where)).scalars())
