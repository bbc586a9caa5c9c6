"""How the relay is: what differs from normal, and the verdict over all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from kiva_relay.account import finding, slot_kept
from kiva_relay.account.finding import HealthFinding, Verdict
from kiva_relay.account.line import BY_CLOSING, WARNED, LineKind
from kiva_relay.account.standing import Standing
from kiva_relay.outbox import adoption, duplicate, mirror
from kiva_relay.outbox.listing import Kept
from kiva_relay.resource.refusal import PERSON_DECIDES

_READ_MISSED = 3
_AT_LEAST = timedelta(minutes=15)
_LISTS_OLD = timedelta(days=3)

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
    """What differs from normal, the gravest first; `AllDelivered` alone when nothing does.

    It is the account, and what is known of the relay beside it: every line that is not OK leads to a finding.
    """
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
        _lists,
        _sending,
        _clock,
        _jobs,
        _book,
        _overdue,
        _persons,
        _apart,
        _edited,
        _mail,
    )
    found = [one for look in looks for one in look(facts)]
    return sorted(found, key=lambda one: -one.verdict) or [_good(facts)]


def verdict(found: Sequence[HealthFinding]) -> Verdict:
    """The gravest."""
    return max(one.verdict for one in found)


def _relay(facts: Standing) -> Iterator[HealthFinding]:
    if facts.is_mute and facts.heartbeat is not None:
        yield finding.RelayMute(facts.heartbeat.beats_at, facts.heartbeat.pid)
    elif facts.running is None:
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
    for mapping, known in facts.nameless.items():
        yield finding.RowsNameless(mapping, known)


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
    if slot_kept.is_much(stream.kept, stream.wal_status):
        yield finding.StreamPiles(stream.kept or 0)


def fresh_for(facts: Standing) -> timedelta:
    """How old the last complete reading of Kiva's list of loans may be: three readings may fail, in a row."""
    chosen = facts.settings.mirror
    return min(chosen.max_age, max(_READ_MISSED * chosen.refresh_every, _AT_LEAST))


def _list(facts: Standing) -> Iterator[HealthFinding]:
    """Drafts go only after Kiva's list of loans was read by this process; doubts end, and loans are expected, by it."""
    if facts.running is None or facts.running.kiva.away_since is not None:
        return
    drafts = facts.under_way.get("loan_draft", 0)
    refresh, why, taken = facts.refresh, facts.why_incomplete, facts.taken
    if taken is not None and taken.list.read_at > facts.running.started_at:
        yield finding.ListTaken(taken.act.person, taken.act.at, taken.act.note, taken.list.why)
    elif refresh is None or (drafts and refresh.started_at <= facts.running.started_at):
        yield finding.ListBeingRead(drafts, why, may_be_taken=_may_be_taken(facts))
    elif (age := facts.now - refresh.started_at) > fresh_for(facts):
        yield finding.ListOld(
            age, settles=age <= facts.settings.mirror.max_age, why=why, may_be_taken=_may_be_taken(facts)
        )


def _may_be_taken(facts: Standing) -> bool:
    return facts.lacking is not None and facts.now - facts.lacking.since >= mirror.SAME_FOR


def _lists(facts: Standing) -> Iterator[HealthFinding]:
    """Kiva's other lists: drafts look up activities and places in them."""
    if facts.running is None or facts.running.kiva.away_since is not None or facts.refresh is None:
        return
    if facts.lists_read is None:
        yield finding.ListsNotGiven(None)
    elif (age := facts.now - facts.lists_read) > _LISTS_OLD:
        yield finding.ListsNotGiven(age)


def _sending(facts: Standing) -> Iterator[HealthFinding]:
    if not facts.settings.kiva.send:
        yield finding.SendingSwitchedOff()


def _book(facts: Standing) -> Iterator[HealthFinding]:
    """Was everything looked at that may be owed?"""
    things = facts.account.numbers(LineKind.NOT_LOOKED_AT_YET)
    if things or facts.account.unread:
        yield finding.NotLookedAtYet(things, {one.stream: one.rows for one in facts.account.unread})


def _overdue(facts: Standing) -> Iterator[HealthFinding]:
    on_their_way, waiting = Counter[str](), Counter[str]()
    for resource, line in facts.account.overdue:
        (on_their_way if line.kind is LineKind.ON_ITS_WAY else waiting)[resource] += line.number
    if on_their_way or waiting:
        yield finding.Overdue(on_their_way, waiting)


def _persons(facts: Standing) -> Iterator[HealthFinding]:
    account = facts.account
    in_doubt, refused, missing = (
        sum(account.numbers(kind).values()) for kind in (LineKind.IN_DOUBT, LineKind.REFUSED, LineKind.MISSING)
    )
    warned, unknown = len(facts.warned), len(facts.closed_unknown)
    closed = sum(account.numbers(LineKind.LEFT_OUT, cause=BY_CLOSING).values())
    undecided = len(facts.closed_undecided)
    left = sum(sum(account.numbers(LineKind.LEFT_OUT, cause=cause).values()) for cause in PERSON_DECIDES)
    undecided = max(undecided, left)  # of this report, and of those before that nobody has seen
    decide = Counter[str]()
    for _, line in account.each(LineKind.DECIDE):
        decide[line.cause] += line.number
    decisions = sum(decide.pop(cause, 0) for cause in PERSON_DECIDES)
    divergences = sum(decide.pop(kind, 0) for kind in ("changed", "left_scope"))
    perhaps = decide.pop(adoption.PERHAPS, 0)
    duplicates = decide.pop(duplicate.PROBABLE, 0)
    decide.pop(WARNED, 0)  # said by calls
    others = sum(decide.values())
    asked = (decisions, divergences, perhaps, duplicates, warned, unknown, others)
    if any((in_doubt, refused, missing, closed, undecided, *asked)):
        yield finding.ForPersons(
            doubts=tuple(entry.id for entry in facts.doubts),
            in_doubt=in_doubt,
            decisions=decisions,
            perhaps=perhaps,
            duplicates=duplicates,
            divergences=divergences,
            refused=refused,
            warned=warned,
            closed_unknown=unknown,
            missing=missing,
            left_at_closing=closed,
            undecided_at_closing=undecided,
            others=others,
        )


def _apart(facts: Standing) -> Iterator[HealthFinding]:
    if facts.apart:
        yield finding.SaidDifferently(facts.apart)


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


def _mail(facts: Standing) -> Iterator[HealthFinding]:
    """What the mail server does not take; of somebody who gets mail no more nothing is said."""
    how, to = facts.mail, {one.address for one in facts.settings.mail.recipients}
    refused = tuple((address, words) for address, words in how.refused if address in to)
    if how.waiting or refused:
        yield finding.MailNotSent(how.waiting, how.since, how.words, refused)


def _good(facts: Standing) -> HealthFinding:
    last = None if facts.heartbeat is None else facts.heartbeat.mis.last_good
    goes = [line.until for _, line in facts.account.each(LineKind.ON_ITS_WAY) if line.until is not None]
    due = max((moment for moment in goes if moment > facts.now), default=None)
    waiting = facts.account.numbers(LineKind.WAITING)
    return finding.AllDelivered(last or facts.now, under_way=facts.under_way, due=due, waiting=waiting)
