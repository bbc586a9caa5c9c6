"""What the hour is at Kiva: by its own answers, and by a clock that nobody sets.

Kiva takes the period of a report from the moment at which it receives it. So what depends on a day is decided by the
monotonic clock plus the offset that Kiva's `Date` shows, not by the clock of the machine, which may be days wrong.

Where Kiva's time is not known (no `Date`, or dates that contradict each other) there are other witnesses: the machine's
clock now, what it said before somebody set it, and the MIS's. Then the earliest of them counts, for nothing is refused
as too late by it; and the report waits where they give another month or another window (`RepaymentReport`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import Clock, this_boot
from kiva_relay.delivery import http_date
from kiva_relay.outbox import meta
from kiva_relay.outbox.meta import KivaTimeKnown, MachineTime

_ANSWERS = 9
_MIS = "the MIS"
_BEFORE = "before it was set"
_ENOUGH = 3  # answers; fewer may be one that was wrong
_MOST_OFF = meta.MOST_OFF.total_seconds()
_HALF_A_SECOND = 0.5  # `Date` has whole seconds, cut off
_KEPT_AGAIN_AFTER = 60.0

_log = log.get(__name__)


class KivaTime:
    """The hour at Kiva. Threads share it; `learn` is told of each answer."""

    def __init__(self, clock: Clock, *, boot: str | None = None) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._offsets: deque[float] = deque(maxlen=_ANSWERS)
        self._kept: float | None = None
        self._others = {_BEFORE: self._by_machine()}
        self._boot = this_boot() if boot is None else boot
        self._was_off = False
        self._stored: MachineTime | None = None
        self._kept_said: tuple[float, float] | None = None
        self._kept_at = 0.0

    def learn(self, date: str | None, age: str | None = None, monotonic: float | None = None) -> float | None:
        """Take the `Date` of an answer that came at `monotonic` (now), and give the offset of Kiva's clock to it.

        An answer with `Age` comes out of a cache, and says what the hour was. None: nothing is known yet.
        """
        moment = None if age is not None else http_date.read(date)
        with self._lock:
            if moment is not None:
                at = self._clock.monotonic() if monotonic is None else monotonic
                if len(self._offsets) >= _ENOUGH:
                    self._kept = None
                self._offsets.append(moment.timestamp() + _HALF_A_SECOND - at)
            return self._offset()

    def hear(self, headers: Mapping[str, str]) -> None:
        """`learn` of the headers of an answer, as `delivery/client.py` gives them."""
        self.learn(headers.get("date"), headers.get("age"))

    def hear_mis(self, moment: datetime) -> None:
        """Take what the MIS says the hour is: another machine's clock, as a rule."""
        with self._lock:
            self._others[_MIS] = moment.timestamp() - self._clock.monotonic()

    def believe_machine(self) -> None:
        """A person says that the clock of the machine is right."""
        with self._lock:
            self._others = {_BEFORE: self._by_machine()}

    @property
    def is_known(self) -> bool:
        """Whether Kiva said the hour, in this process or since the machine was started."""
        with self._lock:
            return self._offset() is not None

    def now(self) -> datetime:
        """The moment at Kiva; the earliest that it may be as long as Kiva does not say."""
        with self._lock:
            offset, passed = self._offset(), self._clock.monotonic()
        return self.earliest() if offset is None else datetime.fromtimestamp(passed + offset, UTC)

    def earliest(self) -> datetime:
        """The earliest moment that it may be: nothing is refused as too late by an hour that is not sure."""
        return min(self.perhaps())

    def perhaps(self) -> list[datetime]:
        """All moments that it may be at Kiva: by its last answers, and by the other witnesses until it said enough."""
        with self._lock:
            offset, passed = self._offset(), self._clock.monotonic()
            found = [*self._offsets]
            if self._kept is not None:
                found.append(self._kept)
            elif offset is None or len(self._offsets) < _ENOUGH:
                found += [*self._others.values(), self._by_machine()]
        if offset is not None:  # seconds of a network are no other hour
            found = [each for each in found if abs(each - offset) > _MOST_OFF] + [offset]
        return [datetime.fromtimestamp(passed + each, UTC) for each in found]

    def recall(self, tx: Connection) -> None:
        """Take what the last process learned; after the machine was started anew it says nothing."""
        known, before = meta.KIVA_TIME.get(tx), meta.MACHINE_TIME.get(tx)
        with self._lock:
            if known is not None and known.boot == self._boot and self._boot:
                self._kept = known.offset
            if before is not None and before.boot == self._boot and self._boot:
                self._others[_BEFORE] = before.offset

    def keep(self, tx: Connection) -> None:
        """Keep what was learned for the next process and for `status`, and log when the machine's clock is wrong."""
        with self._lock:
            offset = self._offset() if self._offsets else None
            before = MachineTime(self._others[_BEFORE], self._boot)
        if before != self._stored:
            meta.MACHINE_TIME.put(tx, before)
            self._stored = before
        if offset is None:
            return
        now = self._clock.now()
        off = (datetime.fromtimestamp(self._clock.monotonic() + offset, UTC) - now).total_seconds()
        self._keep(tx, KivaTimeKnown(offset=offset, boot=self._boot, off_by=round(off, 1), learned_at=now))
        is_off = abs(off) > _MOST_OFF
        if is_off and not self._was_off:
            behind = timedelta(seconds=round(off))
            _log.warning("The clock of this machine is wrong. What depends on a day goes by Kiva's", behind=behind)
        self._was_off = is_off

    def _keep(self, tx: Connection, known: KivaTimeKnown) -> None:
        """Keep it when it says something else, and now and then, for a transaction may have come to nothing."""
        said, at = (known.offset, known.off_by), self._clock.monotonic()
        if said != self._kept_said or at - self._kept_at >= _KEPT_AGAIN_AFTER:
            meta.KIVA_TIME.put(tx, known)
            self._kept_said, self._kept_at = said, at

    def _offset(self) -> float | None:
        """What most of the last answers say; None where they contradict each other."""
        if not self._offsets:
            return self._kept
        offset = sorted(self._offsets)[(len(self._offsets) - 1) // 2]
        alike = sum(abs(each - offset) <= _MOST_OFF for each in self._offsets)
        return offset if 2 * alike > len(self._offsets) else None

    def _by_machine(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
