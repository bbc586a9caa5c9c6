"""What the coordinator has to do, in her language and her words, none of ours.

The number of an entry (#33) is what she says on the telephone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import assert_never

from kiva_relay.account import part, task
from kiva_relay.account.standing import Standing
from kiva_relay.account.task import Task, When
from kiva_relay.outbox.entry import Entry
from kiva_relay.outbox.listing import Unpublished
from kiva_relay.report.line import ReportLine
from kiva_relay.terminal import visible
from kiva_relay.words import personal, reconcile, refusal, report, report_choice, report_line
from kiva_relay.words.language import Language

_MOST_IDS = 30
_A_LINE = 5
_MOST_APART = 10
_DELETED = re.compile(r"deleted on (\d{4}-\d\d-\d\d)")
_AMOUNTS = ("amount", "principal", "interest")
_VALUES = {"female": "female", "male": "male", "true": "yes", "false": "no"}
"""What the relay writes for a value that has a word."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)

Said = tuple[str, Sequence[str]]
"""A title, and the lines below it."""


def heading(when: When, language: Language) -> str:
    """The heading over the tasks of one urgency."""
    return language.say(f"task.when.{when.value}")


def place(resource: str, language: Language) -> str:
    """Where a thing is found in PA2."""
    return language.say(f"task.place.{resource}")


def said(one: Task, facts: Standing, language: Language) -> Said:
    """A task in words."""
    title, lines = _said(one, facts, language)
    return title, [line for line in lines if line]


def _said(one: Task, facts: Standing, language: Language) -> Said:  # noqa: C901, PLR0912 - one case a task
    match one:
        case task.LookInPa2():
            return _look(one, facts, language)
        case task.LookAtCall():
            return _look_at_call(one, language)
        case task.SameLoan():
            return _same_loan(one, language)
        case task.SameClientAndAmount():
            return _twins(one, facts, language)
        case task.DeleteInPa2():
            return _delete(one, facts, language)
        case task.TooOldToPublish():
            return _too_old(one, facts, language)
        case task.PublishSoon():
            return _publish_soon(one, facts, language)
        case task.PublishLater():
            return _publish_later(one, language)
        case task.TypeByHand():
            return _type(one, facts, language)
        case task.ChangedAfterSending():
            return _changed(one, facts, language)
        case task.DecidePositions():
            return _decide(one, facts, language)
        case task.KnowWhatWasNotDecided():
            return _undecided(one, language)
        case task.KnowWhatWasReported():
            return _know(one, language)
        case task.FindInMis():
            return _find(one, facts, language)
        case task.ConfirmJournals():
            return _confirm(one, language)
        case task.CorrectRefused():
            return _correct(one, language)
        case task.SettleDifferences():
            return _apart(one, language)
    assert_never(one)


def _look(one: task.LookInPa2, facts: Standing, language: Language) -> Said:
    many = part.how_many(one)
    ask = language.say("task.look.ask", place=place(one.resource, language), number=str(one.entries[0].id))
    return language.say(f"task.look.{one.resource}", n=many), [
        *(_line(entry, language, _sent(entry, facts, language)) for entry in one.entries),
        ask,
        language.say("task.look.until", n=many),
    ]


def _sent(entry: Entry, facts: Standing, language: Language) -> str:
    """When it was sent, and why nobody knows what became of it."""
    moment = language.moment(entry.changed_at, facts.settings.mis.timezone, at=facts.now)
    code = f"task.sent.{entry.reason}"
    return language.say(code if language.knows(code) else "task.sent.unknown", moment=moment)


def _look_at_call(one: task.LookAtCall, language: Language) -> Said:
    """What Kiva said of a call, and the question whether what was in it is there."""
    call = one.call
    told = " ".join(map(language.quoted, call.words)) or language.say("task.call.problem")
    ask = language.say("task.call.ask", place=place(one.resource, language), number=str(one.entries[0].id))
    return language.say(f"task.call.{one.resource}", number=call.number, said=told, n=len(one.entries)), [
        *_ids(one.entries, language),
        ask,
        language.say("task.call.newer" if one.resource == "repayment" else "task.call.until", n=len(one.entries)),
    ]


def _same_loan(one: task.SameLoan, language: Language) -> Said:
    return language.say("task.same.title", n=part.how_many(one)), [
        *(
            _line(entry, language, language.say("task.same.at_kiva", ids=", ".join(ids) or "?"))
            for entry, ids in one.alike
        ),
        _tell("task.same.ask", one.entries[0], language),
        language.say("task.same.until", n=part.how_many(one)),
    ]


