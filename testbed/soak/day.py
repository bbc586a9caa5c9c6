"""The real `kiva-relay` whose day is short: `python -m testbed.soak.day run …`, SOAK_SPEED times as fast as a day.

`poll_every` and `refresh_every` are settings; the rest of what comes by the clock is shortened here, and nothing else is
different. A night (sweep, audit, reconciling, Kiva's own lists) comes three times a day, so that each third of a run
has one. Bodies are kept for two hours of such a day.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any

from kiva_relay import cli
from kiva_relay.account import letter
from kiva_relay.config import loader
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import refresher
from kiva_relay.service import capture_loop, delivery_loop, mail_loop, schedule, threads
from kiva_relay.service.schedule import Daily, Every

SPEED = "SOAK_SPEED"
POLL_EVERY, REFRESH_EVERY, HOLD_FOR = timedelta(seconds=10), timedelta(hours=1), timedelta(minutes=15)
"""What they are by default; a configuration says how long they are in a short day."""
NIGHT, KEEP = timedelta(hours=8), timedelta(hours=2)
LEAST = timedelta(milliseconds=100)
"""Nothing comes more often: what a relay does many times a second, it does less often than it would in a day."""
_BY_SETTING = ("poll", "lists")

_WAITS: tuple[tuple[ModuleType, str], ...] = (
    (capture_loop, "_HOUR_ASKED_EVERY"),
    (delivery_loop, "_RESTS"),
    (delivery_loop, "_RESTS_LONG"),
    (mail_loop, "_AT_MOST_EVERY"),
    (threads, "_FEEDS_EVERY"),
    (threads, "_LOOKS_ALL_THE_SAME"),
    (threads, "_TELLS_ALL_THE_SAME"),
)
"""Constants, in seconds."""


def short(length: timedelta, speed: float) -> timedelta:
    """How long it is in a day that goes so many times as fast."""
    return max(length / speed, LEAST)


def settings(speed: float) -> Mapping[str, Mapping[str, Any]]:
    """What a configuration says for such a day."""

    def written(length: timedelta, least: timedelta = LEAST) -> str:
        return f"{max(length / speed, least) // timedelta(milliseconds=1)}ms"

    second = timedelta(seconds=1)
    return {
        "mis": {"poll_every": written(POLL_EVERY)},
        "mirror": {"refresh_every": written(REFRESH_EVERY, second)},
        "delivery": {
            "hold_for": written(HOLD_FOR),
            "settle_after": written(HOLD_FOR, second),
            "brake": 100_000,
        },
    }


def hurry(speed: float) -> None:
    """Shorten all that comes by the clock and is no setting."""
    for module, name in _WAITS:
        setattr(module, name, short(timedelta(seconds=getattr(module, name)), speed).total_seconds())
    refresher._LISTS_EVERY = short(NIGHT, speed)
    letter.STAYS_WELL = short(letter.STAYS_WELL, speed)
    for name in schedule.PLAN.keys() - {*_BY_SETTING}:
        schedule.PLAN[name] = _shortened(schedule.PLAN[name], speed)
    schedule.last_sweep_hour = lambda settings, now: now - short(NIGHT, speed) / 2  # noqa: ARG005 - as it is called
    loader.load = _with_short_memory(loader.load, speed)


def _shortened(plan: Callable[[Settings], Every | Daily | None], speed: float) -> Callable[[Settings], Every | None]:
    def planned(given: Settings) -> Every | None:
        trigger = plan(given)
        if trigger is None:
            return None
        return Every(short(trigger.interval if isinstance(trigger, Every) else NIGHT, speed))

    return planned


def _with_short_memory(load: Callable[..., Settings], speed: float) -> Callable[..., Settings]:
    """`outbox.keep_payloads` is a day at least, which is the whole of a short day."""

    def loaded(*arguments: Any, **named: Any) -> Settings:
        given = load(*arguments, **named)
        kept = given.outbox.model_copy(update={"keep_payloads": short(KEEP, speed)})
        return given.model_copy(update={"outbox": kept})

    return loaded


def main() -> int:
    """Shorten the day, and begin."""
    hurry(float(os.environ[SPEED]))
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
