"""How the relay is: what differs from normal, and the verdict over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from kiva_relay.account import finding
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.standing import Standing
from kiva_relay.outbox.listing import Kept
from kiva_relay.outbox.state import State
from kiva_relay.source import slot

FEW = 5
"""How many go first, where a few show whether the rest is right."""

EXIT_CODES: Mapping[Verdict, int] = {
    Verdict.OK: 0,
    Verdict.NOTE: 0,
    Verdict.WAITING: 3,
    Verdict.HELD: 1,
    Verdict.STOPPED: 1,
}
"""0: nothing is kept from going. 1: a person has to act. 3: a server did not answer; it is asked again by itself."""


def findings(facts: Standing) -> list[HealthFinding]:
    """What differs from normal, the gravest first; `AllDelivered` alone when nothing does."""
    looks: tuple[Callable[[Standing], Iterator[HealthFinding]], ...] = (
        _relay,
        _room,
        _loops,
        _mappings,
        _holds,
        _kiva,
        _mis,
        _stream,
        _list,
        _sending,
        _clock,
        _jobs,
        _persons,
        _edited,
    )
    found = [one for look in looks for one in look(facts)]
    return sorted(found, key=lambda one: -one.verdict) or [_good(facts)]


def verdict(found: Sequence[HealthFinding]) -> Verdict:
    """The gravest."""
    return max(one.verdict for one in found)


def _relay(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is None:
        yield finding.RelayStopped(None if facts.heartbeat is None else facts.heartbeat.beats_at)


def _room(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None and facts.running.no_room:
        yield finding.DiskFull(facts.running.no_room)


def _loops(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None:
        for loop, why in facts.running.stuck.items():
            yield finding.LoopStuck(loop, why)


def _mappings(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None:
        for mapping, mistake in facts.running.stopped_streams.items():
            yield finding.MappingUnfit(mapping, mistake)


def _holds(facts: Standing) -> Iterator[HealthFinding]:
    """Each hold; one with nothing ready is only mentioned where the same reason keeps something else back."""
    with_something = {kept.hold.reason for kept in facts.kept if kept.total}
    idle = [kept for kept in facts.kept if not kept.total and kept.hold.reason in with_something]
    for kept in facts.kept:
        if kept not in idle:
            also = [one.hold.what for one in idle if one.hold.reason == kept.hold.reason]
            yield _held(facts, kept, also)


def _held(facts: Standing, kept: Kept, also: Sequence[str]) -> HealthFinding:
    why = kept.hold.why
    return finding.HeldBack(
        kept,
        also=tuple(also),
        few_first=why.few_first and kept.total > FEW,
        adopted=facts.adopted if why.adopted_too else {},
    )


def _kiva(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None and (away := facts.running.kiva.away_since) is not None:
        yield finding.KivaAway(away, facts.running.kiva.words, corrected=facts.corrected, cancelled=facts.cancelled)


def _mis(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is None:
        return
    mis = facts.running.mis
    if mis.away_since is not None:
        yield finding.MisAway(mis.away_since, mis.words)
    elif mis.last_good is None:
        yield finding.MisNotReadYet()


def _stream(facts: Standing) -> Iterator[HealthFinding]:
    """The MIS's stream of changes, where somebody made one: broken off, or filling the MIS's disk."""
    stream = None if facts.running is None else facts.running.replication
    if facts.running is None or stream is None or not stream.made:
        return
    if not stream.live and facts.running.mis.away_since is None:
        yield finding.StreamBroken(stream.why)
    if slot.is_much(stream.kept, stream.wal_status):
        yield finding.StreamPiles(stream.kept or 0)


def _list(facts: Standing) -> Iterator[HealthFinding]:
    """Drafts go only after Kiva's list of loans was read by this process; doubts end only by it."""
    if facts.running is None or facts.running.kiva.away_since is not None:
        return
    drafts = facts.counts["loan_draft"][State.READY] - facts.held.get("loan_draft", 0)
    if facts.refresh is None or facts.refresh.started_at <= facts.running.started_at:
        if drafts and facts.settings.kiva.send:
            yield finding.ListBeingRead(drafts)
    elif (age := facts.now - facts.refresh.started_at) > facts.settings.mirror.max_age:
        yield finding.ListOld(age)


def _sending(facts: Standing) -> Iterator[HealthFinding]:
    if not facts.settings.kiva.send:
        yield finding.SendingSwitchedOff()


def _persons(facts: Standing) -> Iterator[HealthFinding]:
    if facts.doubts or facts.decisions or facts.divergences or facts.refused:
        yield finding.ForPersons(
            doubts=tuple(entry.id for entry in facts.doubts),
            decisions=len(facts.decisions),
            divergences=len(facts.divergences),
            refused=len(facts.refused),
        )


def _clock(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None and facts.clock_off is not None:
        yield finding.ClockOff(facts.clock_off)


def _jobs(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None:
        for job in facts.running.jobs:
            if job.overdue > 0:
                yield finding.JobLate(job.name, timedelta(seconds=job.overdue), last_run=job.last_run, error=job.error)


def _edited(facts: Standing) -> Iterator[HealthFinding]:
    if facts.running is not None and facts.running.edited:
        yield finding.EditedNotInForce(facts.running.edited)


def _good(facts: Standing) -> HealthFinding:
    last = None if facts.heartbeat is None else facts.heartbeat.mis.last_good
    due = facts.next_due if facts.next_due is not None and facts.next_due > facts.now else None
    return finding.AllDelivered(last or facts.now, under_way=facts.under_way, due=due)