def _twins(one: task.SameClientAndAmount, facts: Standing, language: Language) -> Said:
    lines = []
    for entry, others in one.alike:
        like = language.joined(map(visible.text, others))
        lines.append(_line(entry, language, language.say("task.twin.like", loans=like)))
        if entry.publish_by is not None:
            lines.append("   " + _by("task.publish.by", entry, facts, language))
    return language.say("task.twin.title", n=part.how_many(one)), [
        *lines,
        language.say("task.twin.until", n=part.how_many(one)),
        _tell("task.twin.ask", one.entries[0], language),
    ]


def _delete(one: task.DeleteInPa2, facts: Standing, language: Language) -> Said:
    def since(entry: Entry) -> str:
        if entry.settled_at is None:
            return ""
        return language.say("task.delete.draft_of", day=language.on(facts.day_of(entry.settled_at)))

    is_news = one.resource == "journal"
    return language.say(f"task.delete.{one.resource}", n=part.how_many(one)), [
        *(_line(entry, language, _page(entry, language) if is_news else since(entry)) for entry in one.entries),
        language.say("task.delete.if_nobody_journal" if is_news else "task.delete.if_nobody"),
        _tell("task.delete.done", one.entries[0], language),
    ]


def _too_old(one: task.TooOldToPublish, facts: Standing, language: Language) -> Said:
    return language.say("task.too_old.title", n=part.how_many(one)), [
        *(_line(entry, language, _by("task.too_old.last_day", entry, facts, language)) for entry in one.entries),
        language.say("task.too_old.do"),
        _tell("task.done", one.entries[0], language),
    ]


def _publish_soon(one: task.PublishSoon, facts: Standing, language: Language) -> Said:
    lines = []
    for draft in one.drafts:
        lines += [_to_publish(draft, facts, language), *(f"  {each}" for each in _warnings(draft, language))]
    return language.say("task.publish.title", n=part.how_many(one)), lines


def _publish_later(one: task.PublishLater, language: Language) -> Said:
    title = language.say("task.publish.more" if one.besides else "task.publish.all", n=part.how_many(one))
    named = [
        f"  {_name(draft.entry, language)}   {each}" for draft in one.drafts for each in _warnings(draft, language)
    ]
    return title, [*_ids(one.entries, language), *named]


def _type(one: task.TypeByHand, facts: Standing, language: Language) -> Said:
    return language.say("task.type.title", n=part.how_many(one)), [
        *(_line(entry, language, _by("task.publish.by", entry, facts, language)) for entry in one.entries),
        language.say("task.type.do", number=str(one.entries[0].id), n=part.how_many(one)),
    ]


def _changed(one: task.ChangedAfterSending, facts: Standing, language: Language) -> Said:
    lines, fields = [], set()
    for each in one.divergences:
        currency = each.entry.currency
        moment = language.moment(each.since, facts.settings.mis.timezone, at=facts.now)
        lines.append(_line(each.entry, language, language.say("task.changed.moment", moment=moment)))
        for reason in each.reasons:
            told = refusal.sentence(reason, language, currency=currency)
            lines.append("   " + language.say("task.changed.reason", reason=told))
        for field in each.fields:
            fields.add(personal.last(field["field"]))
            lines.append("   " + difference(field, currency, language))
        if each.entry.resource == "journal":
            lines.append("   " + _page(each.entry, language))
    resources = part.resources(one)
    (first, *others), many = resources, part.how_many(one)
    if others or first == "repayment":
        title = language.say("task.changed.several", what=language.counted(resources))
    else:
        title = language.say(f"task.changed.{first}", n=many)
    is_amount = fields == {"amount"} and first == "loan_draft" and not others
    is_news = first == "journal" and not others
    do = "task.changed.do_amount" if is_amount else "task.changed.do_journal" if is_news else "task.changed.do"
    again = [] if is_news else [_tell("task.changed.again", one.entries[0], language)]
    return title, [*lines, language.say(do), _tell("task.done", one.entries[0], language), *again]


def difference(one: Mapping[str, str], currency: str | None, language: Language) -> str:
    """What was sent and what the MIS says now; of a name only that it differs."""
    field = refusal.field(one["field"], language)
    if personal.is_personal(one["field"]):
        return language.say("task.changed.hidden", field=field)
    is_amount = personal.last(one["field"]) in _AMOUNTS
    was, now = (_value(one[side], currency, language, is_amount=is_amount) for side in ("was", "is"))
    return language.say("task.changed.field", field=field, was=was, now=now)


