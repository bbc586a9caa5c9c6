"""An edited mapping that came into force: everything it made is looked at anew, and what waits is kept back meanwhile.

A body that changes is a new version; what was delivered is never sent again. When more than a tenth of what waited
(of the positions of the period, where they are owed) would go out changed, a person is asked first: who edits one
word of a mapping may not know what it does to the whole book.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import __version__, log
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import binding, hold, scan, table, watermark
from kiva_relay.outbox.state import State

MUCH = 0.1

_columns = table.entry.c
# What the mapping refused has none: that it can be sent after an edit is what the edit was for.
_has_body = _columns.body_sha256.is_not(None)
_log = log.get("capture")


@dataclasses.dataclass(frozen=True)
class Upgrade:
    """An upgrade that changed what the package says in a mapping: the versions of the relay before and after.

    `base` is the ready-made mapping, as `fineract/journal`.
    """

    base: str
    before: str
    now: str


def seen(tx: Connection, document: Document) -> None:
    """A person has seen what this version of a mapping changes, and put it into force."""
    binding.put(tx, f"seen {document.name}", document.fingerprint)


def in_force(tx: Connection, name: str) -> str | None:
    """The text of the mapping that the relay works with; None for one that never ran."""
    return binding.get(tx, f"text of {name}")


def notice(tx: Connection, document: Document, *, now: datetime) -> bool:
    """Remember the version in force; when it is another than before, begin to look at everything again.

    True while a revision is under way.
    """
    name = document.name
    before = binding.get(tx, f"fingerprint of {name}")
    upgrade = _upgrade(tx, document)
    if in_force(tx, name) != document.text:
        binding.put(tx, f"text of {name}", document.text)
    if before == document.fingerprint:
        return binding.get(tx, f"revision of {name}") is not None
    binding.put(tx, f"fingerprint of {name}", document.fingerprint)
    if before is None:
        return False
    watermark.read_again(tx, table.captured.c.stream == name, table.captured.c.in_scope)
    _look_for_more(tx, name, now=now)
    # An edit upon an edit is measured against what waited before the first of them.
    if binding.get(tx, f"revision of {name}") is None:
        _begin(tx, document, now=now, upgrade=upgrade)
    return True


def _upgrade(tx: Connection, document: Document) -> Upgrade | None:
    """Remember what the package says in this mapping, and in which version; the upgrade that changed it, if one did."""
    key, digest = f"ready-made of {document.name}", document.sources.ready_made_digest
    stored = orjson.loads(binding.get(tx, key) or "{}")
    if not digest:
        if stored:
            binding.remove(tx, key)
        return None
    if stored.get("sha256") == digest:
        return None
    binding.put(tx, key, orjson.dumps({"sha256": digest, "version": __version__}).decode())
    return Upgrade(document.sources.ready_made[0].called, stored["version"], __version__) if stored else None


def finish(tx: Connection, document: Document, *, now: datetime) -> bool:
    """When everything was looked at again: let go what was kept back, or hold it for a person; false before that."""
    if watermark.to_read_again(tx, document.name, limit=1):
        return False
    stored = binding.get(tx, f"revision of {document.name}")
    if stored is None:
        return True
    begun = orjson.loads(stored)
    binding.remove(tx, f"revision of {document.name}")
    changed = _changed(tx, document, begun)
    approved = binding.get(tx, f"seen {document.name}") == document.fingerprint
    if changed > MUCH * begun["waiting"] and not approved:
        params = {"mapping": document.name, "changed": changed, "waiting": begun["waiting"], **begun.get("upgrade", {})}
        if hold.put(tx, document.resource, "mapping_changes_much", now=now, params=params):
            _log.warning(
                "An edited mapping changes much of what waits; held",
                mapping=document.name,
                changed=changed,
                waiting=begun["waiting"],
                **begun.get("upgrade", {}),
            )
    hold.release(tx, hold.STREAM + document.name, by=hold.RELAY, note="looked at", now=now, reason="mapping_examined")
    return True


def _begin(tx: Connection, document: Document, *, now: datetime, upgrade: Upgrade | None) -> None:
    where = (_columns.stream == document.name,)
    period = tx.execute(sa.select(sa.func.max(_columns.period)).where(*where)).scalar() or ""
    waiting = tx.execute(
        sa.select(sa.func.count(sa.distinct(_columns.identity))).where(*where, _stands(document, period))
    ).scalar_one()
    upto = tx.execute(sa.select(sa.func.max(_columns.id))).scalar() or 0
    why = {} if upgrade is None else {"upgrade": dataclasses.asdict(upgrade)}
    record: dict[str, Any] = {"upto": upto, "waiting": waiting, "period": period, "at": now.isoformat(), **why}
    if upgrade is not None:
        _log.info("An upgrade changed a ready-made mapping", mapping=document.name, **why["upgrade"])
    binding.put(tx, f"revision of {document.name}", orjson.dumps(record).decode())
    if waiting:
        params = {"mapping": document.name, **why.get("upgrade", {})}
        hold.put(tx, hold.STREAM + document.name, "mapping_examined", now=now, params=params)


def _look_for_more(tx: Connection, name: str, *, now: datetime) -> None:
    """Rows that the edit took into scope: nothing of theirs changed, so that no poll shows them; that is no miss."""
    watermark.scan_anew(tx, name, now=now)
    mark = watermark.watermarks(tx)[name]
    if mark.scan == "sweep":
        scan.keep(tx, name, scan.ScanProgress(mark.scan_number, "edit", since=now, total=0))


def _stands(document: Document, period: str) -> sa.ColumnElement[bool]:
    """What waits to be sent; of positions also those of the period that Kiva has, for a newer one replaces them."""
    waits = sa.and_(_columns.state.in_([State.READY.value, State.WAITING.value]), _has_body)
    if document.resource != "repayment":
        return waits
    return sa.or_(waits, sa.and_(_columns.state == State.DELIVERED.value, _columns.period == period))


def _changed(tx: Connection, document: Document, begun: dict[str, Any]) -> int:
    """Identities that waited then, and have another version now, or none."""
    older = (_columns.stream == document.name, _columns.id <= begun["upto"])
    at = datetime.fromisoformat(begun["at"])
    replaced = sa.and_(_columns.state == State.SUPERSEDED.value, _columns.settled_at >= at, _has_body)
    if document.resource == "repayment":
        replaced = sa.or_(
            replaced, sa.and_(_columns.state == State.DELIVERED.value, _columns.period == begun["period"])
        )
    before = sa.select(_columns.identity).where(*older, replaced)
    newer = (_columns.stream == document.name, _columns.id > begun["upto"], _columns.identity.in_(before))
    versions = sa.select(sa.func.count(sa.distinct(_columns.identity))).where(*newer)
    gone = sa.select(sa.func.count(sa.distinct(_columns.identity))).where(
        *older, _columns.state == State.WITHDRAWN.value, _columns.settled_at >= at, _has_body
    )
    return int(tx.execute(versions).scalar_one()) + int(tx.execute(gone).scalar_one())
