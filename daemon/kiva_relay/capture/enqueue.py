"""What was decided for a key is written, in the transaction of its page."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyDecision
from kiva_relay.outbox import divergence, hold, store, table, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.resource.kind import RESOURCES

BRAKE_SPAN = timedelta(hours=1)
"""The span in which `delivery.brake` counts what became owed."""

_log = log.get("capture")


def write(tx: Connection, look: CaptureContext, decision: KeyDecision) -> None:
    """Write all that was decided for one key: hold, withdrawals, divergence, entry, and what is known of it.

    Raises:
        Overtaken: somebody moved an entry meanwhile; the page is read again.
    """
    captured = decision.captured
    if decision.became_another:
        given = {"stream": captured.stream, "key": captured.key}
        hold.put(tx, f"{hold.STREAM}{captured.stream}", "mis_went_back", now=look.now, params=given)
    if decision.replaced is not None:
        other = decision.replaced
        divergence.another(tx, other.sent, other.was, other.now_is, now=look.now)
    for one in decision.withdrawals:
        store.left_scope(tx, captured.resource, one.identity, reason=one.reason, now=look.now)
    if decision.owed is not None:
        entry = store.owe(tx, decision.owed, now=look.now)
        if entry is not None:
            _brake(tx, look, entry)
            for reason in decision.owed.refusals:
                meter.mapping_refusals.labels(mapping=look.document.name, code=reason.code).inc()
    watermark.keep(tx, captured, new=decision.new)


def _brake(tx: Connection, look: CaptureContext, entry: Entry) -> None:
    """More newly owed in an hour than a person would expect: hold the resource.

    The hold's parameters: `number` that became owed `within` that time, and `brake`, how many may.
    """
    if not counts_for_the_brake(entry):
        return
    newly = _newly_owed(tx, look, entry.resource)
    brake = look.settings.delivery.brake
    if newly > brake:
        given = {"number": newly, "within": "1 hour", "brake": brake}
        if hold.put(tx, entry.resource, "brake", now=look.now, params=given):
            _log.warning("More became owed than delivery.brake allows; held", resource=entry.resource, number=newly)


def counts_for_the_brake(entry: Entry) -> bool:
    """Is it something new that Kiva creates? A correction is not, nor what was there when the book was read in."""
    return RESOURCES[entry.resource].create_once and entry.origin != "backfill" and entry.version == 1


def _newly_owed(tx: Connection, look: CaptureContext, resource: str) -> int:
    columns = table.entry.c
    where = (
        columns.resource == resource,
        columns.origin != "backfill",
        columns.version == 1,
        columns.created_at > look.now - BRAKE_SPAN,
    )
    return tx.execute(sa.select(sa.func.count()).select_from(table.entry).where(*where)).scalar_one()
