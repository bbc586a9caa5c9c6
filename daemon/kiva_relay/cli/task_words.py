"""What the coordinator has to do, in her words and none of ours.

The number of an entry (#33) is what she says on the telephone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from kiva_relay import errors, visible
from kiva_relay.account import task
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Rest, Task, When
from kiva_relay.cli import figure, words
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Unpublished
from kiva_relay.resource import refusal

WHEN = {When.TODAY: "TODAY", When.THIS_WEEK: "THIS WEEK", When.LATER: "WHEN YOU HAVE TIME"}
"""The heading over the tasks of one urgency."""

PLACES = {
    "loan_draft": "PA2 → home page → box “Loans” → “Drafts”",
    "journal": "PA2 → Journals",
    "repayment": "PA2 → Repayments",
}
"""Where a thing is found in PA2."""

_NAMES = {"loan_draft": "draft", "journal": "follow-up", "repayment": "amount repaid"}
_PLURALS = {"loan_draft": "drafts", "journal": "follow-ups", "repayment": "amounts repaid"}
_CALLS = {"loan_draft": "draft", "journal": "archive", "repayment": "upload"}
_MOST_IDS = 30
_A_LINE = 5
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

Said = tuple[str, Sequence[str]]
"""A title, and the lines below it."""


def said(one: Task, facts: Standing) -> Said:  # noqa: C901, PLR0912 - one case a task
    """A task in words."""
    match one:
        case task.LookInPa2():
            return _look(one, facts)
        case task.LookAtCall():
            return _look_at_call(one)
        case task.SameLoan():
            return _same_loan(one)
        case task.DeleteInPa2():
            return _delete(one)
        case task.TooOldToPublish():
            return _too_old(one)
        case task.PublishSoon():
            title = f"{_number(len(one.drafts), 'draft')} to publish before it is too late"
            lines = [line for draft in one.drafts for line in (_with_day(draft), *_warnings(draft))]
            return f"{title} (PA2 takes loans disbursed less than 30 days ago)", lines
        case task.PublishLater():
            more = "more " if one.besides else ""
            title = f"{len(one.drafts):,} {more}draft{'' if len(one.drafts) == 1 else 's'} to review and publish"
            named = [line for draft in one.drafts for line in _warnings(draft, named=True)]
            return title, [*_ids(one.entries), *named]
        case task.TypeByHand():
            return _type(one)
        case task.ChangedAfterSending():
            return _changed(one)
        case task.DecidePositions():
            return _decide(one, facts)
        case task.KnowWhatWasReported():
            return _know(one)
        case task.FindInMis():
            return _find(one, facts)
        case task.ConfirmJournals():
            lines = [_line(entry, visible.text(f"{(entry.receipt or {})['confirm_url']}")) for entry in one.entries]
            lines.append(f"Open, read, publish. Done? {_tell(one.entries[0], 'is done')}")
            return f"{_number(len(one.entries), 'follow-up')} to confirm", lines
        case task.CorrectRefused():
            return _correct(one)
    assert_never(one)


def rest(one: Rest, facts: Standing, *, tasks: bool) -> Iterator[str]:
    """What does not wait for her. `tasks`: there are some."""
    if not tasks:
        yield "Nothing waits for you."
    if not one.running:
        yield "The relay is not running: please tell the administrator. Nothing is lost, nothing was sent twice."
    elif one.kiva_away_since is not None:
        since = figure.moment(one.kiva_away_since, facts.settings, at=facts.now)
        yield f"Kiva has not answered since {since}. What waits is sent by itself later; nothing is lost."
    if one.held:
        yield f"Kept back until the administrator releases it: {words.counted(one.held)}. Nothing is lost."
    if one.journals_waiting:
        verb = "waits for its loan" if one.journals_waiting == 1 else "wait for their loans"
        yield f"{_number(one.journals_waiting, 'follow-up')} {verb} to be published. Nothing to do."
    if one.under_way:
        when = "when Kiva answers" if one.kiva_away_since is not None else "by itself"
        yield f"To be sent {when if one.running else 'when the relay runs'}: {words.counted(one.under_way)}."
    if one.running:
        last = one.delivered_until
        until = "" if last is None else f" up to {figure.moment(last, facts.settings, at=facts.now)}"
        yesterday = f" (yesterday: {words.counted(one.delivered_yesterday)})" if one.delivered_yesterday else ""
        yield f"Everything else{until} has been delivered{yesterday}."


def _look(one: task.LookInPa2, facts: Standing) -> Said:
    name, first, many = _NAMES[one.resource], one.entries[0], len(one.entries)
    title = f"Please look in PA2: is this {name} there?"
    if many > 1:
        title = f"Please look in PA2: are these {many:,} {_PLURALS[one.resource]} there?"
    tried = [figure.moment(entry.changed_at, facts.settings, at=facts.now) for entry in one.entries]
    lines = [
        _line(entry, f"tried {moment}: {words.reason(entry.reason)}")
        for entry, moment in zip(one.entries, tried, strict=True)
    ]
    number = words.number(first.id)
    return title, [
        *lines,
        f"{PLACES[one.resource]}. Tell the administrator: “{number} is there” or “{number} is not there”.",
        "Until then it is not sent again, so that there are not two." if many == 1 else
        "Until then they are not sent again, so that there are not two of any.",
    ]  # fmt: skip


def _look_at_call(one: task.LookAtCall) -> Said:
    """What Kiva said of a call, and the question whether what was in it is there."""
    many, call = len(one.entries), one.call
    said = " ".join(words.quoted(each) for each in call.words) or "that there is a problem"
    these = f"its {many:,} {_PLURALS[one.resource]}" if many > 1 else f"its {_NAMES[one.resource]}"
    number = words.number(one.entries[0].id)
    return f"Kiva says of {_CALLS[one.resource]} {call.number}: {said}. {'Are' if many > 1 else 'Is'} {these} there?", [
        *_ids(one.entries),
        f"{PLACES[one.resource]}. Tell the administrator: “{number} is there” or “{number} is to be sent again”.",
        "That is said of all of them. A newer amount goes out all the same."
        if one.resource == "repayment"
        else "Until then nothing of it is sent again.",
    ]


def _same_loan(one: task.SameLoan) -> Said:
    lines = [_line(entry, f"at Kiva: {', '.join(ids) or '?'}") for entry, ids in one.alike]
    number = words.number(one.entries[0].id)
    return f"{_number(len(one.entries), 'entry')} whose loan id is at Kiva in other letters (upper or lower case)", [
        *lines,
        f"Tell the administrator: “{number} is the same loan” or “{number} is another loan”.",
        "Until then it is not sent, so that there are not two.",
    ]


def _know(one: task.KnowWhatWasReported) -> Said:
    lines = []
    for line in one.unknown:
        entry = line.entry
        before = "nothing" if line.before is None else figure.amount(line.before, entry.currency)
        sent = figure.amount(line.sent, entry.currency)
        lines.append(f"{words.name(entry)}   report of {entry.period}: we sent {sent}, Kiva may hold {before}")
    lines.append("The next report sets it right by itself. To know what Kiva took: PA2 → Repayments.")
    lines.append(f"Seen? {_tell(one.entries[0], 'is done')}")
    many = len(one.entries)
    title = f"{many:,} {'amount' if many == 1 else 'amounts'} repaid of which nobody knows whether Kiva took "
    return title + ("it before the report closed" if many == 1 else "them before the report closed"), lines


def _delete(one: task.DeleteInPa2) -> Said:
    many = len(one.entries)
    these = f"this {_NAMES[one.resource]}" if many == 1 else f"these {many:,} {_PLURALS[one.resource]}"
    return f"Delete {these} in PA2: cancelled in the MIS.", [
        *map(_line, one.entries),
        "If nobody does, money may be raised for a loan that does not exist.",
        f"Deleted? {_tell(one.entries[0], 'is done')}",
    ]


def _too_old(one: task.TooOldToPublish) -> Said:
    return f"{_number(len(one.entries), 'draft')} that can no longer be published", [
        *(_line(entry, f"the last day was {_day(entry)}") for entry in one.entries),
        "PA2 takes loans disbursed less than 30 days ago. Delete what is still a draft; what is published is fine.",
        f"Either way, {_lower(_tell(one.entries[0], 'is done'))}",
    ]


def _type(one: task.TypeByHand) -> Said:
    return f"{_number(len(one.entries), 'draft')} not in PA2 yet, with a last day to publish", [
        *(_line(entry, f"publish by {_day(entry)}") for entry in one.entries),
        "They are sent by themselves when that is possible again. If they are not in PA2 the day before,",
        f"type them by hand. Typed? {_tell(one.entries[0], 'is typed by hand')}",
    ]


def _changed(one: task.ChangedAfterSending) -> Said:
    lines = []
    for each in one.divergences:
        lines.append(_line(each.entry))
        lines += [f"   no longer maps: {words.sentence(reason)}" for reason in each.reasons]
        lines += [f"   {words.difference(field, each.entry.currency)}" for field in each.fields]
    many = len(one.divergences)
    were = "loan or follow-up was" if many == 1 else "loans or follow-ups were"
    return f"The MIS changed after {many:,} {were} sent", [
        *lines,
        "Change it in PA2; or, if PA2 is right, ask the branch to correct the MIS.",
        f"Dealt with? {_tell(one.entries[0], 'is done')}",
    ]


def _decide(one: task.DecidePositions, facts: Standing) -> Said:
    lines = []
    for entry in one.entries:
        last = one.before.get(entry.id)
        was = f"; before: {figure.amount(last.amount, last.currency)}" if last is not None else ""
        lines.append(_line(entry, f"{words.reason(entry.reason).split(':')[0]}{was}"))
    number = words.number(one.entries[0].id)
    lines += [
        f"Right as it is? Tell the administrator: “send {number}”. Not to be reported? “Leave {number} out”.",
        "If nobody decides, it is not sent, and Kiva bills the loan as if it were repaid on schedule.",
    ]
    if one.closes is not None:
        lines.append(f"The report closes on {figure.moment(one.closes, facts.settings, at=facts.now)}.")
    many = len(one.entries)
    return f"{many:,} {'amount' if many == 1 else 'amounts'} repaid to decide about, for the report", lines


def _find(one: task.FindInMis, facts: Standing) -> Said:
    shown, more = one.loans[:_MOST_IDS], len(one.loans) - _MOST_IDS
    lines = ["  ".join(shown[start : start + _A_LINE]) for start in range(0, len(shown), _A_LINE)]
    lines += [
        *([f"and {more:,} more"] if more > 0 else []),
        "Kiva expects a report of them, and the MIS does not give them under these ids. Was an id changed, a loan",
        "moved to another fund, or deleted? Correct it in the MIS, or report them in PA2.",
        "If nobody does, Kiva bills them as if they were repaid on schedule.",
    ]
    if one.closes is not None:
        lines.append(f"The report closes on {figure.moment(one.closes, facts.settings, at=facts.now)}.")
    return f"{_number(len(one.loans), 'loan')} to report, which the MIS does not have", lines


def _correct(one: task.CorrectRefused) -> Said:
    """One block a reason, with all the loans that have it."""
    by_reason: dict[tuple[str, str], list[Entry]] = {}
    for entry in one.entries:
        for reason in entry.reasons:
            by_reason.setdefault((words.sentence(reason), words.remedy(reason)), []).append(entry)
    lines = []
    for (sentence, remedy), entries in by_reason.items():
        lines += [*_ids(entries), f"   {sentence}", *([f"   → {remedy}"] if remedy else [])]
    lines.append("Each is tried again by itself when it is corrected. Until then it is not sent.")
    return f"{errors.counted(len(one.entries), 'entry')} not sent, to be corrected", lines


def _with_day(draft: Unpublished) -> str:
    entry = draft.entry
    text = f"{words.name(entry)}   by {_day(entry)}"
    asked = dict.fromkeys(_ASKED_IN_PA2.get(field, field.rpartition(".")[2]) for field in draft.needed)
    return f"{text}   still to add in PA2: {', '.join(asked)}" if asked else text


def _warnings(draft: Unpublished, *, named: bool = False) -> Iterator[str]:
    """What is wrong with a draft although it was sent; `named` where its own line does not stand above."""
    for warning in draft.warnings:
        yield f"  {f'{words.name(draft.entry)}   ' if named else ''}{refusal.sentence(warning)}"


def _tell(entry: Entry, what: str) -> str:
    return f"Tell the administrator: “{words.number(entry.id)} {what}”."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _line(entry: Entry, more: str = "") -> str:
    amount = [figure.amount(entry.amount, entry.currency)] if entry.amount is not None else []
    return "   ".join([words.name(entry), *amount, *([more] if more else [])])


def _day(entry: Entry) -> str:
    return figure.day(entry.publish_by) if entry.publish_by is not None else ""


def _ids(entries: Sequence[Entry]) -> list[str]:
    """Loan ids, each with its number, some on a line."""
    shown = [f"{visible.text(entry.loan_id)} ({words.number(entry.id)})" for entry in entries[:_MOST_IDS]]
    lines = ["  ".join(shown[start : start + _A_LINE]) for start in range(0, len(shown), _A_LINE)]
    more = len(entries) - len(shown)
    return [*lines, f"and {more:,} more: kiva-relay outbox list"] if more else lines


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
