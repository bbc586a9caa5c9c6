"""The outbox is bound to one destination and one MIS: with another one, everything would look delivered."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.config import settings as config
from kiva_relay.outbox import table

_NAMES = {"api_url": "kiva.api_url", "partner_id": "kiva.partner_id", "mis": "mis.url"}
_GET = sa.select(table.meta.c.value).where(table.meta.c.name == sa.bindparam("name"))
_PUT = sa.update(table.meta).where(table.meta.c.name == sa.bindparam("its_name"))


def get(tx: Connection, name: str) -> str | None:
    """A fact about the outbox itself."""
    return tx.execute(_GET, {"name": name}).scalar()


def put(tx: Connection, name: str, value: str) -> None:
    """Remember a fact about the outbox itself."""
    if tx.execute(_PUT, {"value": value, "its_name": name}).rowcount == 0:
        tx.execute(sa.insert(table.meta).values(name=name, value=value))


def remove(tx: Connection, name: str) -> None:
    """Forget a fact."""
    tx.execute(sa.delete(table.meta).where(table.meta.c.name == name))


def bind_destination(tx: Connection, settings: config.Settings) -> None:
    """Bind a new outbox to its destination, or check that it is still the same one.

    Raises:
        OutboxRefused: the outbox belongs to another API or partner.
    """
    if get(tx, "outbox_id") is None:
        put(tx, "outbox_id", secrets.token_hex(8))
    _bind(tx, _destination(settings), settings)


def bind_mis(tx: Connection, identity: str, settings: config.Settings) -> None:
    """Bind a new outbox to its MIS, or check that it is still the same one.

    What stands behind a `#` tells a restored copy from the one before; that is for the watermarks to notice.

    Raises:
        OutboxRefused: the outbox has read another database.
    """
    _bind(tx, {"mis": identity.partition("#")[0]}, settings)


def bind_mis_anew(tx: Connection, identity: str) -> str | None:
    """Take another MIS for the one that the outbox belongs to, on a person's word; what it was bound to before."""
    before, now_is = get(tx, "mis"), identity.partition("#")[0]
    put(tx, "mis", now_is)
    return before if before != now_is else None


def check_destination(tx: Connection, settings: config.Settings) -> None:
    """Check that the outbox is of this destination, or of none yet. Binds nothing.

    Raises:
        OutboxRefused: the outbox belongs to another API or partner.
    """
    for name, value in _destination(settings).items():
        _compare(name, get(tx, name), value, settings)


def _destination(settings: config.Settings) -> dict[str, str]:
    return {"api_url": settings.kiva.api_url, "partner_id": settings.kiva.partner_id}


def _bind(tx: Connection, facts: dict[str, str], settings: config.Settings) -> None:
    for name, value in facts.items():
        bound = get(tx, name)
        _compare(name, bound, value, settings)
        if bound is None:
            put(tx, name, value)


def _compare(name: str, bound: str | None, value: str, settings: config.Settings) -> None:
    if bound in (None, value):
        return
    hint = (
        "Another destination or MIS needs an outbox of its own: set outbox.url to a new one."
        " The old one stays where it is. If the setting is a mistake, correct it."
    )
    if name == "mis":
        hint += (
            "\nIs it the same MIS, moved to another server or restored there? Then it is read anew, and held until"
            ' somebody has looked:\n  sudo kiva-relay watermark set --note "MIS moved"'
        )
    raise errors.OutboxRefused(
        f"The outbox {settings.outbox.url} belongs to {_NAMES[name]} {bound}; the configuration"
        f" {settings.file} says {value}. Nothing was read or sent.",
        hint=hint,
    )
