"""What the outbox and the last heartbeat say, read in one picture: all that health, deadlines and tasks are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.account import balance
from kiva_relay.account.balance import Account
from kiva_relay.account.line import SWITCHED_OFF, LineKind
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import (
    act,
    catalogue,
    discrepancy,
    duplicate,
    heartbeat,
    history,
    lease,
    listing,
    mail,
    meta,
    mirror,
    scan,
    warned_call,
    watermark,
)
from kiva_relay.outbox.decisions import Decisions
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.mail import MailStanding
from kiva_relay.outbox.state import State
from kiva_relay.outbox.warned_call import WarnedCall
from kiva_relay.report import current
from kiva_relay.resource import window


@dataclass(frozen=True)
class TakenList:
    """Kiva's list as a person took it, who did, and when its newest reading began."""

    list: mirror.TakenReading
    act: act.Done


@dataclass(frozen=True)
class Standing:
    """How things stand at `now`. A mapping by resource has no entry for a resource of which there is none.

    `decisions` are positions that wait for a person; `perhaps` are entries that wait with the ids at Kiva that differ
    in case only; `twins` are drafts that wait with the loans that they look like; `heartbeat` is the last one, None
    when no relay runs and the last one stopped in order; `account` says where everything stands that should be at
    Kiva; `unsettled` are entries by state; `kept` are the holds in force with what they keep back; `corrected` and
    `cancelled` count what ended unsent since Kiva is away; `expiring` are drafts that are not at Kiva yet and have
    a last day; `refresh` is the last complete reading of Kiva's list of loans, `why_incomplete` why the newest one
    was none, `taken` who takes it so, `lacking` what the newest ones lack alike; `lists_read` is when Kiva's other
    lists were read; `scans` are those under way; `nameless` are rows that are not read, by mapping; `clock_off` is by
    how much the clock of the relay's machine was behind Kiva's, None when it was not far off; `is_mute`: the relay
    runs, and has not written a sign of life for too long; `mail` is how it is with the mail; `apart` is of how many
    loans MIS, outbox and Kiva say different things, by what differs; `machine` is where the relay runs that holds the
    lease, "" where none does.
    """

    settings: Settings
    now: datetime
    heartbeat: Heartbeat | None
    account: Account
    unsettled: Mapping[str, Counter[State]]
    kept: tuple[listing.Kept, ...]
    delivered_yesterday: Mapping[str, int]
    delivered_today: Mapping[str, int]
    delivered_this_month: Mapping[str, int]
    corrected: Mapping[str, int]
    cancelled: Mapping[str, int]
    doubts: tuple[Entry, ...]
    refused: tuple[Entry, ...]
    decisions: Sequence[Entry]
    perhaps: tuple[tuple[Entry, list[str]], ...]
    divergences: tuple[history.Divergence, ...]
    warned: tuple[WarnedCall, ...]
    closed_unknown: tuple[listing.ClosedUnknown, ...]
    closed_undecided: tuple[Entry, ...]
    expiring: tuple[Entry, ...]
    refresh: mirror.Refresh | None
    why_incomplete: str
    taken: TakenList | None
    lists_read: datetime | None
    marks: Mapping[str, watermark.Watermark]
    scans: Mapping[str, scan.ScanProgress]
    report: window.RepaymentReport
    nameless: Mapping[str, meta.Nameless] = field(default_factory=dict)
    clock_off: timedelta | None = None
    is_mute: bool = False
    lacking: mirror.Lacking | None = None
    mail: MailStanding = field(default_factory=MailStanding)
    apart: Mapping[str, int] = field(default_factory=dict)
    twins: tuple[tuple[Entry, tuple[str, ...]], ...] = ()
    machine: str = ""

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


def gather(
    tx: Connection, settings: Settings, *, now: datetime, in_parts: bool = False, before: Account | None = None
) -> Standing:
    """Read everything in one picture of the outbox.

    `in_parts`: for who looks at some of what is many: `decisions` are counted, and read when somebody looks at one,
    while `tx` is open; and what came to Kiva today, and this month, is not counted. `before` as of `balance.read`.
    """
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
        account=balance.read(tx, settings, last=last, now=now, before=before),
        unsettled=listing.unsettled(tx),
        kept=tuple(listing.kept_back(tx)),
        delivered_yesterday=listing.delivered(tx, since=yesterday, until=midnight),
        delivered_today={} if in_parts else listing.delivered(tx, since=midnight),
        delivered_this_month={} if in_parts else listing.delivered(tx, since=midnight.replace(day=1)),
        corrected=listing.ended_unsent(tx, State.SUPERSEDED, since=away or now),
        cancelled=listing.ended_unsent(tx, State.WITHDRAWN, since=away or now),
        doubts=tuple(listing.entries(tx, listing.Filter(states={State.IN_DOUBT})).entries),
        refused=tuple(listing.refused(tx)),
        decisions=Decisions(tx) if in_parts else tuple(listing.decisions(tx)),
        perhaps=tuple(listing.perhaps_at_kiva(tx)),
        twins=tuple(duplicate.waiting(tx, now=now)),
        divergences=tuple(history.open_divergences(tx)),
        warned=tuple(warned_call.calls(tx)),
        closed_unknown=tuple(listing.closed_unknown(tx)),
        closed_undecided=tuple(listing.closed_undecided(tx)),
        expiring=tuple(listing.expiring(tx)),
        refresh=mirror.last_complete(tx),
        why_incomplete=mirror.why_incomplete(tx),
        taken=_taken(tx),
        lacking=mirror.lacking(tx),
        lists_read=catalogue.refreshed_at(tx),
        marks=marks,
        scans={name: one for name, one in scans.items() if one.number == marks[name].scan_number},
        report=current.due(tx, settings, now + (off or timedelta(0))),
        nameless={name: found for name in marks if (found := meta.nameless(name).get(tx)) is not None},
        clock_off=off,
        apart=discrepancy.numbers(tx),
        is_mute=last is not None and not last.is_alive(now) and _runs(settings, last),
        machine=lease.held_on(tx),
        mail=mail.standing(tx) if settings.mail.is_on else MailStanding(),
    )


def _taken(tx: Connection) -> TakenList | None:
    found, released = mirror.taken(tx), act.last(tx, "release", what="mirror")
    return None if found is None or released is None else TakenList(found, released)


def _runs(settings: Settings, last: Heartbeat) -> bool:
    """Is the process of the last heartbeat still there? Only where the outbox is a file, and it is of this machine."""
    file = settings.outbox.file
    return file is not None and lease.holds_file(file, last.pid)
