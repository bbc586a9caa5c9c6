"""What the coordinator has to do, one value a task, sorted by the day on which it is too late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from sqlalchemy.engine import Connection

from kiva_relay.account import asked
from kiva_relay.account.asked import OpenQuestions
from kiva_relay.account.reconcile import DiscrepancyKind
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import discrepancy, listing, query
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.history import Divergence
from kiva_relay.outbox.listing import Unpublished
from kiva_relay.outbox.warned_call import WarnedCall
from kiva_relay.report import month
from kiva_relay.report.line import ReportLine

_TODAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_CONFIRM_WITHIN = timedelta(days=14)


class When(StrEnum):
    """How soon."""

    TODAY = "today"
    THIS_WEEK = "this_week"
    LATER = "later"


@dataclass(frozen=True)
class _Task:
    """One thing to do. `day` is the last day on which it can be done; None: nothing passes on a day.

    `ended_by_done`: `review done` takes it off the list; the others end by a decision, or by themselves. `part_of` is
    the whole task, where this is a part of it.
    """

    ended_by_done: ClassVar = False
    when: When
    day: date | None
    entries: Sequence[Entry]
    part_of: _Task | None = field(default=None, kw_only=True, repr=False)


@dataclass(frozen=True)
class LookInPa2(_Task):
    """Doubts of one resource, which only somebody who looks in PA2 can end."""

    kind: ClassVar = "look"
    resource: str


@dataclass(frozen=True)
class LookAtCall(_Task):
    """A call that Kiva took, naming a problem of it: is what was in it there?"""

    kind: ClassVar = "look_at_call"
    resource: str
    call: WarnedCall


@dataclass(frozen=True)
class SameLoan(_Task):
    """What waits because Kiva has a loan whose id differs in case only. `alike`: each entry, with the ids at Kiva."""

    kind: ClassVar = "same_loan"
    alike: tuple[tuple[Entry, list[str]], ...]


@dataclass(frozen=True)
class SameClientAndAmount(_Task):
    """Drafts that may be owed twice, and are not sent before somebody says. `alike`: each, with what it is like."""

    kind: ClassVar = "duplicate"
    alike: tuple[tuple[Entry, tuple[str, ...]], ...]


@dataclass(frozen=True)
class DeleteInPa2(_Task):
    """Things of one resource that the MIS cancelled after they were sent."""

    kind: ClassVar = "delete"
    ended_by_done: ClassVar = True
    resource: str


@dataclass(frozen=True)
class TooOldToPublish(_Task):
    """Drafts in PA2 whose last day has passed."""

    kind: ClassVar = "too_old"
    ended_by_done: ClassVar = True


@dataclass(frozen=True)
class PublishSoon(_Task):
    """Drafts in PA2 that will be too old within a week, the first to expire first."""

    kind: ClassVar = "publish"
    ended_by_done: ClassVar = True
    drafts: tuple[Unpublished, ...]


@dataclass(frozen=True)
class PublishLater(_Task):
    """The other drafts in PA2. `besides`: there are some to be published sooner, too."""

    kind: ClassVar = "publish"
    ended_by_done: ClassVar = True
    drafts: tuple[Unpublished, ...]
    besides: bool


@dataclass(frozen=True)
class TypeByHand(_Task):
    """Drafts that are not in PA2 yet, cannot be sent at present, and will soon be too old."""

    kind: ClassVar = "expiring"


@dataclass(frozen=True)
class ChangedAfterSending(_Task):
    """What the MIS changed after it was sent, with the fields that differ."""

    kind: ClassVar = "changed"
    ended_by_done: ClassVar = True
    divergences: tuple[Divergence, ...]


@dataclass(frozen=True)
class DecidePositions(_Task):
    """Positions that are not sent unless somebody says so. `before`: entry's number → what Kiva took last, if any.

    `closes` is when the report closes, if it is open; `lines` are those of the report that ask, also without an entry:
    each has its cause, the likely answer and its price. `alone` are those of the entries of which no line tells.
    """

    kind: ClassVar = "decide"
    before: Mapping[int, Entry]
    closes: datetime | None
    lines: Sequence[ReportLine] = ()
    alone: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class KnowWhatWasNotDecided(_Task):
    """Positions about which nobody decided before their report closed. `before` as of `DecidePositions`."""

    kind: ClassVar = "closed_undecided"
    ended_by_done: ClassVar = True
    before: Mapping[int, Entry]


@dataclass(frozen=True)
class KnowWhatWasReported(_Task):
    """Positions whose report closed while nobody knew what Kiva holds."""

    kind: ClassVar = "closed_unknown"
    ended_by_done: ClassVar = True
    unknown: tuple[listing.ClosedUnknown, ...]


@dataclass(frozen=True)
class ConfirmJournals(_Task):
    """The journals of one page that somebody has to open and publish at Kiva."""

    kind: ClassVar = "confirm"
    ended_by_done: ClassVar = True


@dataclass(frozen=True)
class CorrectRefused(_Task):
    """What was refused; each entry has its reasons."""

    kind: ClassVar = "correct"


@dataclass(frozen=True)
class FindInMis(_Task):
    """Loans for which Kiva expects a report, and that the MIS does not give: their ids, as Kiva spells them.

    `closes` is when the report closes, if it closes; `lines` are those of the report, each with its cause, the loan
    that it probably is, and its price.
    """

    kind: ClassVar = "missing"
    loans: tuple[str, ...]
    closes: datetime | None
    lines: tuple[ReportLine, ...] = ()


@dataclass(frozen=True)
class SettleDifferences(_Task):
    """Loans of which MIS, outbox and Kiva say different things, the gravest kind first."""

    kind: ClassVar = "apart"
    found: tuple[KeptDiscrepancy, ...]


Task = (
    LookInPa2
    | LookAtCall
    | SameLoan
    | SameClientAndAmount
    | DeleteInPa2
    | TooOldToPublish
    | PublishSoon
    | PublishLater
    | TypeByHand
    | ChangedAfterSending
    | DecidePositions
    | KnowWhatWasNotDecided
    | KnowWhatWasReported
    | FindInMis
    | ConfirmJournals
    | CorrectRefused
    | SettleDifferences
)


def tasks(
    tx: Connection, facts: Standing, of_month: month.Month | None = None, *, in_parts: bool = False
) -> list[Task]:
    """Everything that waits for the coordinator, the first to be too late first.

    `of_month` is a report that was read already: where it is the open one, it is not read again. `in_parts`: for who
    shows some things of a task and their number; what is many is read when somebody looks at it, while `tx` is open.
    """
    of_report = asked.in_parts(tx, facts) if in_parts else asked.whole(tx, facts, of_month)
    before = query.taken_before(tx, (*of_report.alone, *facts.closed_undecided))  # a line says itself what Kiva took
    found: list[Task] = [
        *_look(facts),
        *_look_at_calls(facts),
        *_same_loan(facts),
        *_twins(facts),
        *_delete(facts),
        *_publish(facts, listing.to_publish(tx)),
        *_type(facts),
        *_changed(facts),
        *_decide(facts, before, of_report),
        *_undecided(facts, before),
        *_know(facts),
        *_find(facts, of_report),
        *_confirm(facts, listing.to_confirm(tx)),
        *_correct(facts),
        *_apart(discrepancy.every(tx, besides_seen=True)),
    ]
    return in_order(found)


def in_order(found: Sequence[Task]) -> list[Task]:
    """By how soon, then by the day; those without a day last."""
    whens = list(When)
    return sorted(found, key=lambda one: (whens.index(one.when), one.day or date.max))


def _look(facts: Standing) -> Iterator[Task]:
    for resource in ("loan_draft", "journal", "repayment"):
        doubts = [entry for entry in facts.doubts if entry.resource == resource and not entry.repeats_itself]
        if doubts:
            yield LookInPa2(When.TODAY, facts.today, tuple(doubts), resource)


def _look_at_calls(facts: Standing) -> Iterator[Task]:
    for call in facts.warned:
        yield LookAtCall(When.TODAY, facts.today, call.entries, call.entries[0].resource, call)


def _same_loan(facts: Standing) -> Iterator[Task]:
    if facts.perhaps:
        yield SameLoan(When.THIS_WEEK, None, tuple(entry for entry, _ids in facts.perhaps), facts.perhaps)


def _twins(facts: Standing) -> Iterator[Task]:
    """The earlier of them has a last day to be published, the sooner it is asked."""
    if facts.twins:
        entries = tuple(entry for entry, _others in facts.twins)
        first = min((_last_day(entry) for entry in entries), default=date.max)
        when = _soon(facts, first)
        yield SameClientAndAmount(when, None if first == date.max else first, entries, facts.twins)


def _undecided(facts: Standing, before: Mapping[int, Entry]) -> Iterator[Task]:
    if facts.closed_undecided:
        yield KnowWhatWasNotDecided(When.THIS_WEEK, None, facts.closed_undecided, before)


def _know(facts: Standing) -> Iterator[Task]:
    if facts.closed_unknown:
        entries = tuple(one.entry for one in facts.closed_unknown)
        yield KnowWhatWasReported(When.THIS_WEEK, None, entries, facts.closed_unknown)


def _delete(facts: Standing) -> Iterator[Task]:
    gone = [one.entry for one in facts.divergences if one.kind == "left_scope"]
    for resource in ("loan_draft", "journal"):
        mine = tuple(entry for entry in gone if entry.resource == resource)
        if mine:
            yield DeleteInPa2(When.TODAY, facts.today, mine, resource)


def _publish(facts: Standing, drafts: Sequence[Unpublished]) -> Iterator[Task]:
    late = [draft.entry for draft in drafts if _last_day(draft.entry) < facts.today]
    rest = [draft for draft in drafts if _last_day(draft.entry) >= facts.today]
    soon = [draft for draft in rest if _last_day(draft.entry) <= facts.today + _WEEK]
    later = [draft for draft in rest if draft not in soon]
    if late:
        yield TooOldToPublish(When.TODAY, facts.today, tuple(late))
    if soon:
        first = _last_day(soon[0].entry)
        yield PublishSoon(_soon(facts, first), first, tuple(draft.entry for draft in soon), tuple(soon))
    if later:
        first = _last_day(later[0].entry)
        entries = tuple(draft.entry for draft in later)
        yield PublishLater(When.LATER, None if first == date.max else first, entries, tuple(later), besides=bool(soon))


def _type(facts: Standing) -> Iterator[Task]:
    """Where nothing keeps drafts from going, they go in time by themselves."""
    stuck = facts.held.get("loan_draft") or facts.running is None or facts.kiva_away_since is not None
    first, last = facts.today, facts.today + _WEEK
    waiting = [entry for entry in facts.expiring if first <= _last_day(entry) <= last and entry not in facts.doubts]
    if stuck and waiting:
        first = _last_day(waiting[0])
        yield TypeByHand(_soon(facts, first), first, tuple(waiting))


def _changed(facts: Standing) -> Iterator[Task]:
    changed = tuple(one for one in facts.divergences if one.kind == "changed")
    if changed:
        yield ChangedAfterSending(When.THIS_WEEK, None, tuple(one.entry for one in changed), changed)


def _decide(facts: Standing, before: Mapping[int, Entry], of_report: OpenQuestions | None = None) -> Iterator[Task]:
    found = of_report or asked.beside_a_report(facts)
    if facts.decisions or found.to_decide:
        closes = facts.report.closes if facts.report.is_open else None
        day = None if closes is None else facts.day_of(closes)
        yield DecidePositions(When.THIS_WEEK, day, facts.decisions, before, closes, found.to_decide, found.alone)


def _find(facts: Standing, of_report: OpenQuestions | None = None) -> Iterator[Task]:
    found = of_report or asked.beside_a_report(facts)
    loans = tuple(dict.fromkeys((*found.missing, *(one.loan_id for one in found.absent))))
    if loans:
        closes = facts.report.closes
        day = None if closes is None else facts.day_of(closes)
        yield FindInMis(When.THIS_WEEK, day, (), loans, closes, found.absent)


def _confirm(facts: Standing, journals: Sequence[Entry]) -> Iterator[Task]:
    pages: dict[str, list[Entry]] = {}
    for entry in journals:
        pages.setdefault(str((entry.receipt or {}).get("confirm_url")), []).append(entry)
    for entries in pages.values():
        oldest = min(entry.settled_at or facts.now for entry in entries)
        when = When.THIS_WEEK if facts.now - oldest > _CONFIRM_WITHIN else When.LATER
        yield ConfirmJournals(when, None, tuple(entries))


def _correct(facts: Standing) -> Iterator[Task]:
    if facts.refused:
        yield CorrectRefused(When.LATER, None, facts.refused)


def _apart(found: Sequence[KeptDiscrepancy]) -> Iterator[Task]:
    """What no other task says already."""
    order = list(DiscrepancyKind)
    mine = [one for one in found if not _is_said_elsewhere(one)]
    if mine:
        mine.sort(key=lambda one: (order.index(DiscrepancyKind(one.kind)), one.id))
        yield SettleDifferences(When.THIS_WEEK, None, (), tuple(mine))


def _is_said_elsewhere(one: KeptDiscrepancy) -> bool:
    """A draft that is too old to publish, or that the MIS cancelled, is a task of its own."""
    gone = one.kind == DiscrepancyKind.GONE_HERE and not one.kiva_id
    return gone or (one.kind == DiscrepancyKind.NEVER_SEEN and "publish_by" in one.params)


def _soon(facts: Standing, day: date) -> When:
    return When.TODAY if day <= facts.today + _TODAY else When.THIS_WEEK


def _last_day(entry: Entry) -> date:
    return entry.publish_by or date.max
