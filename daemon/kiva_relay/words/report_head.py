"""How each screen of the report begins: the verdict, the title, cut-off, basis and window."""

from __future__ import annotations

from datetime import datetime

from kiva_relay.outbox import act
from kiva_relay.report import month
from kiva_relay.report.month import Month
from kiva_relay.words import report as words
from kiva_relay.words.language import Language


def verdict(facts: Month, language: Language) -> tuple[str, str]:
    """The first word, and its sentence."""
    found, report = facts.verdict, facts.report
    word = language.say(f"report.word.{found.word}")
    match found.said:
        case "list_unread":
            return word, language.say("report.list_unread")
        case "book_unread":
            return word, language.say("report.book_unread", n=found.loans)
        case "not_open":
            return word, language.say("screen.verdict.not_open", opens=_deadline(facts, report.opens_at, language))
        case "shadow":
            return word, language.say("screen.verdict.shadow", n=found.loans)
        case said:
            return words.verdict(
                found.word,
                said,
                language,
                n=found.loans,
                expected=sum(facts.expected.values()),
                closes=_deadline(facts, report.closes_at, language),
                reason=found.reason,
                person=act.who(report.finalised_by or "?"),
                day="?" if report.finalised_at is None else moment(facts, report.finalised_at, language),
                month=language.month(facts.period, at=facts.now.date()),
            )


def title(facts: Month, language: Language) -> str:
    """`November's repayment report · window open until …`."""
    report, zone = facts.report, facts.settings.repayments.timezone
    closes = report.closed_at or report.closes_at
    if facts.state == month.CONTINUOUS:
        closes = month.end(facts.period, facts.settings)
    return words.title(
        facts.period, facts.state, language, opens=report.opens_at, closes=closes, zone=zone, now=facts.now
    )


def frame(facts: Month, language: Language) -> str:
    """Cut-off, basis and window in one line."""
    report = facts.report
    zone = facts.settings.repayments.timezone
    given = {
        "day": language.day(report.cutoff),
        "zone": facts.settings.mis.timezone,
        "basis": language.say(f"report.basis.{report.basis}"),
        "window_zone": zone if zone != facts.settings.mis.timezone else "",
    }
    if report.opens_at is None or report.closes_at is None:
        return language.say("screen.frame.continuous", **given)
    opens, closes = (language.moment(one, zone, at=facts.now) for one in (report.opens_at, report.closes_at))
    return language.say("screen.frame", opens=opens, closes=closes, **given).rstrip()


def listed(facts: Month, language: Language) -> str:
    """How old Kiva's list is, where it is not of today and the report goes by it; empty otherwise."""
    if facts.is_list_of_today or facts.state not in (month.OPEN, month.CONTINUOUS):
        return ""
    max_age, zone = facts.settings.mirror.max_age, facts.settings.mis.timezone
    return words.listed(language, read=facts.list_read, max_age=max_age, zone=zone, now=facts.now)


def moment(facts: Month, when: datetime, language: Language) -> str:
    """When something of the report happened."""
    return language.moment(when, facts.settings.mis.timezone, at=facts.now)


def _deadline(facts: Month, when: datetime | None, language: Language) -> str:
    if when is None:
        when = month.end(facts.period, facts.settings)
    return language.deadline(when, facts.settings.repayments.timezone)
