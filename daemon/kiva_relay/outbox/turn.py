"""Whose turn it is: which stream was looked at longest ago, over restarts too, so that none starves another."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import Connection

from kiva_relay.outbox import meta


def order(tx: Connection, streams: Collection[str]) -> list[str]:
    """The streams, the one that was looked at longest ago first; those that never were come before all others."""
    last = {name: place for place, name in enumerate(_stored(tx), start=1)}
    return sorted(streams, key=lambda name: last.get(name, 0))


def is_last(tx: Connection, stream: str) -> bool:
    """Was this one looked at last?"""
    return _stored(tx)[-1:] == [stream]


def take(tx: Connection, stream: str) -> None:
    """The stream is looked at now. Written before its first page: a relay that is ended there begins with the next."""
    meta.TURNS.put(tx, [*(name for name in _stored(tx) if name != stream), stream])


def _stored(tx: Connection) -> list[str]:
    return meta.TURNS.get(tx) or []
