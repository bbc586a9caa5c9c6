"""How the relay is, decided from what the outbox holds: the verdict, and what differs from normal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.capture import follow
from kiva_relay.cli import frame, held, words
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import catalogue, heartbeat, listing, mirror, scan, watermark
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.heartbeat import Heartbeat
from kiva_relay.outbox.state import State
from kiva_relay.resource import window

NO_SIGN_OF_LIFE = timedelta(seconds=30)
_SOON = timedelta(days=7)
_FEW = 5


class Verdict(IntEnum):
    """The first word of `status`, the gravest last."""

    OK = 0
    NOTE = 1
    WAITING = 2
    HELD = 3
    STOPPED = 4


EXIT_CODES: Mapping[Verdict, int] = {
    Verdict.OK: 0,
    Verdict.NOTE: 0,
    Verdict.WAITING: 3,
    Verdict.HELD: 1,
    Verdict.STOPPED: 1,
}
"""0: nothing stands still. 1: a person has to act. 3: a server did not answer; it is asked again by itself."""


@dataclass(frozen=True)
class HealthFinding:
    """Something that differs from normal: a sentence, and lines below it (what follows, what to type)."""

    verdict: Verdict
    sentence: str
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """What the verdict is made of, read in one picture of the outbox."""

    settings: Settings
    now: datetime
    heartbeat: Heartbeat | None
    counts: Mapping[str, Counter[State]]
    held: Mapping[str, int]
    kept: list[listing.Kept]
    adopted: Mapping[str, int]
    delivered_today: Mapping[str, int]
    delivered_this_month: Mapping[str, int]
    corrected: Mapping[str, int]
    cancelled: Mapping[str, int]
    doubts: list[Entry]
    refused: int
    decisions: int
    divergences: int
    expiring: list[Entry]
    next_due: datetime | None
    refresh: mirror.Refresh | None
    lists_read: bool
    marks: Mapping[str, watermark.Watermark]
    scans: Mapping[str, scan.ScanProgress]
    report: window.RepaymentReport

    @property
    def alive(self) -> bool:
        """Did the relay give a sign of life just now?"""
        return is_alive(self.heartbeat, self.now)

    @property
    def today(self) -> date:
        """The day in the MIS's zone."""
        return self.now.astimezone(ZoneInfo(self.settings.mis.timezone)).date()

    def number(self, state: State) -> int:
        """How many entries are in a state."""
        return sum(counts[state] for counts in self.counts.values())


def is_alive(beat: Heartbeat | None, now: datetime) -> bool:
    """Did the relay give a sign of life just now?"""
    return beat is not None and now - beat.beats_at < NO_SIGN_OF_LIFE


def gather(tx: Connection, settings: Settings, *, now: datetime) -> Health:
    """Read everything that the verdict needs."""
    here = now.astimezone(ZoneInfo(settings.mis.timezone))
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    beat, marks = heartbeat.read(tx), watermark.watermarks(tx)
    scans = {name: progress for name in marks if (progress := scan.of(tx, name)) is not None}
    since = now if beat is None or beat.kiva.away_since is None else beat.kiva.away_since
    return Health(
        settings=settings,
        now=now,
        heartbeat=beat,
        counts=listing.counts(tx),
        held=listing.held(tx),
        kept=listing.kept_back(tx),
        adopted=listing.adopted(tx),
        delivered_today=listing.delivered(tx, since=midnight),
        delivered_this_month=listing.delivered(tx, since=midnight.replace(day=1)),
        corrected=listing.ended_unsent(tx, State.SUPERSEDED, since=since),
        cancelled=listing.ended_unsent(tx, State.WITHDRAWN, since=since),
        doubts=listing.entries(tx, listing.Filter(states={State.IN_DOUBT})).entries,
        refused=len(listing.refused(tx)),
        decisions=len(listing.decisions(tx)),
        divergences=len(listing.open_divergences(tx)),
        expiring=listing.expiring(tx),
        next_due=listing.next_due(tx),
        refresh=mirror.last_complete(tx),
        lists_read=catalogue.refreshed_at(tx) is not None,
        marks=marks,
        scans={name: one for name, one in scans.items() if one.number == marks[name].scan_number},
        report=window.report(settings, now),
    )


