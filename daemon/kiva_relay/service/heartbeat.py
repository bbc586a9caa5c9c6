"""What the running relay says of itself: its heartbeat in the outbox, and metrics of what the outbox holds."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import meter
from kiva_relay.account import balance
from kiva_relay.account.balance import Account
from kiva_relay.account.line import LineKind
from kiva_relay.account.reconcile import DiscrepancyKind
from kiva_relay.config.settings import Settings
from kiva_relay.delivery.kiva_time import KivaTime
from kiva_relay.outbox import discrepancy, heartbeat, hold, meta, mirror, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import State
from kiva_relay.resource import window
from kiva_relay.resource.window import RepaymentReport

# By the partial index `entry_open`: what was delivered long ago is not read.
_NOT_SETTLED = sa.text("SELECT resource, state, count(*) FROM entry WHERE settled_at IS NULL GROUP BY resource, state")
_OPEN_ATTEMPTS = sa.text("SELECT count(*) FROM attempt WHERE ended_at IS NULL")


def publish(outbox: Outbox, beat: Heartbeat, *, kiva_time: KivaTime | None = None) -> None:
    """Write the heartbeat. No thread of the relay has to act upon it.

    Raises:
        OutboxAway: the outbox cannot be written.
    """
    with outbox.begin(quiet=True) as tx:
        heartbeat.write(tx, beat)
        if kiva_time is not None:
            kiva_time.keep(tx)


def tell(
    outbox: Outbox, beat: Heartbeat, settings: Settings, *, before: Account | None = None, recent: bool = False
) -> Account:
    """Set the gauges from what the outbox holds; the account. `before`: the one before; is it `recent`?

    Raises:
        OutboxAway: the outbox cannot be read.
    """
    with outbox.read() as tx:
        set_gauges(tx, beat)
        found = balance.read(tx, settings, last=beat, now=beat.beats_at, before=before, recent=recent)
    show(found)
    show_report(window.report(settings, beat.beats_at))
    return found


def set_gauges(tx: Connection, beat: Heartbeat) -> None:
    """Metrics that are what the outbox holds."""
    now = beat.beats_at
    counts: dict[tuple[str, ...], float] = {
        (str(resource), str(state)): float(count) for resource, state, count in tx.execute(_NOT_SETTLED)
    }
    meter.replace(meter.entries, counts)
    doubts: dict[tuple[str, ...], float] = {
        (resource,): counts.get((resource, State.IN_DOUBT.value), 0.0) for resource in table.RESOURCES
    }
    meter.replace(meter.in_doubt, doubts)
    meter.replace(meter.held, {(held.what, held.reason): 1.0 for held in hold.in_force(tx)})
    if meta.RECONCILED.get(tx) is not None:
        apart = discrepancy.numbers(tx)
        meter.replace(meter.reconcile, {(kind.value,): float(apart.get(kind.value, 0)) for kind in DiscrepancyKind})
    meter.attempts_open.set(tx.execute(_OPEN_ATTEMPTS).scalar_one())
    refresh = mirror.last_complete(tx)
    # Never read is no age of 0: then it is at least as old as the process.
    read_at = beat.started_at if refresh is None else refresh.started_at
    meter.mirror_age_seconds.set((now - read_at).total_seconds())
    marks = tx.execute(sa.select(table.watermark.c.stream, table.watermark.c.moved_at))
    lags: dict[tuple[str, ...], float] = {
        (str(stream),): (now - moved).total_seconds() for stream, moved in marks if moved is not None
    }
    meter.replace(meter.lag_seconds, lags)


def show_report(report: RepaymentReport) -> None:
    """When the open report closes; no sample while none is open, or it has no window."""
    closes: dict[tuple[str, ...], float] = {}
    if report.is_open and report.closes is not None:
        closes[report.period,] = report.closes.timestamp()
    meter.replace(meter.report_closes, closes)


def show(account: Account) -> None:
    """Metrics that are the account: every line of every resource that is sent, also the empty ones."""
    expected: dict[tuple[str, ...], float] = {(resource,): account.number(resource) for resource in account.lines}
    lines: dict[tuple[str, ...], float] = {
        (resource, kind.value): account.number(resource, kind) for resource in account.lines for kind in LineKind
    }
    meter.replace(meter.expected, expected)
    meter.replace(meter.account, lines)
