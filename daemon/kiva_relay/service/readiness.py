"""Whether the relay can work: what a readiness probe, and systemd's status line, say is away.

It is not ready only when nothing at all can go. One loan, one mapping, a MIS that is away for a while are no reason:
what was read goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.hold import Hold
from kiva_relay.outbox.mirror import Refresh


def lacks(beat: Heartbeat, holds: Sequence[Hold], refresh: Refresh | None, settings: Settings) -> Iterator[str]:
    """What keeps everything from going, one phrase each. `refresh` is the last complete reading of Kiva's list."""
    for loop, why in beat.stuck.items():
        yield f"the relay's own {loop} ({why})"
    if beat.no_room:
        yield f"room on the disk ({beat.no_room})"
    if beat.streams and not beat.streams.keys() - beat.stopped_streams.keys():
        yield "a mapping that fits the MIS"
    yield from _kiva(beat, holds, refresh, settings)


def _kiva(beat: Heartbeat, holds: Sequence[Hold], refresh: Refresh | None, settings: Settings) -> Iterator[str]:
    if beat.kiva.away_since is not None:
        yield "Kiva"
        return
    stops = [one for one in holds if one.why.grave or one.why.lifts_itself]
    held = {one.what for one in stops}
    if hold.ALL in held or (stops and not set(settings.resources) - held):
        yield f"everything is held: {stops[0].why.words}"
    elif refresh is None or refresh.started_at <= beat.started_at:
        yield "Kiva's list of loans"
    elif beat.beats_at - refresh.started_at > settings.mirror.max_age:
        yield "a new list of loans from Kiva"
