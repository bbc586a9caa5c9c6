"""A thread that takes one turn after another, and goes on after an error."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kiva_relay import errors, log, meter
from kiva_relay.capture import follow
from kiva_relay.clock import Clock
from kiva_relay.outbox.store import Overtaken
from kiva_relay.service.progress import Progress

ENDS = (errors.OutboxRefused, errors.OutboxPutBack, errors.Stolen, follow.NoStream)
"""What no loop goes on after: the outbox is not for this MIS, or was put back; another relay took over; `mis.watch`
cannot be had.
"""

STUCK_AFTER = 600.0
"""Seconds without a turn that ended well, after which a person should know."""

_ASKED_AGAIN = 1.0
_LONGEST_BACK_OFF = 60.0
_MOST_DOUBLINGS = 10
_SAID_AGAIN_AFTER = 60
"""Errors in a row, after which the log says it once more."""

_WELL, _ERROR, _OUTBOX_AWAY = "well", "error", "outbox_away"

_log = log.get("relay")


class Loop:
    """One thread. `turn` does what there is to do, and returns the seconds to wait for more; `wake` ends that wait.

    An error of ENDS ends the loop and sets `stop`; `failed` keeps it. After any other the loop waits, for longer each
    time, and goes on.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], float],
        *,
        wake: threading.Event,
        stop: threading.Event,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.name = name
        self.failed: BaseException | None = None
        self._turn, self._wake, self._stop, self._clock, self._progress = turn, wake, stop, clock, progress
        self._error = ""
        self._good_at = clock.monotonic()
        for ended in (_WELL, _ERROR):  # what has not happened reads 0, not nothing: an alert compares with it
            meter.loop_turns.labels(loop=name, ended=ended)
        # A daemon thread: one that hangs in a request must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the first turn."""
        self._thread.start()

    def end(self, seconds: float) -> None:
        """Take no more turns, once `stop` is set; wait that long for the one under way."""
        self._wake.set()
        self._thread.join(seconds)

    @property
    def running(self) -> bool:
        """May it still write?"""
        return self._thread.is_alive()

    def stuck(self) -> str:
        """What keeps it from getting on, when nothing went well for long; else empty."""
        hanging = self._progress.hanging(self.name)
        if hanging > STUCK_AFTER:
            return f"one step has taken {hanging / 60:.0f} minutes"
        if self._error and self._clock.monotonic() - self._good_at > STUCK_AFTER:
            return self._error
        return ""

    def _run(self) -> None:
        errors_in_a_row = 0
        while not self._stop.is_set():
            self._wake.clear()
            self._progress.step(self.name)
            try:
                seconds = self._turn()
            except Overtaken:
                continue
            except ENDS as error:
                self._end(error)
                return
            except Exception as error:  # noqa: BLE001 - it goes on, whatever it was
                seconds = self._went_wrong(error, errors_in_a_row)
                errors_in_a_row += 1
                self._progress.rest(self.name)
                self._clock.wait(self._stop, seconds)  # not ended by a knock: each would try again at once
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                self._end(error)
                return
            else:
                meter.loop_turns.labels(loop=self.name, ended=_WELL).inc()
                errors_in_a_row, self._error, self._good_at = 0, "", self._clock.monotonic()
                self._progress.rest(self.name)
                self._clock.wait(self._wake, seconds)

    def _went_wrong(self, error: Exception, before: int) -> float:
        """Say it, the first time and then now and again; the seconds to wait, by the number of errors before."""
        says = before % _SAID_AGAIN_AFTER == 0
        if isinstance(error, errors.Unreachable):
            self._error = str(error)
            meter.loop_turns.labels(loop=self.name, ended=_OUTBOX_AWAY).inc()
            if says:
                _log.error(
                    "The outbox does not answer. Nothing is lost; it is asked again", loop=self.name, cause=self._error
                )
            return _ASKED_AGAIN
        self._error = f"{type(error).__name__}, see the log"
        meter.loop_turns.labels(loop=self.name, ended=_ERROR).inc()
        if says:
            _log.exception("Something went wrong. Nothing is lost; it is tried again", loop=self.name)
        # Bounded before it is doubled: a float has no room for the 1,024th.
        return min(2.0 ** min(before, _MOST_DOUBLINGS), _LONGEST_BACK_OFF)

    def _end(self, error: BaseException) -> None:
        self._progress.rest(self.name)
        self.failed = error
        self._stop.set()
