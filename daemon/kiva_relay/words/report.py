"""The repayment report in the coordinator's words: title, first word, what Kiva expects, what it costs.

Its lines: `words/report_line.py`; what may be answered to one: `words/report_choice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from kiva_relay.report.line import Price, ReportLine, ReportLineKind
from kiva_relay.report.month import OPEN, Month
from kiva_relay.words import hold
from kiva_relay.words.language import Language

WORDS = ("ok", "note", "waiting", "held", "urgent")
"""The first words of a report."""

SEVERITIES = ("error", "warning")
"""How grave Kiva calls a problem of an upload."""

STATES = ("open", "continuous", "not_open", "closed", "finalised")
"""What a report may be."""

VERDICTS = ("ok", "on_the_way", "decide", "held", "unaccounted", "closed_open", "finalised")
"""The sentences beside a first word."""

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


# ---------------------------------------------------------------- the report


def title(  # noqa: D417 - the language needs no words
    period: str,
    state: str,
    language: Language,
    *,
    opens: datetime | None = None,
    closes: datetime | None = None,
    zone: str,
    now: datetime,
) -> str:
    """`November's repayment report · window open until Thursday 10 December, 18:00 (8 days)`.

    Args:
        period: its month, as `2026-11`.
        state: one of `STATES`.
        opens, closes: its window, aware.
        zone: the MIS's.
        now: the present moment.
    """
    day = None if closes is None else language.deadline(closes, zone)
    if state == "closed" and closes is not None:
        day = language.moment(closes, zone, at=now)
    return language.say(
        f"report.title.{state}",
        of_month=language.of_month(period, at=now.date()),
        closes=day or "?",
        opens="?" if opens is None else language.deadline(opens, zone),
        left="?" if closes is None else time_left(closes - now, language),
    )


def verdict(
    word: str,
    said: str,
    language: Language,
    *,
    n: int = 0,
    expected: int = 0,
    closes: str = "?",
    reason: str | None = None,
    person: str = "?",
    day: str = "?",
    month: str = "?",
) -> tuple[str, str]:
    """The first word of `WORDS`, and its sentence, one of `VERDICTS`.

    `closes`, `day` and `month` are in words already; `reason` is a code of a hold.
    """
    why = "?" if reason is None else hold.words(reason, language)
    sentence = language.say(
        f"report.verdict.{said}",
        n=n,
        expected=expected,
        closes=closes,
        reason=why,
        person=person,
        day=day,
        month=month,
    )
    return language.say(f"report.word.{word}"), sentence


def expected(number: int, language: Language) -> str:
    """How many loans Kiva expects, and the question whether PA2 says the same."""
    return language.say("report.expected", n=number)


def listed(language: Language, *, read: datetime | None, max_age: timedelta, zone: str, now: datetime) -> str:
    """Of when Kiva's list is, and what follows when it is old or was never read completely."""
    if read is None:
        return language.say("report.list_unread")
    code = "report.list_of" if now - read <= max_age else "report.list_old"
    return language.say(code, moment=language.moment(read, zone, at=now))


def counts(language: Language, *, sent: int, accepted: int, waiting: int) -> str:
    """`Sent 411 · accepted 411 · waiting for you 3`."""
    return language.say("report.counts", sent=sent, accepted=accepted, waiting=waiting)


def ready(
    period: str, language: Language, *, sent: int, expected: int, decide: int, correct: int, closes: str, at: date
) -> list[str]:
    """The report in the list of a morning: how many went, and what keeps the others. `closes` is in words already."""
    of_month = language.of_month(period, at=at)
    if sent > 1:
        told = [language.say("report.ready", of_month=of_month, sent=sent, expected=expected)]
    else:
        told = [language.say("report.ready_first", of_month=of_month, n=sent, expected=expected)]
    open_ones = [
        language.say(code, n=number)
        for code, number in (("report.ready.decide", decide), ("report.ready.correct", correct))
        if number
    ]
    if open_ones:
        told.append(f"{', '.join(open_ones)}.")
    return [*told, language.say("report.ready.closes", closes=closes)]


