"""An edited mapping that came into force: all it made is looked at again, and what waits is kept back meanwhile.

A body that changes is a new version; what was delivered is never sent again. When more than a tenth of what waited
(of the positions of the period, where they are owed) would go out changed, a person is asked first: who edits one
word of a mapping may not know what that does to the book.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import __version__, log
from kiva_relay.capture.scan import look_for_more
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import hold, meta, table, watermark
from kiva_relay.outbox.meta import Upgrade
from kiva_relay.outbox.state import State

MUCH = 0.1
"""The part of what waited that an edit may change without asking."""

_columns = table.entry.c
# What the mapping refused has none: that it can be sent after an edit is what the edit was for.
_has_body = _columns.body_sha256.is_not(None)
_log = log.get("capture")


def seen(tx: Connection, document: Document) -> None:
    """A person has seen what this version of a mapping changes, and put it into force."""
    meta.mapping_approved(document.name).put(tx, document.fingerprint)


def in_force(tx: Connection, name: str) -> str | None:
    """The text of the mapping that the relay works with; None for one that never ran."""
    return meta.mapping_text(name).get(tx)


def notice(tx: Connection, document: Document, *, now: datetime) -> bool:
    """Remember the version in force; when it differs from the one before, begin to look at everything again.

    True while a revision is under way. The hold on its stream has one parameter, `mapping`.
    """
    name = document.name
    before = meta.mapping_fingerprint(name).get(tx)
    upgrade = _upgrade(tx, document)
    if in_force(tx, name) != document.text:
        meta.mapping_text(name).put(tx, document.text)
    if before == document.fingerprint:
        return meta.mapping_revision(name).get(tx) is not None
    meta.mapping_fingerprint(name).put(tx, document.fingerprint)
    if before is None:
        return False
    watermark.read_again(tx, table.captured.c.stream == name, table.captured.c.in_scope)
    look_for_more(tx, name, now=now)
    # An edit upon an edit is measured against what waited before the first of them.
    if meta.mapping_revision(name).get(tx) is None:
        _begin(tx, document, now=now, upgrade=upgrade)
    return True


def _upgrade(tx: Connection, document: Document) -> Upgrade | None:
    """Remember what the package says in this mapping, and in which version; the upgrade that changed it, if one did.

    In the same version it differs when somebody edited the package's file, or chose another base: no upgrade did that.
    """
    fact, digest = meta.mapping_ready_made(document.name), document.sources.ready_made_digest
    stored = fact.get(tx)
    if not digest:
        if stored is not None:
            fact.remove(tx)
        return None
    says = meta.ReadyMade(sha256=digest, version=__version__)
    if stored == says:
        return None
    fact.put(tx, says)
    if stored is None or stored.sha256 == digest or stored.version == __version__:
        return None
    return Upgrade(document.sources.ready_made[0].called, stored.version, __version__)


def _why(upgrade: Upgrade | None) -> dict[str, str]:
    return {} if upgrade is None else dataclasses.asdict(upgrade)


def finish(tx: Connection, document: Document, *, now: datetime) -> bool:
    """When everything was looked at again: let go what was kept back, or hold it for a person; false before that.

    The hold's parameters: `mapping`, `changed` and `waiting`, numbers of identities.
    """
    if watermark.to_read_again(tx, document.name, limit=1):
        return False
    begun = meta.mapping_revision(document.name).get(tx)
    if begun is None:
        return True
    meta.mapping_revision(document.name).remove(tx)
    changed = _changed(tx, document, begun)
    approved = meta.mapping_approved(document.name).get(tx) == document.fingerprint
    if changed > MUCH * begun.waiting and not approved:
        params = {"mapping": document.name, "changed": changed, "waiting": begun.waiting, **_why(begun.upgrade)}
        if hold.put(tx, document.resource, "mapping_changes_much", now=now, params=params):
            _log.warning(
                "An edited mapping changes much of what waits; held",
                mapping=document.name,
                changed=changed,
                waiting=begun.waiting,
                **_why(begun.upgrade),
            )
    hold.release(tx, hold.STREAM + document.name, by=hold.RELAY, note="looked at", now=now, reason="mapping_examined")
    return True


def _begin(tx: Connection, document: Document, *, now: datetime, upgrade: Upgrade | None) -> None:
    where = (_columns.stream == document.name,)
    period = tx.execute(sa.select(sa.func.max(_columns.period)).where(*where)).scalar() or ""
    waiting = tx.execute(
        sa.select(sa.func.count(sa.distinct(_columns.identity))).where(*where, _stands(document, period))
    ).scalar_one()
    newest = tx.execute(sa.select(sa.func.max(_columns.id))).scalar() or 0
    begun = meta.Revision(newest=newest, waiting=waiting, period=period, at=now, upgrade=upgrade)
    meta.mapping_revision(document.name).put(tx, begun)
    if upgrade is not None:
        _log.info("An upgrade changed a ready-made mapping", mapping=document.name, **_why(upgrade))
    if waiting:
        params = {"mapping": document.name, **_why(upgrade)}
        hold.put(tx, hold.STREAM + document.name, "mapping_examined", now=now, params=params)


def _stands(document: Document, period: str) -> sa.ColumnElement[bool]:
    """What waits to be sent; of positions also those that Kiva has of this period, for a newer one replaces them."""
    waits = sa.and_(_columns.state.in_([State.READY.value, State.WAITING.value]), _has_body)
    if document.resource != "repayment":
        return waits
    return sa.or_(waits, sa.and_(_columns.state == State.DELIVERED.value, _columns.period == period))


def _changed(tx: Connection, document: Document, begun: meta.Revision) -> int:
    """Identities that waited then, and have another version now, or none."""
    older = (_columns.stream == document.name, _columns.id <= begun.newest)
    replaced = sa.and_(_columns.state == State.SUPERSEDED.value, _columns.settled_at >= begun.at, _has_body)
    if document.resource == "repayment":
        replaced = sa.or_(replaced, sa.and_(_columns.state == State.DELIVERED.value, _columns.period == begun.period))
    before = sa.select(_columns.identity).where(*older, replaced)
    newer = (_columns.stream == document.name, _columns.id > begun.newest, _columns.identity.in_(before))
    versions = sa.select(sa.func.count(sa.distinct(_columns.identity))).where(*newer)
    gone = sa.select(sa.func.count(sa.distinct(_columns.identity))).where(
        *older, _columns.state == State.WITHDRAWN.value, _columns.settled_at >= begun.at, _has_body
    )
    return int(tx.execute(versions).scalar_one()) + int(tx.execute(gone).scalar_one())