def findings(facts: Health) -> list[HealthFinding]:
    """What differs from normal, the gravest first; one that says OK when nothing does."""
    looks: tuple[Callable[[Health], Iterator[HealthFinding]], ...] = (
        _relay,
        _room,
        _streams,
        _holds,
        _kiva,
        _mis,
        _stream,
        _kivas_list,
        _shadow,
        _persons,
        _edited,
    )
    found = [finding for look in looks for finding in look(facts)]
    return sorted(found, key=lambda finding: -finding.verdict) or [_good(facts)]


def verdict(found: list[HealthFinding]) -> Verdict:
    """The gravest."""
    return max(finding.verdict for finding in found)


# ---------------------------------------------------------------- one look each


def _relay(facts: Health) -> Iterator[HealthFinding]:
    if facts.alive:
        return
    if facts.heartbeat is None:
        sentence = "The relay is not running. Nothing is lost, nothing was sent twice."
    else:
        last = facts.heartbeat.beats_at
        sentence = (
            f"The relay gave its last sign of life {frame.length(facts.now - last)} ago"
            f" ({_moment(facts, last)}) and did not say that it stops. Nothing is lost, nothing was sent twice."
        )
    yield HealthFinding(
        Verdict.STOPPED,
        sentence,
        (
            "Until it runs, the MIS is not read and nothing is sent. Then it goes on where it was.",
            "Start it:          sudo systemctl start kiva-relay",
            "Why it stopped:    sudo journalctl -u kiva-relay -n 50",
        ),
    )


def _room(facts: Health) -> Iterator[HealthFinding]:
    if not facts.alive or facts.heartbeat is None or not facts.heartbeat.no_room:
        return
    yield HealthFinding(
        Verdict.STOPPED,
        f"The disk is almost full: {facts.heartbeat.no_room}. Nothing is sent until there is room. Nothing is lost.",
        (
            "What Kiva answers must find room to be recorded, so nothing is sent that could not be.",
            "See the disks:     df -h",
        ),
    )


def _streams(facts: Health) -> Iterator[HealthFinding]:
    if not facts.alive or facts.heartbeat is None:
        return
    for stream, mistake in facts.heartbeat.stopped_streams.items():
        yield HealthFinding(
            Verdict.STOPPED,
            f"The mapping {stream} does not fit the MIS, and is not read: {mistake}",
            (
                "Nothing is lost: what it misses is read when it fits again. The other mappings go on.",
                "See all of it:     sudo kiva-relay mapping check",
                "Then:              sudo kiva-relay reload",
            ),
        )


def _holds(facts: Health) -> Iterator[HealthFinding]:
    with_something = {kept.hold.reason for kept in facts.kept if kept.total}
    idle = [kept.hold for kept in facts.kept if not kept.total and kept.hold.reason in with_something]
    for kept in facts.kept:
        if kept.hold in idle:
            continue
        grave = kept.hold.reason in held.GRAVE
        also = [one.what for one in idle if one.reason == kept.hold.reason]
        sentence, *further = held.explained(kept, facts.settings, adopted=facts.adopted, now=facts.now, also=also)
        yield HealthFinding(Verdict.STOPPED if grave else Verdict.HELD, sentence, tuple(further))


