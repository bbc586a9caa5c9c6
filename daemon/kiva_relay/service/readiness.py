"""Whether the relay can work: what a readiness probe, and systemd's status line, say is away.

It is not ready only when nothing at all can go. One loan, one mapping, a MIS that is away for a while are no reason:
what was read goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.mirror import Refresh, TakenReading


def lacks(
    beat: Heartbeat,
    holds: Sequence[Hold],
    refresh: Refresh | None,
    settings: Settings,
    *,
    taken: TakenReading | None = None,
) -> Iterator[str]:
    """What keeps everything from going, one phrase each.

    `refresh` is the last complete reading of Kiva's list; `taken` is the list that a person takes as it is.
    """
    for loop, why in beat.stuck.items():
        yield f"the relay's own {loop} ({why})"
    if beat.no_room:
        yield f"room on the disk ({beat.no_room})"
    if beat.streams and not beat.streams.keys() - beat.stopped_streams.keys():
        yield "a mapping that fits the MIS"
    read_at = [refresh.started_at] if refresh is not None else []
    read_at += [taken.read_at] if taken is not None else []
    yield from _kiva(beat, holds, max(read_at, default=None), settings)


def _kiva(beat: Heartbeat, holds: Sequence[Hold], read_at: datetime | None, settings: Settings) -> Iterator[str]:
    if beat.kiva.away_since is not None:
        yield "Kiva"
        return
    stops = [one for one in holds if one.why.grave or one.why.lifts_itself]
    held = {one.what for one in stops}
    if hold.ALL in held or (stops and not set(settings.resources) - held):
        yield f"everything is held: {stops[0].why.words}"
    elif read_at is None or read_at <= beat.started_at:
        yield "Kiva's list of loans"
    elif beat.beats_at - read_at > settings.mirror.max_age:
        yield "a new list of loans from Kiva"
