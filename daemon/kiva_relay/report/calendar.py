"""The life of a report by the calendar: opened, looked at last, closed. One step of it, in the caller's transaction.

The relay alone takes these steps, at every look at the MIS. One that was off over an opening or a closing finds the
step not taken, and takes it then.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, meta, mirror, report, table
from kiva_relay.outbox.report import FrozenLine, Report
from kiva_relay.report import current, frozen, price
from kiva_relay.report.line import BASIS_CHANGED
from kiva_relay.resource.window import RepaymentReport

LAST_LOOK = "last look"

_entry = table.entry.c
_SENDING = sa.select(_entry.id).where(
    _entry.resource == "repayment", _entry.state == "sending", _entry.period == sa.bindparam("period")
)
_log = log.get("report")


def turn(tx: Connection, settings: Settings, due: RepaymentReport, *, now: datetime) -> bool:
    """Take the step that is due; whether positions of reports that are over may be ended now.

    Nothing is closed while a position of it is being sent: its answer comes, or is lost, before the window closes.
    """
    if "repayment" not in settings.resources:
        return True
    not_closed = report.not_closed(tx)
    for open_ in not_closed:
        if open_.period == due.period and due.is_open:
            _go_on(tx, settings, open_, due, now=now)
        elif tx.execute(_SENDING.limit(1), {"period": open_.period}).first() is not None:
            return False
        else:
            _close_by_time(tx, settings, open_, now=now)
    if all(one.period != due.period for one in not_closed) and report.of(tx, due.period) is None:
        _open(tx, settings, due, now=now)
    return True


def _open(tx: Connection, settings: Settings, due: RepaymentReport, *, now: datetime) -> None:
    before = report.latest(tx)
    if not due.is_open and not _was_missed(tx, due):
        return
    opened = current.beginning(due, settings, now=now)
    report.open_(tx, opened)
    _log.info("The report has opened", period=due.period, cutoff=str(due.cutoff))
    if before is not None:
        _hold_on_another_basis(tx, before.basis, opened.basis, now=now)
    if not due.is_open:
        _close_by_time(tx, settings, opened, now=now)


def _was_missed(tx: Connection, due: RepaymentReport) -> bool:
    """Did a window pass while no relay ran, that was there before it? Without Kiva's list nobody knows its loans."""
    first_start = meta.FIRST_START.get(tx)
    missed = first_start is not None and due.closes is not None and first_start < due.closes
    return missed and mirror.last_complete(tx) is not None


def _go_on(tx: Connection, settings: Settings, open_: Report, due: RepaymentReport, *, now: datetime) -> None:
    """A report stays open: it may be time for the last look, or the basis is another one."""
    basis = settings.repayments.basis
    if basis != open_.basis:
        _hold_on_another_basis(tx, open_.basis, basis, now=now)
    changed = {"basis": basis, "cutoff": due.cutoff, "opens_at": due.opens, "closes_at": due.closes}
    if due.stage == LAST_LOOK and open_.looked_at is None:
        changed["looked_at"] = now
        _log.info("The report closes soon: every position is computed once more", period=due.period)
    if any(getattr(open_, name) != value for name, value in changed.items()):
        report.change(tx, open_, **changed)


def _hold_on_another_basis(tx: Connection, was: str, is_: str, *, now: datetime) -> None:
    """What an amount means was changed: thousands would seem to fall, or rise. A person says that it is right."""
    held = next((one for one in hold.in_force(tx) if one.reason == BASIS_CHANGED), None)
    if held is not None and held.params.get("was") == is_:
        hold.release(tx, "repayment", by=hold.RELAY, note="changed back", now=now, reason=BASIS_CHANGED)
    elif was != is_ and hold.put(tx, "repayment", BASIS_CHANGED, now=now, params={"was": was, "is": is_}):
        _log.warning("repayments.basis was changed; the report is held until a person releases it", was=was, now_is=is_)


def close(tx: Connection, settings: Settings, open_: Report, *, now: datetime) -> Report:
    """Close a report: its lines stay as they are now, each with its reason.

    It writes no line of the log: where a person closes it, by finalising it, she is told by the command or the page.
    """
    return _closed(tx, settings, open_, now=now)[0]


def _close_by_time(tx: Connection, settings: Settings, open_: Report, *, now: datetime) -> None:
    closed, number = _closed(tx, settings, open_, now=now)
    _log.info("The report has closed; its lines are kept", period=closed.period, lines=number)


def _closed(tx: Connection, settings: Settings, open_: Report, *, now: datetime) -> tuple[Report, int]:
    """The report, now closed, and how many lines of it are kept."""
    number = report.freeze(tx, open_.period, _lines(tx, settings, open_))
    return report.change(tx, open_, closed_at=now), number


def _lines(tx: Connection, settings: Settings, of: Report) -> Iterator[FrozenLine]:
    live = current.live(tx, settings, of.period, basis=of.basis)
    return map(frozen.kept, price.priced(tx, map(frozen.closed, live), period=of.period, basis=of.basis))
