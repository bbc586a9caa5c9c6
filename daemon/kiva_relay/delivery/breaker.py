"""When not to send: Kiva is away, asked us to wait, or answers get lost.

Whether answers get lost is read from the attempts of the outbox, so a restart forgets nothing. Whether Kiva is
away is kept in memory: the first harmless request of a new process finds out.
"""

from __future__ import annotations

import random
import threading
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import Clock
from kiva_relay.delivery import backoff
from kiva_relay.outbox import hold, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.resource.kind import RESOURCES

_SAID_AGAIN_AFTER = timedelta(hours=1)

_attempt = table.attempt.c


def _last(resource: sa.ColumnElement[str], outcome: str) -> sa.ScalarSelect[int]:
    """The last attempt of a resource with an outcome, 0 for none; by the index of outcomes, one row of it is read."""
    attempt = table.attempt.alias("last").c
    last = sa.func.coalesce(sa.func.max(attempt.id), 0)
    return sa.select(last).where(attempt.resource == resource, attempt.outcome == outcome).scalar_subquery()


_LOST_LAST = sa.select(
    *(
        (_last(sa.literal(name), "in_doubt") > _last(sa.literal(name), "accepted")).label(name)
        for name, kind in RESOURCES.items()
        if kind.effect == "additive"
    )
)

_ITS = sa.bindparam("resource", type_=sa.Text)
_LOST_IN_A_ROW = (
    sa.select(_attempt.id, _attempt.ended_at)
    .where(_attempt.resource == _ITS, _attempt.outcome == "in_doubt", _attempt.id > _last(_ITS, "accepted"))
    .order_by(_attempt.id)
)
_REFUSED_IN_A_ROW = sa.select(sa.func.count()).where(
    _attempt.resource == _ITS,
    _attempt.outcome == "refused",
    _attempt.id > _last(_ITS, "accepted"),
    _attempt.id > sa.bindparam("looked"),
)

_log = log.get("delivery")


class Asked(StrEnum):
    """What is asked of Kiva, each with a back-off of its own: what fails waits, and nothing else."""

    SENDING = "sending"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    LOANS = "loans"  # the pages of the list of loans
    LISTS = "lists"  # activities, locales, locations, themes
    PROBE = "probe"  # the smallest harmless question: is Kiva there?


class Destination:
    """What is known about Kiva's health. Shared by the threads that talk to it.

    Each answer that is understood shows that Kiva is there, and ends the back-off of what was asked; a failure of
    another thing does not begin it again.
    """

    def __init__(self, *, clock: Clock, dice: random.Random | None = None) -> None:
        self._clock, self._dice, self._lock = clock, dice or random.Random(), threading.Lock()  # noqa: S311 - jitter
        self._failures: dict[Asked, int] = {}
        self._not_before: dict[Asked, float] = {}
        self._said_at: datetime | None = None
        self._list_said_at: datetime | None = None
        self.list_incomplete_since: datetime | None = None
        self.list_words = ""
        self._harmless: float | None = None
        self.down_since: datetime | None = None
        self.last_words = ""

    @property
    def last_harmless_success(self) -> datetime | None:
        """When Kiva answered something harmless last, by the hour as it is now: the clock may have been set since."""
        harmless = self._harmless
        if harmless is None:
            return None
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - harmless)

    @property
    def answers(self) -> float | None:
        """What the monotonic clock showed then: it tells one answer from the next."""
        return self._harmless

    def answered(self, asked: Asked = Asked.PROBE) -> bool:
        """An answer was understood; true when Kiva had been away.

        A token comes from another server: it does not show that the Partner API is there. Only what is harmless shows
        that something may be sent after an answer was lost.
        """
        with self._lock:
            self._failures.pop(asked, None)
            self._not_before.pop(asked, None)
            if asked is Asked.TOKEN and self._failures:
                return False
            was_away = self.down_since is not None
            self.down_since = self._said_at = None
            if asked not in (Asked.TOKEN, Asked.SENDING):
                self._harmless = self._clock.monotonic()
            return was_away

    def unreachable(self, words: str, asked: Asked = Asked.PROBE, *, pause: timedelta | None = None) -> timedelta:
        """Nothing was processed; how long until it is asked again. The log says it the first time, then once an hour.

        `pause` is how long Kiva asked us to wait.
        """
        with self._lock:
            now = self._clock.now()
            self.down_since = self.down_since or now
            self.last_words = words
            if self._said_at is None or now - self._said_at >= _SAID_AGAIN_AFTER:
                self._said_at = now
                since = self.down_since.isoformat()
                _log.warning("Kiva does not answer. Nothing is lost; it is asked again", said=words, since=since)
            return self._back_off(asked, pause)

    def asked_to_wait(self, pause: timedelta | None, asked: Asked = Asked.PROBE) -> timedelta:
        """Kiva said: come back later; how much."""
        with self._lock:
            return self._back_off(asked, pause)

    def list_is_incomplete(self, words: str, *, given: bool) -> None:
        """The list of loans is not known whole. If it was `given` so, the log says it once, and then once an hour."""
        with self._lock:
            now = self._clock.now()
            self.list_incomplete_since, self.list_words = self.list_incomplete_since or now, words
            if given and (self._list_said_at is None or now - self._list_said_at >= _SAID_AGAIN_AFTER):
                self._list_said_at = now
                _log.warning("Kiva's list of loans cannot be read whole. Nothing is lost; it is read again", said=words)

    def list_is_whole(self) -> None:
        """The list of loans was read whole."""
        with self._lock:
            self.list_incomplete_since = self._list_said_at = None
            self.list_words = ""

    def pause(self, *asked: Asked) -> timedelta:
        """How long none of these may be asked, or nothing at all where none is named; 0: now."""
        with self._lock:
            moments = [self._not_before.get(each, 0.0) for each in asked or Asked]
            return timedelta(seconds=max(max(moments) - self._clock.monotonic(), 0.0))

    def _back_off(self, asked: Asked, pause: timedelta | None) -> timedelta:
        failures = self._failures[asked] = self._failures.get(asked, 0) + 1
        pause = pause if pause is not None else backoff.wait(failures, dice=self._dice)
        self._not_before[asked] = self._clock.monotonic() + pause.total_seconds()
        return pause


def lost_at(outbox: Outbox) -> list[datetime]:
    """When the last answer of each additive resource was lost, of those since which none was accepted.

    It is asked at each look: mostly by one statement, that none was lost last.
    """
    with outbox.glance() as cx:
        if not any(cx.execute(_LOST_LAST).one()):
            return []
    with outbox.read() as tx:
        moments = [doubts_in_a_row(tx, resource)[1] for resource in RESOURCES]
    return [moment for moment in moments if moment is not None]


def doubts_in_a_row(tx: Connection, resource: str) -> tuple[int, datetime | None]:
    """How many answers of an additive resource were lost since the last accepted one, and when the last was.

    A released hold starts the count again: the person has looked.
    """
    if RESOURCES[resource].effect != "additive":
        return 0, None
    lost = tx.execute(_LOST_IN_A_ROW, {"resource": resource}).all()
    if lost:
        looked = hold.released_after(tx, resource, "many_in_doubt")
        lost = [attempt for attempt in lost if attempt.id > looked]
    return len(lost), lost[-1].ended_at if lost else None


def refusals_in_a_row(tx: Connection, resource: str) -> int:
    """How many bodies Kiva refused since it last accepted one; a released hold starts the count again."""
    looked = hold.released_after(tx, resource, "many_refusals")
    return tx.execute(_REFUSED_IN_A_ROW, {"resource": resource, "looked": looked}).scalar_one()