def _kiva(facts: Health) -> Iterator[HealthFinding]:
    if not facts.alive or facts.heartbeat is None or facts.heartbeat.kiva.away_since is None:
        return
    away = facts.heartbeat.kiva.away_since
    further = ["It goes on by itself: Kiva is asked again and again, with a harmless request."]
    if said := facts.heartbeat.kiva.words:
        further.append(f"What came back:    {_quoted(said)}")
    corrected, cancelled = words.counted(facts.corrected), words.counted(facts.cancelled)
    if facts.corrected or facts.cancelled:
        further.append(
            f"Meanwhile corrected in the MIS: {corrected} (the new text will be sent); cancelled: {cancelled}"
            " (will not be sent)."
        )
    yield HealthFinding(
        Verdict.WAITING,
        f"Kiva has not answered since {_moment(facts, away)} ({frame.length(facts.now - away)})."
        " Nothing is lost, nothing was sent twice.",
        tuple(further),
    )


def _mis(facts: Health) -> Iterator[HealthFinding]:
    if not facts.alive or facts.heartbeat is None:
        return
    side = facts.heartbeat.mis
    if side.away_since is not None:
        away = side.away_since
        yield HealthFinding(
            Verdict.WAITING,
            f"The MIS cannot be read since {_moment(facts, away)} ({frame.length(facts.now - away)}). Nothing is lost.",
            (
                "It goes on by itself, where it was. What was read before is sent meanwhile.",
                f"What came back:    {_quoted(side.words)}",
                "Look closer:       sudo kiva-relay check",
            ),
        )
    elif side.last_good is None:
        yield HealthFinding(
            Verdict.NOTE, "The MIS is being read for the first time since the start. Nothing needs you."
        )


def _stream(facts: Health) -> Iterator[HealthFinding]:
    """The MIS's stream of changes, where somebody made one: broken off, or filling the MIS's disk."""
    if not facts.alive or facts.heartbeat is None or facts.heartbeat.replication is None:
        return
    stream = facts.heartbeat.replication
    if not stream.made:
        return
    if not stream.live and facts.heartbeat.mis.away_since is None:
        yield HealthFinding(
            Verdict.NOTE,
            "Changes do not come by the MIS's stream; it is polled instead. Nothing is lost.",
            (
                f"Why:               {_quoted(stream.why)}",
                "What is missing:   sudo kiva-relay watch setup",
                "Not wanted more:   sudo kiva-relay watch drop",
            ),
        )
    kept = stream.kept or 0
    if stream.wal_status == "unreserved" or kept > follow.MUCH_KEPT:
        yield HealthFinding(
            Verdict.NOTE,
            f"The MIS keeps {kept / 1_000_000:,.0f} MB of its log for the relay's slot. Nothing is lost.",
            (
                "It grows until the relay has read it, or the server drops it; then all is compared with the outbox.",
                "Look closer:       sudo kiva-relay check",
            ),
        )


def _kivas_list(facts: Health) -> Iterator[HealthFinding]:
    """Drafts go only after Kiva's list of loans was read by this process; doubts end only by it."""
    if not facts.alive or facts.heartbeat is None or facts.heartbeat.kiva.away_since is not None:
        return
    drafts = facts.counts["loan_draft"][State.READY] - facts.held.get("loan_draft", 0)
    if facts.refresh is None or facts.refresh.started_at <= facts.heartbeat.started_at:
        if drafts and facts.settings.kiva.send:
            yield HealthFinding(
                Verdict.WAITING,
                f"{errors.counted(drafts, 'loan draft')} ready; Kiva's list of loans is being read first."
                " Nothing is lost.",
                ("Only so is no loan posted that Kiva has already. It goes on by itself.",),
            )
    elif facts.now - facts.refresh.started_at > facts.settings.mirror.max_age:
        yield HealthFinding(
            Verdict.NOTE,
            f"Kiva's list of loans was last read whole {frame.length(facts.now - facts.refresh.started_at)} ago."
            " Nothing is lost.",
            ("What is in doubt is not settled by it any more.   Why: sudo kiva-relay check",),
        )


def _shadow(facts: Health) -> Iterator[HealthFinding]:
    if not facts.settings.kiva.send:
        yield HealthFinding(
            Verdict.NOTE,
            "kiva.send is false: everything is read, mapped and shown, and nothing is sent. Nothing is lost.",
            (
                f"It stays so until {facts.settings.file} says kiva: {{send: true}}",
                "                   sudo systemctl restart kiva-relay",
            ),
        )


