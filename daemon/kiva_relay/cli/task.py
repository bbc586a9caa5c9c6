"""What the coordinator has to do, sorted by the day on which it is too late. In her words: none of ours.

Numbers (n°) are the entries' own: she can say them on the telephone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from sqlalchemy.engine import Connection

from kiva_relay.cli import frame, words
from kiva_relay.cli.health import Health
from kiva_relay.outbox import listing
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Divergence, Unpublished
from kiva_relay.resource import refusal

_TODAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_MOST_IDS = 30
_DRAFTS = "PA2 → home page → box “Loans” → “Drafts”"
_JOURNALS = "PA2 → Journals"
ENDED_BY_DONE = ("changed", "confirm", "delete", "publish", "too_old")
"""Kinds that `review done` takes off the list; the others end by a decision, or by themselves."""
_SETTLES_ITSELF = ("answer_lost", "process_ended")
_ASKED_IN_PA2 = {
    "description": "description",
    "loanuse": "use of the loan",
    "image_encoded": "photo",
    "client_waiver_signed": "client waiver",
    "activity_id": "activity",
    "theme_type_id": "loan theme",
    "location": "location",
    "schedule": "schedule",
}


class When(StrEnum):
    """How soon."""

    TODAY = "TODAY"
    THIS_WEEK = "THIS WEEK"
    LATER = "WHEN YOU HAVE TIME"


@dataclass(frozen=True)
class Task:
    """One thing to do: for which entries, in which words."""

    kind: str
    when: When
    title: str
    lines: tuple[str, ...]
    entries: tuple[Entry, ...]


def tasks(tx: Connection, facts: Health) -> list[Task]:
    """Everything that waits for the coordinator, the most urgent first."""
    drafts, divergences = listing.to_publish(tx), listing.open_divergences(tx)
    found = [
        *_look(facts),
        *_cancelled(divergences),
        *_too_old(drafts, facts),
        *_publish(drafts, facts),
        *_expiring(facts),
        *_changed(divergences),
        *_decide(tx, facts),
        *_confirm(tx, facts),
        *_correct(tx),
    ]
    order = list(When)
    return sorted(found, key=lambda task: order.index(task.when))


def _look(facts: Health) -> Iterator[Task]:
    """Doubts that only somebody who looks in PA2 can end."""
    for resource, name, place in (
        ("loan_draft", "draft", _DRAFTS),
        ("journal", "follow-up", _JOURNALS),
        ("repayment", "amount repaid", "PA2 → Repayments"),
    ):
        doubts = [entry for entry in facts.doubts if entry.resource == resource]
        if resource == "repayment":
            doubts = [entry for entry in doubts if entry.reason not in _SETTLES_ITSELF]
        if not doubts:
            continue
        one = doubts[0]
        title = f"Please look in PA2: is this {name} there?"
        if len(doubts) > 1:
            title = f"Please look in PA2: are these {len(doubts):,} {name}s there?"
        lines = [_line(entry, f"tried {_moment(facts, entry)}: {words.reason(entry.reason)}") for entry in doubts]
        lines.append(f"{place}. Tell the administrator: “{one.id} is there” or “{one.id} is not there”.")
        lines.append("Until then it is not sent again, so that there are not two.")
        yield Task("look", When.TODAY, title, tuple(lines), tuple(doubts))


def _cancelled(divergences: Sequence[Divergence]) -> Iterator[Task]:
    gone = [one.entry for one in divergences if one.kind == "left_scope"]
    for resource, name in (("loan_draft", "draft"), ("journal", "follow-up")):
        mine = [entry for entry in gone if entry.resource == resource]
        if not mine:
            continue
        this = f"this {name}" if len(mine) == 1 else f"these {name}s"
        lines = [_line(entry) for entry in mine]
        lines.append("If nobody does, money may be raised for a loan that does not exist.")
        lines.append(f"Deleted? Tell the administrator: “{mine[0].id} done”.")
        title = f"Delete {this} in PA2: cancelled in the MIS."
        yield Task("delete", When.TODAY, title, tuple(lines), tuple(mine))


def _too_old(drafts: Sequence[Unpublished], facts: Health) -> Iterator[Task]:
    late = [draft.entry for draft in drafts if _last_day(draft.entry) < facts.today]
    if late:
        lines = [_line(entry, f"the last day was {frame.day(_last_day(entry))}") for entry in late]
        lines.append("PA2 takes loans disbursed less than 30 days ago. Delete them in PA2. Published already? Good.")
        lines.append(f"In both cases, tell the administrator: “{late[0].id} done”.")
        yield Task("too_old", When.TODAY, "Drafts that can no longer be published", tuple(lines), tuple(late))


def _publish(drafts: Sequence[Unpublished], facts: Health) -> Iterator[Task]:
    rest = [draft for draft in drafts if _last_day(draft.entry) >= facts.today]
    soon = [draft for draft in rest if _last_day(draft.entry) <= facts.today + _WEEK]
    later = [draft.entry for draft in rest if draft not in soon]
    told = [line for draft in rest if draft not in soon for line in _to_look_at(draft, named=True)]
    if soon:
        urgent = _last_day(soon[0].entry) <= facts.today + _TODAY
        number = _number(len(soon), "draft")
        title = f"{number} to publish before too old (PA2 takes loans disbursed less than 30 days ago)"
        yield Task(
            "publish",
            When.TODAY if urgent else When.THIS_WEEK,
            title,
            tuple(line for draft in soon for line in (_with_day(draft), *_to_look_at(draft))),
            tuple(draft.entry for draft in soon),
        )
    if later:
        more = "more " if soon else ""
        title = f"{len(later):,} {more}{'draft' if len(later) == 1 else 'drafts'} to review and publish"
        yield Task("publish", When.LATER, title, (*_ids(later), *told), tuple(later))


def _with_day(draft: Unpublished) -> str:
    entry = draft.entry
    text = f"{entry.loan_id}   n° {entry.id}   by {frame.day(_last_day(entry))}"
    asked = [_ASKED_IN_PA2.get(field, field) for field in draft.needed]
    return f"{text}   still to add in PA2: {', '.join(asked)}" if asked else text


def _to_look_at(draft: Unpublished, *, named: bool = False) -> Iterator[str]:
    """What is wrong with a draft although it was sent; `named` when its line does not stand above."""
    for warning in draft.warnings:
        yield f"  {f'{draft.entry.loan_id}   n° {draft.entry.id}   ' if named else ''}{refusal.sentence(warning)}"


def _expiring(facts: Health) -> Iterator[Task]:
    """Drafts that are not in PA2 yet, and soon cannot be published."""
    waiting = [
        entry
        for entry in facts.expiring
        if facts.today <= _last_day(entry) <= facts.today + _WEEK and entry not in facts.doubts
    ]
    if waiting and (facts.held.get("loan_draft") or not facts.alive or _kiva_is_away(facts)):
        lines = [_line(entry, f"publish by {frame.day(_last_day(entry))}") for entry in waiting]
        lines.append("They are sent by themselves when that is possible again. If they are not in PA2 the day before,")
        lines.append(f"type them by hand, and tell the administrator: “{waiting[0].id} typed by hand”.")
        title = f"{_number(len(waiting), 'draft')} not in PA2 yet, with a last day to publish"
        urgent = _last_day(waiting[0]) <= facts.today + _TODAY
        yield Task("expiring", When.TODAY if urgent else When.THIS_WEEK, title, tuple(lines), tuple(waiting))


def _changed(divergences: Sequence[Divergence]) -> Iterator[Task]:
    changed = [one for one in divergences if one.kind == "changed"]
    if not changed:
        return
    lines = []
    for one in changed:
        lines.append(_line(one.entry))
        lines += [f"   {words.difference(each, one.entry.currency)}" for each in one.fields]
    lines.append("Change it in PA2; or, if PA2 is right, ask the branch to correct the MIS.")
    lines.append(f"Dealt with? Tell the administrator: “{changed[0].entry.id} done”.")
    title = f"The MIS changed after {_number(len(changed), 'thing')} {'was' if len(changed) == 1 else 'were'} sent"
    yield Task("changed", When.THIS_WEEK, title, tuple(lines), tuple(one.entry for one in changed))


def _decide(tx: Connection, facts: Health) -> Iterator[Task]:
    positions = listing.decisions(tx)
    if not positions:
        return
    lines = []
    for entry in positions:
        before = listing.last_position(tx, entry)
        was = f"; before: {frame.amount(before.amount, before.currency)}" if before is not None else ""
        lines.append(_line(entry, f"{words.reason(entry.reason).split(':')[0]}{was}"))
    one = positions[0].id
    lines.append(
        f"Right as it is? Tell the administrator: “{one}, send it”. Not to be reported: “{one}, leave it out”."
    )
    lines.append("If nobody decides, it is not sent, and Kiva bills the loan as if it were repaid on schedule.")
    if facts.report.closes is not None and facts.report.is_open:
        lines.append(f"The report closes on {frame.moment(facts.report.closes, facts.settings, at=facts.now)}.")
    title = f"{_number(len(positions), 'repaid amount')} to decide for the report"
    yield Task("decide", When.THIS_WEEK, title, tuple(lines), tuple(positions))


def _confirm(tx: Connection, facts: Health) -> Iterator[Task]:
    journals = listing.to_confirm(tx)
    if journals:
        lines = [_line(entry, f"{(entry.receipt or {})['confirm_url']}") for entry in journals]
        lines.append(f"Open, read, publish. Done? Tell the administrator: “{journals[0].id} done”.")
        title = f"{_number(len(journals), 'follow-up')} to confirm"
        oldest = min(entry.settled_at or facts.now for entry in journals)
        when = When.THIS_WEEK if facts.now - oldest > 2 * _WEEK else When.LATER
        yield Task("confirm", when, title, tuple(lines), tuple(journals))


def _correct(tx: Connection) -> Iterator[Task]:
    """What was refused: one line a reason, with all the loans that have it."""
    refused = listing.refused(tx)
    by_reason: dict[tuple[str, str], list[Entry]] = {}
    for entry in refused:
        for reason in entry.reasons:
            by_reason.setdefault((words.sentence(reason), words.remedy(reason)), []).append(entry)
    if by_reason:
        lines = []
        for (sentence, remedy), entries in by_reason.items():
            lines += [*_ids(entries), f"   {sentence}", *([f"   → {remedy}"] if remedy else [])]
        lines.append("Each is tried again by itself when it is corrected. Until then it is not sent.")
        title = f"{_number(len(refused), 'thing')} not sent, to correct"
        yield Task("correct", When.LATER, title, tuple(lines), tuple(refused))


def _kiva_is_away(facts: Health) -> bool:
    return facts.heartbeat is not None and facts.heartbeat.kiva.away_since is not None


def _last_day(entry: Entry) -> date:
    return entry.publish_by or date.max


def _line(entry: Entry, more: str = "") -> str:
    parts = [entry.loan_id, f"n° {entry.id}"]
    if entry.amount is not None:
        parts.append(frame.amount(entry.amount, entry.currency))
    return "   ".join([*parts, more] if more else parts)


def _ids(entries: Sequence[Entry]) -> list[str]:
    """Loan ids, each with its number, some on a line."""
    shown = [f"{entry.loan_id} (n° {entry.id})" for entry in entries[:_MOST_IDS]]
    lines = ["  ".join(shown[start : start + 5]) for start in range(0, len(shown), 5)]
    more = len(entries) - len(shown)
    return [*lines, f"and {more:,} more: kiva-relay outbox list"] if more else lines


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _moment(facts: Health, entry: Entry) -> str:
    return frame.moment(entry.changed_at, facts.settings, at=facts.now)