def _value(written: str, currency: str | None, language: Language, *, is_amount: bool) -> str:
    """What stood in a field; of a body that was deleted, only when that was."""
    if not written:
        return f"({language.say('general.nothing')})"
    if deleted := _DELETED.fullmatch(written):
        return language.say("task.changed.deleted", day=language.day(date.fromisoformat(deleted[1])))
    if is_amount and _NUMBER.fullmatch(written):
        return language.amount(written, currency)
    if _DAY.fullmatch(written):
        return language.day(date.fromisoformat(written))
    word = _VALUES.get(written.lower())
    return language.say(f"general.value.{word}") if word else written


def _decide(one: task.DecidePositions, facts: Standing, language: Language) -> Said:
    first = one.lines[0].number if one.lines else str(one.entries[0].id)
    lines = [
        *(each for line in one.lines for each in _of_report(line, facts, language)),
        *_asked(one.alone, one.before, language),
        language.say("task.decide.do", number=first),
    ]
    if one.alone:
        lines.append(language.say("task.decide.if_nobody", n=part.how_many(one)))
    if one.closes is not None:
        closes = language.deadline(one.closes, facts.settings.mis.timezone)
        lines.append(language.say("task.closes", closes=closes))
    return language.say("task.decide.title", n=part.how_many(one)), lines


def _of_report(one: ReportLine, facts: Standing, language: Language) -> Iterator[str]:
    """A line of the report: what is odd, what may be answered, and what it costs if nobody does."""
    yield f"{visible.text(one.loan_id)}   {language.handle(one.number)}"
    yield from (f"   {sentence}" for sentence in report_line.line(one, language, at=facts.today))
    choices = [] if language.has_buttons else report_choice.choices(one, language)
    if choices:
        yield "   " + "  ".join(f"[{each.text}]" for each in choices)
    if one.price is not None:
        yield f"   {report.price(one.price, one.currency, facts.report.period, language, at=facts.today)}"


def _undecided(one: task.KnowWhatWasNotDecided, language: Language) -> Said:
    return language.say("task.undecided.title", n=part.how_many(one)), [
        *_asked(one.entries, one.before, language),
        language.say("task.undecided.follows"),
        _tell("task.done", one.entries[0], language),
    ]


def _asked(entries: Sequence[Entry], before: Mapping[int, Entry], language: Language) -> Iterator[str]:
    """Positions, with what was asked about each, and what Kiva took before."""
    for entry in entries:
        code = f"task.asked.{entry.reason}"
        asked = language.say(code) if language.knows(code) else entry.reason or "?"
        if (last := before.get(entry.id)) is not None:
            amount = language.amount(last.amount, last.currency)
            asked = language.say("task.asked.before", asked=asked, amount=amount)
        yield _line(entry, language, asked)


def _know(one: task.KnowWhatWasReported, language: Language) -> Said:
    lines = []
    for line in one.unknown:
        currency = line.entry.currency
        before = language.amount(line.before, currency) or language.say("general.nothing")
        sent = language.amount(line.sent, currency) or "?"
        of_month = language.of_month(str(line.entry.period))
        told = language.say("task.know.line", of_month=of_month, sent=sent, before=before)
        lines.append(f"{_name(line.entry, language)}   {told}")
    return language.say("task.know.title", n=part.how_many(one)), [
        *lines,
        language.say("task.know.do", place=place("repayment", language)),
        _tell("task.done", one.entries[0], language),
    ]


def _find(one: task.FindInMis, facts: Standing, language: Language) -> Said:
    # Many missing loans have one cause: their ids are enough to see which.
    many = part.how_many(one)
    if len(one.lines) < len(one.loans) or len(one.lines) > _MOST_IDS:
        lines = [*_in_rows(list(map(visible.text, one.loans)), language), language.say("task.find.do", n=many)]
    else:  # of each it is said already that Kiva expects it
        lines = [told for line in one.lines for told in _of_report(line, facts, language)]
        lines.append(language.say("task.find.ask", n=many))
    lines.append(language.say("task.find.if_nobody", n=many))
    if one.closes is not None:
        closes = language.deadline(one.closes, facts.settings.mis.timezone)
        lines.append(language.say("task.closes", closes=closes))
    return language.say("task.find.title", n=many), lines


def _confirm(one: task.ConfirmJournals, language: Language) -> Said:
    ids = _ids(one.entries, language) if len(one.entries) > 1 else [_line(one.entries[0], language)]
    return language.say("task.confirm.title", n=part.how_many(one)), [
        *ids,
        _page(one.entries[0], language),
        _tell("task.confirm.done", one.entries[0], language),
    ]