def of_morning(month: Month, language: Language, *, at: date) -> str:
    """How far the open report is, in a line; empty while none is open, or Kiva expects nothing."""
    if month.state != OPEN or not month.expected:
        return ""
    closes = month.report.closes_at
    told = ready(
        month.period,
        language,
        sent=month.sent,
        expected=sum(month.expected.values()),
        decide=month.numbers[ReportLineKind.DECIDE],
        correct=month.numbers[ReportLineKind.MISSING] - month.not_read,
        closes="?" if closes is None else language.deadline(closes, month.settings.mis.timezone),
        at=at,
    )
    return " ".join(told)


def finalise(period: str, language: Language, *, at: date) -> str:
    """What to do at the end; the button stands in brackets."""
    finalised = f"[{language.say('report.choice.finalised')}]"
    return language.say("report.finalise", finalised=finalised, month=language.month(period, at=at))


def late(how: str, language: Language) -> str:
    """Until when it can still be sent after closing; `how`: the command, or the button."""
    return language.say("report.late", choice=how)


def upload(
    number: str, loans: int, problems: Sequence[Mapping[str, str]], language: Language, *, moment: str
) -> list[str]:
    """A call that Kiva took, and its problems in Kiva's words: {loan_id, severity, code, details}."""
    told = [language.say("report.upload", upload=number, moment=moment, n=loans)]
    for one in problems:
        said = language.quoted(one.get("details") or one.get("code") or "?")
        told.append(
            "  "
            + language.say(
                "report.upload.problem",
                severity=_severity(one.get("severity", "?"), language),
                loan=one.get("loan_id", ""),
                said=said,
            )
        )
    return told


def _severity(code: str, language: Language) -> str:
    return language.say(f"report.severity.{code}") if code in SEVERITIES else code


def heading(kind: ReportLineKind, language: Language) -> str:
    """Over the lines of one kind."""
    return language.say(f"report.heading.{kind.value}")


# ---------------------------------------------------------------- the price


def price(one: Price, currency: str | None, period: str, language: Language, *, at: date) -> str:
    """What leaving one loan out costs, and by which schedule that is known."""
    month = language.month(period, at=at)
    if one.amount is not None:
        amount = language.amount(one.amount, currency)
        return language.say(
            "report.price.posted" if one.by == "posted" else "report.price.mis", amount=amount, month=month
        )
    if one.at_most == 0:
        return language.say("report.price.repaid", month=month)
    if one.at_most is not None:
        return language.say("report.price.unknown", amount=language.amount(one.at_most, currency), month=month)
    return language.say("report.price.unknown_at_all", month=month)


def prices(named: Sequence[tuple[str, ReportLine]], period: str, language: Language, *, at: date) -> list[str]:
    """What leaving out costs, of several lines, each with what it is called by, as `A`. Empty without prices."""
    priced = [(name, one, one.price) for name, one in named if one.price is not None]
    if not priced:
        return []
    currencies = {one.currency for _, one, _ in priced}
    shared = next(iter(currencies)) if len(currencies) == 1 else None
    parts = [
        language.say("report.price.short_unknown", name=name)
        if (amount := _known(cost)) is None
        else f"{name} {(language.figure if shared else language.amount)(amount, one.currency)}"
        for name, one, cost in priced
    ]
    told = " · ".join(parts)
    if shared and _known(priced[-1][2]) is not None:
        told = f"{told} {shared}"
    sentence = language.say("report.price.list", prices=told, month=language.month(period, at=at))
    by_mis = [name.rstrip(": ") for name, _, cost in priced if cost.amount is not None and cost.by == "mis"]
    return [sentence, language.say("report.price.by_mis", names=", ".join(by_mis))] if by_mis else [sentence]


def _known(one: Price) -> Decimal | None:
    """What it costs; nothing where nothing is still open, whatever the schedule says."""
    return one.at_most if one.amount is None and one.at_most == 0 else one.amount


def time_left(span: timedelta, language: Language) -> str:
    """How long something is still open: `8 days`, in the last two days in hours."""
    if span >= 2 * _DAY:
        return language.say("general.count.day", n=span // _DAY)
    return language.say("general.count.hour", n=max(0, span // _HOUR))