def _persons(facts: Health) -> Iterator[HealthFinding]:
    """What waits for a person, in one line; the list is in `review`."""
    parts = []
    if facts.doubts:
        few = ", ".join(str(entry.id) for entry in facts.doubts[:_FEW])
        more = ", …" if len(facts.doubts) > _FEW else ""
        parts.append(f"{len(facts.doubts):,} in doubt (n° {few}{more})")
    if facts.decisions:
        parts.append(f"{errors.counted(facts.decisions, 'position')} to decide")
    if facts.divergences:
        parts.append(f"{errors.counted(facts.divergences, 'change')} in the MIS after sending")
    if facts.refused:
        parts.append(f"{facts.refused:,} refused")
    if parts:
        yield HealthFinding(
            Verdict.NOTE,
            f"For a person: {words.joined(parts)}. Nothing is lost, nothing was sent twice.",
            (
                "None of these is sent until somebody has looked.",
                "The list:          sudo kiva-relay review",
            ),
        )


def _edited(facts: Health) -> Iterator[HealthFinding]:
    edited = facts.heartbeat.edited if facts.heartbeat is not None else ()
    if edited and facts.alive:
        yield HealthFinding(
            Verdict.NOTE,
            f"Changed on disk and not in force: {words.joined(edited)}. The version before goes on.",
            ("Put it in force:   sudo kiva-relay reload",),
        )


def _good(facts: Health) -> HealthFinding:
    until = (facts.heartbeat.mis.last_good if facts.heartbeat is not None else None) or facts.now
    said = f"verything that the MIS owed Kiva until {_moment(facts, until)} is delivered"
    on_the_way = {
        resource: count
        for resource, states in facts.counts.items()
        if (count := states[State.READY] + states[State.SENDING])
    }
    if not on_the_way:
        return HealthFinding(Verdict.OK, f"E{said}. Nothing needs you.")
    if facts.next_due is None or facts.next_due <= facts.now:
        return HealthFinding(Verdict.OK, f"E{said}, but {words.counted(on_the_way)} being sent now. Nothing needs you.")
    quiet, last = frame.length(facts.settings.delivery.hold_for), _moment(facts, facts.next_due)
    return HealthFinding(
        Verdict.OK,
        f"E{said}, but {words.counted(on_the_way)} still to go. Nothing needs you.",
        (f"Due by {last}: what was typed less than {quiet} ago may still be corrected (delivery.hold_for).",),
    )


def deadlines(facts: Health) -> list[str]:
    """By when something has to be at Kiva that is not: sentences, the first to pass first."""
    found = []
    soon = [entry for entry in facts.expiring if entry.publish_by and entry.publish_by <= facts.today + _SOON]
    if soon and soon[0].publish_by:
        number = errors.counted(len(soon), "loan draft")
        day = frame.day(soon[0].publish_by) + (" (the first)" if len(soon) > 1 else "")
        found.append(f"{number} not at Kiva yet, to be published in PA2 by {day}: {_loans(soon)}")
    positions = facts.counts["repayment"]
    unsent = positions[State.READY] + positions[State.WAITING] + positions[State.IN_DOUBT]
    if unsent and facts.report.is_open and facts.report.closes is not None:
        left = facts.report.closes - facts.now
        found.append(
            f"{errors.counted(unsent, 'position')} not sent yet; the report closes"
            f" {_moment(facts, facts.report.closes)} (in {frame.length(left)}). Kiva bills a loan that is not"
            " reported as if it were repaid on schedule."
        )
    return found


def _loans(entries: list[Entry]) -> str:
    more = len(entries) - _FEW
    return " ".join(entry.loan_id for entry in entries[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _quoted(said: str) -> str:
    return f"“{' '.join(said.split())[:300]}”"


def _moment(facts: Health, when: datetime) -> str:
    return frame.moment(when, facts.settings, at=facts.now)
