"""Tellers at work: threads that change the MIS while the relay reads it, and write down what they changed."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from random import Random

import psycopg
from psycopg import errors as mis_errors

from kiva_relay.clock import Clock
from testbed.institution.branch import KIVA_FUND
from testbed.institution.teller import Action, Teller
from testbed.judge import expected
from testbed.judge.history import History

_RESTS = (0.2, 0.7)
"""Seconds between two things that a teller does: three of them do six things a second."""

_CHANGES_ONE_DRAFT = ("granted", "corrected", "approved", "disbursed")
_CHANGES_MANY = ("renamed",)


@dataclass(frozen=True)
class Deed:
    """What a teller did, and the moment at which the MIS had committed it."""

    act: Action
    at: datetime


class Shift:
    """Some tellers, each with a connection and a thread. `deeds` is read by one thread, which takes from its left."""

    def __init__(
        self, url: str, *, tellers: int, seed: int, today: date, photos: Path, history: History, clock: Clock
    ) -> None:
        self._url, self._today, self._photos = url, today, photos
        self._history, self._clock = history, clock
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._failed: BaseException | None = None
        self.done: Counter[str] = Counter()
        self.deeds: deque[Deed] = deque(maxlen=1_000)
        self._threads = [
            threading.Thread(target=self._guarded, args=(seed * 100 + number,), name=f"teller {number}")
            for number in range(1, tellers + 1)
        ]

    def begin(self) -> None:
        """Let them work."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Send them home; each finishes what is in hand.

        Raises:
            Exception: what made a teller stop before that.
        """
        self._over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self._failed is not None:
            raise self._failed

    def _guarded(self, seed: int) -> None:
        try:
            self._work(Random(seed))
        except BaseException as error:
            self._failed = error

    def _work(self, rng: Random) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name="teller") as connection:
            teller = Teller(connection, rng, today=self._today, photos=self._photos, clock=self._clock)
            while not self._over.wait(rng.uniform(*_RESTS)):
                try:
                    act = self._once(teller)
                except (mis_errors.DeadlockDetected, mis_errors.SerializationFailure):
                    continue  # rolled back, as Fineract does; she tries something else
                if act is not None:
                    with self._lock:
                        self.done[act.what] += 1
                    self.deeds.append(Deed(act, self._clock.now()))

    def _once(self, teller: Teller) -> Action | None:
        """One thing, and in the same transaction what the MIS says then of the drafts that it changed."""
        with teller.connection.transaction():
            act = teller.act()
            if act is None or not act.kiva:
                return act
            kind = act.what.split()[0]
            if kind in _CHANGES_ONE_DRAFT or kind in _CHANGES_MANY:
                identity = act.identity if kind in _CHANGES_ONE_DRAFT else None
                drafts = expected.drafts(teller.connection, fund_id=KIVA_FUND, today=self._today, identity=identity)
                self._history.note(drafts)
            return act
