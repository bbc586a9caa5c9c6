"""When not to send: Kiva is away, asked us to wait, or answers get lost.

Whether answers get lost is read from the attempts of the outbox, so a restart forgets nothing. Whether Kiva is
away is kept in memory: the first harmless request of a new process finds out.
"""

from __future__ import annotations

import random
import threading
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import Clock
from kiva_relay.delivery import backoff
from kiva_relay.outbox import hold, table
from kiva_relay.resource.kind import RESOURCES

_SAID_AGAIN_AFTER = timedelta(hours=1)

_log = log.get("delivery")


class Destination:
    """What is known about Kiva's health. Shared by the threads that talk to it."""

    def __init__(self, *, clock: Clock, dice: random.Random | None = None) -> None:
        self._clock, self._dice, self._lock = clock, dice or random.Random(), threading.Lock()  # noqa: S311 - jitter
        self._failures = 0
        self._not_before: datetime | None = None
        self._said_at: datetime | None = None
        self.last_harmless_success: datetime | None = None
        self.down_since: datetime | None = None
        self.last_words = ""

    def answered(self) -> bool:
        """A harmless request succeeded; true when Kiva had been away."""
        with self._lock:
            was_away = self.down_since is not None
            self._failures, self._not_before, self.down_since = 0, None, None
            self._said_at = None
            self.last_harmless_success = self._clock.now()
            return was_away

    def unreachable(self, words: str) -> datetime:
        """Nothing was processed; when to ask again. The log says it the first time, and then once an hour."""
        with self._lock:
            self._failures += 1
            now = self._clock.now()
            self.down_since = self.down_since or now
            self.last_words = words
            self._not_before = now + backoff.wait(self._failures, dice=self._dice)
            if self._said_at is None or now - self._said_at >= _SAID_AGAIN_AFTER:
                self._said_at = now
                since = self.down_since.isoformat()
                _log.warning("Kiva does not answer. Nothing is lost; it is asked again", said=words, since=since)
            return self._not_before

    def asked_to_wait(self, pause: timedelta | None) -> datetime:
        """Kiva said: come back later; when."""
        with self._lock:
            self._failures += 1
            pause = pause if pause is not None else backoff.wait(self._failures, dice=self._dice)
            self._not_before = self._clock.now() + pause
            return self._not_before

    def pause(self) -> timedelta:
        """How long nothing may be asked, not even harmlessly; 0: now."""
        with self._lock:
            if self._not_before is None:
                return timedelta(0)
            return max(self._not_before - self._clock.now(), timedelta(0))


def doubts_in_a_row(tx: Connection, resource: str) -> tuple[int, datetime | None]:
    """How many answers of an additive resource were lost since the last accepted one, and when the last was.

    A released hold starts the count again: the person has looked.
    """
    if RESOURCES[resource].effect != "additive":
        return 0, None
    columns = table.attempt.c
    lost = sa.select(columns.ended_at).where(
        columns.resource == resource,
        columns.outcome == "in_doubt",
        columns.id > max(_last(tx, resource, "accepted"), hold.released_after(tx, resource, "many_in_doubt")),
    )
    moments = list(tx.execute(lost.order_by(columns.id)).scalars())
    return len(moments), moments[-1] if moments else None


def refusals_in_a_row(tx: Connection, resource: str) -> int:
    """How many bodies Kiva refused since it last accepted one; a released hold starts the count again."""
    columns = table.attempt.c
    query = sa.select(sa.func.count()).where(
        columns.resource == resource,
        columns.outcome == "refused",
        columns.id > max(_last(tx, resource, "accepted"), hold.released_after(tx, resource, "many_refusals")),
    )
    return tx.execute(query).scalar_one()


def _last(tx: Connection, resource: str, outcome: str) -> int:
    columns = table.attempt.c
    where = (columns.resource == resource, columns.outcome == outcome)
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.max(columns.id), 0)).where(*where)).scalar_one())
