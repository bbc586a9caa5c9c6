"""What was decided for a key is written, in the transaction of its page."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log, meter
from kiva_relay.capture import owed_position
from kiva_relay.capture.context import CaptureContext
from kiva_relay.capture.owed import KeyDecision
from kiva_relay.outbox import divergence, forgotten, hold, store, table, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.report import place
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
        if one.reason not in (owed_position.NOT_EXPECTED, place.LEFT_OUT):
            # Another row may have the id, too; its entry was withdrawn just now, or refused as long as both had it.
            watermark.read_identities_again(tx, captured.resource, [one.identity])
    if decision.owed is not None:
        entry = store.owe(tx, forgotten.without_client(tx, decision.owed), now=look.now)
        if entry is not None:
            _brake(tx, look, entry)
            for reason in decision.owed.refusals:
                meter.mapping_refusals.labels(mapping=look.document.name, code=reason.code).inc()
    if captured.client_id and captured.identity and forgotten.has(tx, captured.identity):
        captured = dataclasses.replace(captured, client_id=None)
    watermark.keep(tx, captured, new=decision.new)


def _brake(tx: Connection, look: CaptureContext, entry: Entry) -> None:
    """More newly owed in an hour than a person would expect: hold the resource.

    The hold's parameters: `number` that became owed `within` that time, and `brake`, how many may.
    """
    if not counts_for_the_brake(entry):
        return
    brake = look.settings.delivery.brake
    # Each new one asks, and a book of thousands may come in within the hour: not all of them are counted each time.
    if _newly_owed(tx, look, entry.resource, most=brake + 1) > brake and not _is_braked(tx, entry.resource):
        newly = _newly_owed(tx, look, entry.resource)
        given = {"number": newly, "within": "1 hour", "brake": brake}
        if hold.put(tx, entry.resource, "brake", now=look.now, params=given):
            _log.warning("More became owed than delivery.brake allows; held", resource=entry.resource, number=newly)


def counts_for_the_brake(entry: Entry) -> bool:
    """Is it something new that Kiva creates? A correction is not, nor what was there when the book was read in."""
    return RESOURCES[entry.resource].create_once and entry.origin != "backfill" and entry.version == 1


def _is_braked(tx: Connection, resource: str) -> bool:
    return any((held.what, held.reason) == (resource, "brake") for held in hold.in_force(tx))


def _newly_owed(tx: Connection, look: CaptureContext, resource: str, *, most: int | None = None) -> int:
    """How many became owed within the span; those after `most` are not counted."""
    columns = table.entry.c
    where = (
        sa.text(table.NEWLY_OWED),
        columns.resource == resource,
        columns.created_at > look.now - BRAKE_SPAN,
    )
    found = sa.select(columns.id).where(*where).limit(most).subquery()
    return tx.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()