def _page(entry: Entry, language: Language) -> str:
    """Where a follow-up is read, corrected and published; what Kiva gave is not followed blindly."""
    receipt = entry.receipt or {}
    if receipt.get("confirm_url_is_a_link") is False:
        return language.say("task.confirm.no_link", place=place("journal", language))
    if receipt.get("confirm_url") and entry.done_at is None:
        return language.say("task.confirm.open", url=f"{receipt['confirm_url']}")
    return language.say("task.confirm.elsewhere", place=place("journal", language))


def _correct(one: task.CorrectRefused, language: Language) -> Said:
    """One block a reason, with all that have it."""
    by_reason: dict[str, list[Entry]] = {}
    for entry in one.entries:
        for reason in entry.reasons:
            by_reason.setdefault(refusal.sentence(reason, language, currency=entry.currency), []).append(entry)
    lines = [line for told, entries in by_reason.items() for line in (*_ids(entries, language), f"   {told}")]
    resources = part.resources(one)
    if resources.keys() == {"loan_draft"}:
        title = language.say("task.correct.title", n=part.how_many(one))
    else:
        title = language.say("task.correct.several", what=language.counted(resources))
    return title, [*lines, language.say("task.correct.by_itself")]


def _apart(one: task.SettleDifferences, language: Language) -> Said:
    """One block a kind: what differs, the loans, what is to be done."""
    lines = []
    for kind, found in groupby(one.found, key=lambda each: each.kind):
        mine = list(found)
        lines.append(reconcile.title(kind, len(mine), language))
        shown = mine[:_MOST_APART]
        lines += [f"   {reconcile.handle(each.id, language)}   {reconcile.line(each, language)}" for each in shown]
        if len(mine) > _MOST_APART:
            lines.append(f"   {language.say('task.more', n=len(mine) - _MOST_APART)}")
        lines.append(f"   {reconcile.do(kind, language)}")
    done = language.say("task.apart.done", number=reconcile.handle(one.found[0].id, language))
    return language.say("task.apart.title", n=part.how_many(one)), [*lines, done]


def marked(entry: Entry, language: Language, *, complete: bool) -> str:
    """What `review done` made of an entry: it is off the list, or only its change in the MIS is."""
    code = "task.marked.done" if complete else "task.marked.seen"
    return f"{_name(entry, language)}   {language.say(code, what=language.counted({entry.resource: 1}))}"


# ---------------------------------------------------------------- parts of lines


def _to_publish(draft: Unpublished, facts: Standing, language: Language) -> str:
    entry = draft.entry
    text = f"{_name(entry, language)}   {_by('task.publish.by', entry, facts, language)}"
    asked = ", ".join(dict.fromkeys(refusal.field(field, language) for field in draft.needed))
    return f"{text}   {language.say('task.publish.add', fields=asked)}" if asked else text


def _warnings(draft: Unpublished, language: Language) -> Iterator[str]:
    """What is wrong with a draft although it was sent."""
    for warning in draft.warnings:
        yield refusal.sentence(warning, language, currency=draft.entry.currency)


def _tell(code: str, entry: Entry, language: Language) -> str:
    return language.say(code, number=str(entry.id))


def _by(code: str, entry: Entry, facts: Standing, language: Language) -> str:
    return language.say(code, day=language.day(entry.publish_by or date.max, at=facts.today))


def _line(entry: Entry, language: Language, more: str = "") -> str:
    amount = language.amount(entry.amount, entry.currency)
    return "   ".join([_name(entry, language), *([amount] if amount else []), *([more] if more else [])])


def _loan(entry: Entry, language: Language) -> str:
    """The loan id as PA2 shows it; of a row for which there is none, its key in the MIS."""
    return visible.text(entry.loan_id) or language.say("general.row", key=entry.key)


def _name(entry: Entry, language: Language) -> str:
    """The loan id as PA2 shows it, and what it is called on the telephone."""
    return f"{_loan(entry, language)}   {language.handle(entry.id)}"


def _ids(entries: Sequence[Entry], language: Language) -> list[str]:
    """Loan ids, each with its number, some on a line."""
    return _in_rows([f"{_loan(entry, language)} ({language.handle(entry.id)})" for entry in entries], language)


def _in_rows(names: Sequence[str], language: Language) -> list[str]:
    shown, more = names[:_MOST_IDS], len(names) - _MOST_IDS
    lines = ["  ".join(shown[start : start + _A_LINE]) for start in range(0, len(shown), _A_LINE)]
    return [*lines, language.say("task.more", n=more)] if more > 0 else lines
