"""The report for an auditor: what it was, who decided what about which loan, what was uploaded, where each stands."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from kiva_relay.cli import frame, report_screen
from kiva_relay.outbox import act, decision
from kiva_relay.outbox.act import Done
from kiva_relay.outbox.decision import Decision
from kiva_relay.report import finalising, month
from kiva_relay.report.line import LoanAmounts, ReportLine, ReportLineKind
from kiva_relay.report.month import Month
from kiva_relay.terminal import visible
from kiva_relay.words import report as words
from kiva_relay.words import report_choice
from kiva_relay.words.language import Language

_SEEN = ("position", "at_kiva", "before", "lent", "lent_at_kiva", "currency")


def show(
    facts: Month,
    decided: Mapping[str, ReportLine],
    loans: Iterable[LoanAmounts],
    language: Language,
    history: Sequence[Done] = (),
) -> None:
    """All of it, in the order in which it is asked for.

    `decided` are the lines of loans about which somebody decided, by Kiva's number; `loans` is every loan, in order;
    `history` is who said that the report is finalised, or is not after all.
    """
    report_screen.head(facts, language)
    _moments(facts, language, history)
    _decisions(facts, decided, language)
    _uploads(facts, language)
    _lines(facts, loans, language)


def _moments(facts: Month, language: Language, history: Sequence[Done]) -> None:
    report = facts.report
    finalised = _moment(report.finalised_at, facts, language)
    if report.finalised_at is not None:
        finalised = language.say("screen.audit.by", moment=finalised, person=report.finalised_by or "?")
    rows = [
        ("opened", _moment(facts.opened_at, facts, language)),
        ("looked", _moment(report.looked_at, facts, language)),
        ("closed", _moment(report.closed_at, facts, language)),
    ]
    told = [(language.say(f"screen.audit.{code}"), when) for code, when in rows]
    # What stands in force is the last row; what somebody took back is history, and an auditor asks for it.
    reopened = max((number for number, one in enumerate(history, 1) if one.verb == finalising.REOPENED), default=0)
    told += [_said(one, facts, language) for one in history[:reopened]]
    told.append((language.say("screen.audit.finalised"), finalised))
    widest = max(len(label) for label, _ in told)
    for label, when in told:
        frame.say(f"  {label:<{widest}}   {when}")
    frame.say()


def _decisions(facts: Month, by_loan: Mapping[str, ReportLine], language: Language) -> None:
    frame.say(language.say("screen.audit.decisions"), style="bold")
    if not facts.decisions:
        frame.say(f"  {language.say('screen.audit.nothing_decided')}")
    for one in facts.decisions:
        line = by_loan.get(one.kiva_id) or ReportLine(one.kiva_id, one.loan_id, ReportLineKind.DECIDE)
        frame.say(f"  {one.loan_id}")
        for said in _decision(one, line, facts, language):
            frame.say(f"     {said}")
    frame.say()


def _decision(one: Decision, line: ReportLine, facts: Month, language: Language) -> list[str]:
    choice = report_choice.choice(one.verb, one.value, line, language).text
    further = [language.say("screen.audit.for_life")] if one.period == decision.FOR_LIFE else []
    further += [language.say("screen.audit.late")] if one.late else []
    said = [
        language.say(
            "screen.audit.decision",
            moment=_moment(one.at, facts, language),
            person=one.person,
            choice=" · ".join([choice, *further]),
            note=one.note,
        )
    ]
    seen = " · ".join(f"{name} {one.seen[name]}" for name in _SEEN if one.seen.get(name) is not None)
    if seen:
        said.append(language.say("screen.audit.saw", seen=seen))
    if one.undone_at is not None:
        code = "replaced" if one.undone_by == decision.REPLACED else "undone"
        moment = _moment(one.undone_at, facts, language)
        said.append(language.say(f"screen.audit.{code}", moment=moment, person=one.undone_by or "?"))
    return said


def _uploads(facts: Month, language: Language) -> None:
    frame.say(language.say("screen.uploads"), style="bold")
    if not facts.uploads:
        frame.say(f"  {language.say('screen.audit.no_upload')}")
    for one in facts.uploads:
        moment = _moment(one.at, facts, language)
        for line in words.upload(one.upload_id, one.loans, one.problems, language, moment=moment):
            frame.say(f"  {line}")
    frame.say()


def _lines(facts: Month, loans: Iterable[LoanAmounts], language: Language) -> None:
    closed = facts.state in (month.CLOSED, month.FINALISED)
    frame.say(language.say("screen.audit.lines_at_closing" if closed else "screen.audit.lines"), style="bold")
    # At once: a hundred thousand lines, each printed by itself, take a minute.
    frame.print_file("\n".join(_line(one, language) for one in loans))


def _line(one: LoanAmounts, language: Language) -> str:
    by_mis = language.amount(one.position, one.currency)
    # Mostly both have the same: it is written once.
    at_kiva = by_mis if one.at_kiva == one.position else language.amount(one.at_kiva, one.currency)
    amounts = " · ".join(f"{name} {written}" for name, written in (("MIS", by_mis), ("Kiva", at_kiva)) if written)
    what = f"{one.kind.value}: {one.cause}" if one.cause else one.kind.value
    return f"  {visible.text(one.loan_id)}   {what}{f'   {amounts}' if amounts else ''}"


def _said(one: Done, facts: Month, language: Language) -> tuple[str, str]:
    code = "screen.audit.reopened" if one.verb == finalising.REOPENED else "screen.audit.finalised"
    said = language.say("screen.audit.by", moment=_moment(one.at, facts, language), person=act.who(one.person))
    return language.say(code), f"{said} · {visible.text(one.note)}" if one.note else said


def _moment(when: datetime | None, facts: Month, language: Language) -> str:
    if when is None:
        return language.say("screen.audit.not_yet")
    return language.moment(when, facts.settings.mis.timezone, at=facts.now)
