"""What the hour is at Kiva: by its own answers, and by a clock that nobody sets.

Kiva takes the period of a report from the moment at which it receives it. So what depends on a day is decided by the
monotonic clock plus the offset that Kiva's `Date` shows, not by the clock of the machine, which may be days wrong.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import Connection

from kiva_relay import log
from kiva_relay.clock import Clock
from kiva_relay.delivery import http_date
from kiva_relay.outbox import meta
from kiva_relay.outbox.meta import KivaTimeKnown

_ANSWERS = 9
_HALF_A_SECOND = 0.5  # `Date` has whole seconds, cut off
_BOOT = Path("/proc/sys/kernel/random/boot_id")

_log = log.get(__name__)


class KivaTime:
    """The hour at Kiva. Threads share it; `learn` is told of each answer."""

    def __init__(self, clock: Clock, *, boot: str | None = None) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._offsets: deque[float] = deque(maxlen=_ANSWERS)
        self._kept: float | None = None
        self._boot = _this_boot() if boot is None else boot
        self._was_off = False

    def learn(self, date: str | None, age: str | None = None, monotonic: float | None = None) -> float | None:
        """Take the `Date` of an answer that came at `monotonic` (now), and give the offset of Kiva's clock to it.

        An answer with `Age` comes out of a cache, and says what the hour was. None: nothing is known yet.
        """
        moment = None if age is not None else http_date.read(date)
        with self._lock:
            if moment is not None:
                at = self._clock.monotonic() if monotonic is None else monotonic
                self._offsets.append(moment.timestamp() + _HALF_A_SECOND - at)
            return self._offset()

    def hear(self, headers: Mapping[str, str]) -> None:
        """`learn` of the headers of an answer, as `delivery/client.py` gives them."""
        self.learn(headers.get("date"), headers.get("age"))

    @property
    def is_known(self) -> bool:
        """Whether Kiva said the hour, in this process or since the machine was started."""
        with self._lock:
            return self._offset() is not None

    def now(self) -> datetime:
        """The moment at Kiva; by the clock of the machine as long as Kiva did not say."""
        with self._lock:
            offset = self._offset()
        if offset is None:
            return self._clock.now()
        return datetime.fromtimestamp(self._clock.monotonic() + offset, UTC)

    def recall(self, tx: Connection) -> None:
        """Take what the last process learned; after the machine was started anew it says nothing."""
        known = meta.KIVA_TIME.get(tx)
        if known is not None and known.boot == self._boot and self._boot:
            with self._lock:
                self._kept = known.offset

    def keep(self, tx: Connection) -> None:
        """Keep what was learned for the next process and for `status`, and log when the machine's clock is wrong."""
        with self._lock:
            offset = statistics.median(self._offsets) if self._offsets else None
        if offset is None:
            return
        now = self._clock.now()
        off = (datetime.fromtimestamp(self._clock.monotonic() + offset, UTC) - now).total_seconds()
        meta.KIVA_TIME.put(tx, KivaTimeKnown(offset=offset, boot=self._boot, off_by=round(off, 1), learned_at=now))
        is_off = abs(off) > meta.MOST_OFF.total_seconds()
        if is_off and not self._was_off:
            behind = timedelta(seconds=round(off))
            _log.warning("The clock of this machine is wrong. What depends on a day goes by Kiva's", behind=behind)
        self._was_off = is_off

    def _offset(self) -> float | None:
        return statistics.median(self._offsets) if self._offsets else self._kept


def _this_boot() -> str:
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
