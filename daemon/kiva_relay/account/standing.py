"""What the outbox and the last heartbeat say, read in one picture: all that health, deadlines and tasks are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import catalogue, heartbeat, history, listing, meta, mirror, scan, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import State
from kiva_relay.resource import window


@dataclass(frozen=True)
class Standing:
    """How things stand at `now`. A mapping by resource has no entry for a resource of which there is none.

    `heartbeat` is the last one, None when no relay runs and the last one stopped in order; `kept` are the holds in
    force with what they keep back; `corrected` and `cancelled` count what ended unsent since Kiva is away;
    `expiring` are drafts that are not at Kiva yet and have a last day; `next_due` is when the last of what is ready
    becomes due; `refresh` is the last complete reading of Kiva's list of loans; `scans` are those under way;
    `clock_off` is by how much the clock of the relay's machine was behind Kiva's, None when it was not far off.
    """

    settings: Settings
    now: datetime
    heartbeat: Heartbeat | None
    counts: Mapping[str, Counter[State]]
    held: Mapping[str, int]
    kept: tuple[listing.Kept, ...]
    adopted: Mapping[str, int]
    delivered_yesterday: Mapping[str, int]
    delivered_today: Mapping[str, int]
    delivered_this_month: Mapping[str, int]
    corrected: Mapping[str, int]
    cancelled: Mapping[str, int]
    doubts: tuple[Entry, ...]
    refused: tuple[Entry, ...]
    decisions: tuple[Entry, ...]
    divergences: tuple[history.Divergence, ...]
    expiring: tuple[Entry, ...]
    next_due: datetime | None
    refresh: mirror.Refresh | None
    lists_read: bool
    marks: Mapping[str, watermark.Watermark]
    scans: Mapping[str, scan.ScanProgress]
    report: window.RepaymentReport
    clock_off: timedelta | None = None

    @property
    def running(self) -> Heartbeat | None:
        """The heartbeat of a relay that runs now; None when none does."""
        return self.heartbeat if self.heartbeat is not None and self.heartbeat.is_alive(self.now) else None

    @property
    def kiva_away_since(self) -> datetime | None:
        """Since when Kiva has not answered the running relay."""
        return None if self.running is None else self.running.kiva.away_since

    @property
    def today(self) -> date:
        """The day in the MIS's zone."""
        return self.day_of(self.now)

    @property
    def under_way(self) -> dict[str, int]:
        """Resource → how many go by themselves: ready or being sent, and not held."""
        return {
            resource: count
            for resource, states in self.counts.items()
            if (count := states[State.READY] + states[State.SENDING] - self.held.get(resource, 0)) > 0
        }

    def day_of(self, moment: datetime) -> date:
        """The day of a moment in the MIS's zone."""
        return moment.astimezone(ZoneInfo(self.settings.mis.timezone)).date()


def gather(tx: Connection, settings: Settings, *, now: datetime) -> Standing:
    """Read everything in one picture of the outbox."""
    zone = ZoneInfo(settings.mis.timezone)
    today = now.astimezone(zone).date()
    midnight, yesterday = (datetime.combine(day, time(), tzinfo=zone) for day in (today, today - timedelta(days=1)))
    last, marks = heartbeat.read(tx), watermark.watermarks(tx)
    scans = {name: progress for name in marks if (progress := scan.of(tx, name)) is not None}
    away = None if last is None else last.kiva.away_since
    known = meta.KIVA_TIME.get(tx)
    off = timedelta(seconds=known.off_by) if known and abs(known.off_by) > meta.MOST_OFF.total_seconds() else None
    return Standing(
        settings=settings,
        now=now,
        heartbeat=last,
        counts=listing.counts(tx),
        held=listing.held(tx),
        kept=tuple(listing.kept_back(tx)),
        adopted=listing.adopted(tx),
        delivered_yesterday=listing.delivered(tx, since=yesterday, until=midnight),
        delivered_today=listing.delivered(tx, since=midnight),
        delivered_this_month=listing.delivered(tx, since=midnight.replace(day=1)),
        corrected=listing.ended_unsent(tx, State.SUPERSEDED, since=away or now),
        cancelled=listing.ended_unsent(tx, State.WITHDRAWN, since=away or now),
        doubts=tuple(listing.entries(tx, listing.Filter(states={State.IN_DOUBT})).entries),
        refused=tuple(listing.refused(tx)),
        decisions=tuple(listing.decisions(tx)),
        divergences=tuple(history.open_divergences(tx)),
        expiring=tuple(listing.expiring(tx)),
        next_due=listing.next_due(tx),
        refresh=mirror.last_complete(tx),
        lists_read=catalogue.refreshed_at(tx) is not None,
        marks=marks,
        scans={name: one for name, one in scans.items() if one.number == marks[name].scan_number},
        report=window.report(settings, now + (off or timedelta(0))),
        clock_off=off,
    )
