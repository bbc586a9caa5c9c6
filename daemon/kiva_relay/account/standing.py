"""What the outbox and the last heartbeat say, read in one picture: all that health, deadlines and tasks are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.account import balance
from kiva_relay.account.balance import Account
from kiva_relay.account.line import SWITCHED_OFF, LineKind
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import catalogue, heartbeat, history, listing, meta, mirror, scan, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import State
from kiva_relay.resource import window


@dataclass(frozen=True)
class Standing:
    """How things stand at `now`. A mapping by resource has no entry for a resource of which there is none.

    `perhaps` are entries that wait with the ids at Kiva that differ in case only;
    `heartbeat` is the last one, None when no relay runs and the last one stopped in order; `account` says where
    everything stands that should be at Kiva; `counts` are all entries, in all versions; `kept` are the holds in
    force with what they keep back; `corrected` and `cancelled` count what ended unsent since Kiva is away;
    `expiring` are drafts that are not at Kiva yet and have a last day; `refresh` is the last complete reading of Kiva's
    list of loans, `why_incomplete` why the newest one was none; `lists_read` is when Kiva's other lists were read;
    `scans` are those under way; `clock_off` is by how much the clock of the relay's machine was behind Kiva's, None
    when it was not far off.
    """

    settings: Settings
    now: datetime
    heartbeat: Heartbeat | None
    account: Account
    counts: Mapping[str, Counter[State]]
    kept: tuple[listing.Kept, ...]
    delivered_yesterday: Mapping[str, int]
    delivered_today: Mapping[str, int]
    delivered_this_month: Mapping[str, int]
    corrected: Mapping[str, int]
    cancelled: Mapping[str, int]
    doubts: tuple[Entry, ...]
    refused: tuple[Entry, ...]
    decisions: tuple[Entry, ...]
    perhaps: tuple[tuple[Entry, list[str]], ...]
    divergences: tuple[history.Divergence, ...]
    warned: tuple[listing.WarnedCall, ...]
    closed_unknown: tuple[listing.ClosedUnknown, ...]
    expiring: tuple[Entry, ...]
    refresh: mirror.Refresh | None
    why_incomplete: str
    lists_read: datetime | None
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
        return self.account.numbers(LineKind.ON_ITS_WAY)

    @property
    def held(self) -> dict[str, int]:
        """Resource → how many are ready and kept back by a hold."""
        off = self.account.numbers(LineKind.HELD, cause=SWITCHED_OFF)
        kept = self.account.numbers(LineKind.HELD)
        return {resource: left for resource, number in kept.items() if (left := number - off.get(resource, 0))}

    @property
    def adopted(self) -> dict[str, int]:
        """Resource → how many Kiva had before us, and were not sent."""
        return self.account.numbers(LineKind.ADOPTED)

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
        account=balance.read(tx, settings, last=last, now=now),
        counts=listing.counts(tx),
        kept=tuple(listing.kept_back(tx)),
        delivered_yesterday=listing.delivered(tx, since=yesterday, until=midnight),
        delivered_today=listing.delivered(tx, since=midnight),
        delivered_this_month=listing.delivered(tx, since=midnight.replace(day=1)),
        corrected=listing.ended_unsent(tx, State.SUPERSEDED, since=away or now),
        cancelled=listing.ended_unsent(tx, State.WITHDRAWN, since=away or now),
        doubts=tuple(listing.entries(tx, listing.Filter(states={State.IN_DOUBT})).entries),
        refused=tuple(listing.refused(tx)),
        decisions=tuple(listing.decisions(tx)),
        perhaps=tuple(listing.perhaps_at_kiva(tx)),
        divergences=tuple(history.open_divergences(tx)),
        warned=tuple(listing.warned(tx)),
        closed_unknown=tuple(listing.closed_unknown(tx)),
        expiring=tuple(listing.expiring(tx)),
        refresh=mirror.last_complete(tx),
        why_incomplete=mirror.why_incomplete(tx),
        lists_read=catalogue.refreshed_at(tx),
        marks=marks,
        scans={name: one for name, one in scans.items() if one.number == marks[name].scan_number},
        report=window.report(settings, now + (off or timedelta(0))),
        clock_off=off,
    )
