"""The outbox is bound to one destination and one MIS: with another one, everything would look delivered."""

from __future__ import annotations

import secrets

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.config import settings as config
from kiva_relay.outbox import meta
from kiva_relay.outbox.meta import Fact

_SETTINGS = {meta.API_URL: "kiva.api_url", meta.PARTNER_ID: "kiva.partner_id", meta.MIS: "mis.url"}
"""The setting that each of these facts is compared with."""


def bind_destination(tx: Connection, settings: config.Settings) -> None:
    """Bind a new outbox to its destination, or check that it is still the same one.

    Raises:
        OutboxRefused: the outbox belongs to another API or partner.
    """
    if meta.OUTBOX_ID.get(tx) is None:
        meta.OUTBOX_ID.put(tx, secrets.token_hex(8))
    _bind(tx, _destination(settings), settings)


def bind_mis(tx: Connection, identity: str, settings: config.Settings) -> None:
    """Bind a new outbox to its MIS, or check that it is still the same one.

    What stands behind a `#` tells a restored copy from the one before; that is for the watermarks to notice.

    Raises:
        OutboxRefused: the outbox has read another database.
    """
    _bind(tx, {meta.MIS: identity.partition("#")[0]}, settings)


def check_mis(tx: Connection, identity: str, settings: config.Settings) -> None:
    """Check that the outbox has read this MIS, or none yet. Binds nothing.

    Raises:
        OutboxRefused: the outbox has read another database.
    """
    _compare(meta.MIS, meta.MIS.get(tx), identity.partition("#")[0], settings)


def rebind_mis(tx: Connection, identity: str) -> str | None:
    """Take another MIS for the one that the outbox belongs to, on a person's word; what it was bound to before."""
    before, now_is = meta.MIS.get(tx), identity.partition("#")[0]
    meta.MIS.put(tx, now_is)
    return before if before != now_is else None


def check_destination(tx: Connection, settings: config.Settings) -> None:
    """Check that the outbox is of this destination, or of none yet. Binds nothing.

    Raises:
        OutboxRefused: the outbox belongs to another API or partner.
    """
    for fact, value in _destination(settings).items():
        _compare(fact, fact.get(tx), value, settings)


def _destination(settings: config.Settings) -> dict[Fact[str], str]:
    return {meta.API_URL: settings.kiva.api_url, meta.PARTNER_ID: settings.kiva.partner_id}


def _bind(tx: Connection, facts: dict[Fact[str], str], settings: config.Settings) -> None:
    for fact, value in facts.items():
        bound = fact.get(tx)
        _compare(fact, bound, value, settings)
        if bound is None:
            fact.put(tx, value)


def _compare(fact: Fact[str], bound: str | None, value: str, settings: config.Settings) -> None:
    if bound in (None, value):
        return
    hint = (
        "Another destination or MIS needs an outbox of its own: set outbox.url to a new one."
        " The old one stays where it is. If the setting is a mistake, correct it."
    )
    if fact == meta.MIS:
        hint += (
            "\nIs it the same MIS, moved to another server or restored there? Then it is read again, and held until"
            ' somebody has looked:\n  kiva-relay watermark set --note "MIS moved"'
        )
    raise errors.OutboxRefused(
        f"The outbox {settings.outbox.url} belongs to {_SETTINGS[fact]} {bound}; the configuration"
        f" {settings.file} says {value}. Nothing was read or sent.",
        hint=hint,
    )
