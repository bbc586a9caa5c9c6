"""A person finalised a report in PA2, or it turned out that it is not: the relay cannot see that, and must be told."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, hold, report, table
from kiva_relay.outbox.act import Done
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.report import Report
from kiva_relay.report import calendar, current, frozen
from kiva_relay.resource import window

RELEASES = ("first_report", "basis_changed")
"""Holds that wait for a person who has looked at the report."""
_FIRST_START = "first_start"


FINALISED, REOPENED = "report finalised", "report reopen"
"""What is written down, as it is typed."""


def history(tx: Connection, period: str) -> list[Done]:
    """Who said that a report is finalised, or that it is not after all, the oldest first."""
    return act.of_period(tx, period, verbs=(FINALISED, REOPENED))


def finalise(tx: Connection, settings: Settings, period: str, *, by: str, note: str, now: datetime) -> Report:
    """Nothing more is sent of a report, nor decided about it; one that is open closes. Its lines stay as they are now.

    Raises:
        UsageError: there is no such report, or it was finalised before, or a call of it is under way.
    """
    found = _of(tx, period)
    if found.finalised_at is not None:
        raise errors.UsageError(
            f"{found.finalised_by} finalised the report of {period} already, on {found.finalised_at:%Y-%m-%d}.",
            code="finalised",
            params={"person": found.finalised_by or ""},
        )
    columns = table.entry.c
    under_way = (columns.resource == "repayment", columns.state == "sending", columns.period == period)
    if tx.execute(sa.select(columns.id).where(*under_way).limit(1)).first() is not None:
        raise errors.UsageError(
            f"Positions of {period} are on their way to Kiva just now. Nothing was finalised.",
            hint=f"In a minute:   kiva-relay report finalised {period}",
            code="under_way",
        )
    if found.closed_at is None:
        found = calendar.close(tx, settings, found, now=now)
    act.record(tx, by=by, verb=FINALISED, about={"period": period}, note=note, now=now)
    finalised = report.change(tx, found, finalised_at=now, finalised_by=by)
    report.freeze(tx, period, map(frozen.kept, current.lines_of(tx, settings, period, now)))
    return finalised


def reopen(tx: Connection, settings: Settings, period: str, *, by: str, note: str, now: datetime) -> Report:
    """A report is not finalised after all: it goes on while its window is open, else it takes late decisions.

    Raises:
        UsageError: there is no such report, it is not finalised, or the next one has opened.
    """
    found = _of(tx, period)
    if found.finalised_at is None:
        raise errors.UsageError(
            f"The report of {period} is not finalised: there is nothing to reopen.", code="not_finalised"
        )
    latest = report.latest(tx)
    if latest is not None and latest.period != period:
        raise errors.UsageError(
            f"The report of {latest.period} has opened since: what is sent now is booked there.",
            hint=f"kiva-relay report {latest.period}",
            code="next_opened",
        )
    due = window.report(settings, now)
    goes_on = due.period == period and due.is_open
    act.record(tx, by=by, verb=REOPENED, about={"period": period}, note=note, now=now)
    changes = {"finalised_at": None, "finalised_by": None} | ({"closed_at": None} if goes_on else {})
    return report.change(tx, found, **changes)


def release(tx: Connection, *, by: str, note: str, now: datetime) -> tuple[list[str], list[Hold]]:
    """Let the report go that waits for a person who has looked at it; the reasons, and the holds that stay."""
    for held in hold.in_force(tx):
        if held.what == hold.ALL and held.reason == _FIRST_START:
            hold.divide(tx, held, by=by, now=now)
    released = [
        reason
        for reason in (*RELEASES, _FIRST_START)
        if hold.release(tx, "repayment", by=by, note=note, now=now, reason=reason)
    ]
    if released:
        act.record(tx, by=by, verb="report send", about={"reasons": released}, note=note, now=now)
    return released, [held for held in hold.in_force(tx) if held.what in (hold.ALL, "repayment")]


def _of(tx: Connection, period: str) -> Report:
    found = report.of(tx, period)
    if found is None:
        known = ", ".join(one.period for one in report.every(tx)[-3:])
        raise errors.UsageError(
            f"There is no report of {period}.", hint=f"There are: {known}" if known else "kiva-relay report"
        )
    return found
