"""The report on the page: its numbers, its lines with their answers, and what a person answers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, hold
from kiva_relay.outbox import report as reports
from kiva_relay.outbox.person import Person
from kiva_relay.page.act import Changed, Forbidden
from kiva_relay.report import amount, current, decide, finalising, month, upload_file
from kiva_relay.report.decide import LineAnswer, LineChanged, Verb
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.report.month import Month
from kiva_relay.words import report as words
from kiva_relay.words import report_choice, report_head, report_line
from kiva_relay.words.language import Language

A_PAGE = 50
"""Lines that are shown at once."""

VERBS = ("send", "keep", "leave_out", "value", "is")
OF_THE_WHOLE = ("finalised", "reopen", "send")
"""What may be said of a report as a whole."""
_OF_THE_WHOLE = tuple(f"report {one}" for one in OF_THE_WHOLE)
_LONGEST_NOTE = 1_000
_LONGEST_VALUE = 255


@dataclass(frozen=True)
class ChoiceShown:
    """An answer. `do` is what its button carries; `asks` is `amount` or `loan` where the person types one."""

    do: str
    text: str
    asks: str


@dataclass(frozen=True)
class LineShown:
    """One loan of the report, with what may be answered."""

    kiva_id: str
    loan_id: str
    number: str
    sentences: tuple[str, ...]
    choices: tuple[ChoiceShown, ...]
    seen: str


@dataclass(frozen=True)
class NumberShown:
    """How many loans stand in one kind of line. `kind` shows just these."""

    kind: str
    heading: str
    number: str


@dataclass(frozen=True)
class ReportShown:
    """The report of one period. `lines` are those of `kind`, a page of them; empty `kind`: what needs a person.

    `stands` is what a button about the whole report carries back: what was done about it, and held, when it was shown.
    """

    period: str
    word: str
    grave: bool
    sentence: str
    title: str
    about: tuple[str, ...]
    numbers: tuple[NumberShown, ...]
    uploads: tuple[str, ...]
    kind: str
    lines: tuple[LineShown, ...]
    page: int
    pages: int
    costs: tuple[str, ...]
    may_finalise: bool
    is_finalised: bool
    has_file: bool
    stands: str


def show(
    tx: Connection, settings: Settings, language: Language, *, period: str | None, kind: str, page: int, now: datetime
) -> ReportShown:
    """The report of a period, else of the open one."""
    accepted_too = kind == ReportLineKind.ACCEPTED.value
    facts = month.read(tx, settings, period, now=now, whole=accepted_too, in_parts=True)
    word, sentence = report_head.verdict(facts, language)
    chosen = facts.of_kind(kind) if kind else facts.exceptions
    pages = max(1, -(-len(chosen) // A_PAGE))
    page = min(max(page, 1), pages)
    shown = chosen[(page - 1) * A_PAGE : page * A_PAGE]
    priced = [(language.label(language.handle(one.number), "").rstrip(), one) for one in shown if one.price is not None]
    return ReportShown(
        period=facts.period,
        word=word,
        grave=facts.verdict.needs_a_person,
        sentence=sentence,
        title=report_head.title(facts, language),
        about=tuple(_about(facts, language)),
        numbers=tuple(
            NumberShown(each.value, words.heading(each, language), language.number(facts.numbers[each]))
            for each in ReportLineKind
            if facts.numbers[each]
        ),
        uploads=tuple(_uploads(facts, language)),
        kind=kind,
        lines=tuple(_line(one, facts, language) for one in shown),
        page=page,
        pages=pages,
        costs=tuple(words.prices(priced, facts.period, language, at=now.date())) if 1 < len(priced) <= A_PAGE else (),
        may_finalise=facts.state in (month.OPEN, month.CONTINUOUS, month.CLOSED),
        is_finalised=facts.state == month.FINALISED,
        has_file=facts.state != month.NOT_OPEN and bool(facts.accounted_for),
        stands=" ".join(_stands(tx)),
    )


def _about(facts: Month, language: Language) -> list[str]:
    accepted, waiting = facts.numbers[ReportLineKind.ACCEPTED], len(facts.exceptions)
    found = [report_head.frame(facts, language)]
    if facts.state != month.NOT_OPEN:
        expected = words.expected(sum(facts.expected.values()), language)
        counts = words.counts(language, sent=facts.sent, accepted=accepted, waiting=waiting)
        found += [expected, counts]
    return [*found, *filter(None, [report_head.listed(facts, language)])]


def _uploads(facts: Month, language: Language) -> list[str]:
    return [
        line
        for one in facts.uploads
        for line in words.upload(
            one.upload_id, one.loans, one.problems, language, moment=report_head.moment(facts, one.at, language)
        )
    ]


def _line(one: ReportLine, facts: Month, language: Language) -> LineShown:
    sentences = report_line.line(one, language, at=facts.now.date())
    if one.price is not None:
        sentences.append(words.price(one.price, one.currency, facts.period, language, at=facts.now.date()))
    if facts.state == month.FINALISED or one.cause in month.KEPT_BACK:
        choices = []
    else:
        choices = report_choice.choices(one, language, late=facts.report.takes_late)
    asks = {"value": "amount", "is": "loan"}
    return LineShown(
        kiva_id=one.kiva_id,
        loan_id=one.loan_id,
        number=language.handle(one.number),
        sentences=tuple(sentences),
        choices=tuple(
            ChoiceShown(
                f"{each.verb} {each.value or ''}".strip(),
                each.text,
                asks.get(each.verb, "") if each.value is None else "",
            )
            for each in choices
        ),
        seen=one.seen,
    )


def answer(tx: Connection, settings: Settings, person: Person, form: Mapping[str, str], *, now: datetime) -> None:
    """Put down what a person answered to a line, as it was seen.

    Raises:
        Changed: the line is another one by now.
        UsageError: this cannot be answered; the message says why.
    """
    verb, _, value = form.get("do", "").partition(" ")
    period = form.get("period", "")
    if verb not in VERBS:
        raise Changed
    found = current.line_of(tx, settings, period, form.get("kiva_id", ""))
    if found is None or found.seen != form.get("seen", ""):
        raise Changed
    if verb == "value" and not value:
        value = amount.read(form.get("amount", "")[:_LONGEST_VALUE], found.currency)
    elif verb == "is" and not value:
        value = form.get("loan", "").strip()[:_LONGEST_VALUE]
    given = LineAnswer(
        cast("Verb", verb),
        value or None,
        form.get("note", "").strip()[:_LONGEST_NOTE],
        late=form.get("late") == "yes" and verb in ("send", "keep", "value"),
    )
    try:
        decide.decide(tx, settings, found, given, period=period, by=act.on_page(person.name), now=now)
    except LineChanged:
        raise Changed from None


def finalise(tx: Connection, settings: Settings, person: Person, form: Mapping[str, str], *, now: datetime) -> None:
    """The person finalised the report in PA2; or, with `reopen`, it is not finalised after all.

    Raises:
        Changed: somebody finalised it, or took that back, since it was shown; or the hold is another one.
        Forbidden: only an administrator lets the first report go.
        UsageError: there is no such report, or it cannot be finalised.
    """
    stood, (done, held) = form.get("stands", "").split(" "), _stands(tx)
    by, note = act.on_page(person.name), form.get("note", "").strip()[:_LONGEST_NOTE]
    if form.get("do") == "send":
        if person.role != "administrator":
            raise Forbidden
        finalising.release(tx, by=by, note=note, now=now)
    elif form.get("do") == "reopen":
        finalising.reopen(tx, settings, form.get("period", ""), by=by, note=note, now=now)
    else:
        finalising.finalise(tx, settings, form.get("period", ""), by=by, note=note, now=now)
    # Last, so that who can be told more than this is. Nothing of it stays.
    if stood != ([done, held] if form.get("do") == "send" else [done, *stood[1:]]):
        raise Changed


def _stands(tx: Connection) -> tuple[str, str]:
    """The last act about a report as a whole, and the last hold: an old tab knows of none that came since."""
    return str(act.newest(tx, *_OF_THE_WHOLE)), str(hold.newest(tx))


def is_held(tx: Connection) -> bool:
    """Does the report wait for a person who has looked at it?"""
    return any(one.what == "repayment" and one.reason in finalising.RELEASES for one in hold.in_force(tx))


def takes_late(tx: Connection, period: str) -> bool:
    """Is the report closed, and can a line of it still be sent?"""
    found = reports.of(tx, period)
    return found is not None and found.takes_late


def file(tx: Connection, settings: Settings, *, period: str | None, now: datetime) -> tuple[str, str]:
    """The file that PA2 takes by hand: its name, and what is in it."""
    text = io.StringIO(newline="")
    of_period, _ = upload_file.write(tx, settings, period, text, now=now)
    return f"kiva-report-{of_period.period}.csv", text.getvalue()
