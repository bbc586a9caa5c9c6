"""Kiva's own lists (activities, locales, locations, themes), as `GET …/config/{kind}` gave them last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import mirror_table
from kiva_relay.resource import body as json_body

KINDS = ("activities", "locales", "locations", "themes")
_VERSIONS = sa.select(mirror_table.catalogue.c.kind, mirror_table.catalogue.c.sha256)


def keep(tx: Connection, kind: str, items: list[dict[str, Any]], *, now: datetime) -> bool:
    """Store a list; true when it differs from the one before."""
    fingerprint = json_body.sha256({"items": items})
    columns = mirror_table.catalogue.c
    before = tx.execute(sa.select(columns.sha256).where(columns.kind == kind)).scalar()
    values = {"items": items, "sha256": fingerprint, "refreshed_at": now}
    if before is None:
        tx.execute(sa.insert(mirror_table.catalogue).values(kind=kind, **values))
    else:
        tx.execute(sa.update(mirror_table.catalogue).where(columns.kind == kind).values(**values))
    return before != fingerprint


def load(tx: Connection) -> dict[str, list[dict[str, Any]]]:
    """All lists that were ever read, by kind."""
    columns = mirror_table.catalogue.c
    return {row.kind: row.items for row in tx.execute(sa.select(columns.kind, columns["items"]))}


def versions(tx: Connection) -> dict[str, str]:
    """A fingerprint of each list: to see whether they have to be loaded again."""
    return {row.kind: row.sha256 for row in tx.execute(_VERSIONS)}


def refreshed_at(tx: Connection) -> datetime | None:
    """When the oldest of the lists was read; None while one is missing."""
    moments = list(tx.execute(sa.select(mirror_table.catalogue.c.refreshed_at)).scalars())
    return min(moments) if len(moments) == len(KINDS) else None
