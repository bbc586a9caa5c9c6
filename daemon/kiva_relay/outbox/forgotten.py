"""Loans whose borrower asked to be forgotten: nothing that Kiva creates once is sent of them any more.

Known by a keyed hash of their id, from which nobody can read it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.outbox import divergence, forgotten_table, table
from kiva_relay.outbox.entry import Owed
from kiva_relay.resource import loan_id as spelled

_columns = forgotten_table.forgotten.c
_ANY = sa.text("SELECT 1 FROM forgotten LIMIT 1")
_DIGITS = 32


def hashed(tx: Connection, loan_id: str) -> str:
    """A keyed hash of a loan's id, however it is spelled."""
    key = divergence.hash_key(tx).encode()
    return hmac.new(key, spelled.key(loan_id).encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def any_at_all(tx: Connection) -> bool:
    """Did ever a borrower ask for it?"""
    return tx.execute(_ANY).first() is not None


def has(tx: Connection, *loan_ids: str) -> bool:
    """Is one of these the id of a loan that is forgotten?"""
    if not any_at_all(tx):
        return False
    hashes = [hashed(tx, one) for one in loan_ids]
    return tx.execute(sa.select(_columns.loan).where(_columns.loan.in_(hashes)).limit(1)).first() is not None


def all_of(tx: Connection, loan_ids: Iterable[str]) -> list[str]:
    """Those of these ids that are of forgotten loans. One query, however many ids: for what looks at all of them."""
    known = set(tx.execute(sa.select(_columns.loan)).scalars())
    return [one for one in loan_ids if hashed(tx, one) in known] if known else []


def remember(tx: Connection, loan_ids: Iterable[str], *, by: str, now: datetime) -> None:
    """From now on nothing more is sent of these loans but their positions."""
    for one in {hashed(tx, loan_id) for loan_id in loan_ids}:
        if tx.execute(sa.select(_columns.loan).where(_columns.loan == one)).first() is None:
            tx.execute(sa.insert(forgotten_table.forgotten).values(loan=one, at=now, by=by))


def without_client(tx: Connection, owed: Owed) -> Owed:
    """What is owed; of a forgotten loan, whose positions go on, without the client's id."""
    if owed.resource in table.CREATE_ONCE or not has(tx, owed.loan_id, owed.identity):
        return owed
    return dataclasses.replace(owed, client_id="")
