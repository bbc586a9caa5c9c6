"""The repayment report on one screen: the verdict, the numbers as PA2 shows them, the uploads, what to type next."""

from collections.abc import Iterator

from kiva_relay.cli import frame
from kiva_relay.report import month
from kiva_relay.report.line import ReportLineKind
from kiva_relay.report.month import Month
from kiva_relay.words import report as words
from kiva_relay.words import report_head
from kiva_relay.words.language import Language

_FIRST_REPORT = "first_report"
_MOST_UPLOADS = 20


def show(facts: Month, language: Language) -> None:
    """The whole screen."""
    head(facts, language)
    _numbers(facts, language)
    _uploads(facts, language)
    _next(facts, language)


def head(facts: Month, language: Language) -> None:
    """The first lines of each screen: the verdict, the title, cut-off, basis and window, and how old Kiva's list is."""
    frame.header(facts.settings)
    word, sentence = report_head.verdict(facts, language)
    frame.verdict(word, sentence)
    frame.say()
    frame.say(report_head.title(facts, language), style="bold")
    frame.say(report_head.frame(facts, language))
    if old := report_head.listed(facts, language):
        frame.say(old)
    frame.say()


def _numbers(facts: Month, language: Language) -> None:
    expected = sum(facts.expected.values())
    if facts.state == month.NOT_OPEN:
        return
    accepted, waiting = facts.numbers[ReportLineKind.ACCEPTED], len(facts.exceptions)
    counts = words.counts(language, sent=facts.sent, accepted=accepted, waiting=waiting)
    frame.say(f"{words.expected(expected, language)}    {counts}")
    frame.say("  " + " · ".join(f"{status} {language.number(number)}" for status, number in facts.expected.items()))
    frame.say()
    kinds = _kinds(facts, language)
    rows = [(language.number(number), words.heading(kind, language), sums) for kind, number, sums in kinds]
    rows.append((language.number(facts.accounted_for), language.say("screen.together"), ""))
    widest, longest = (max(len(row[place]) for row in rows) for place in (0, 1))
    for number, heading, sums in rows:
        frame.say(f"  {number:>{widest}}   {heading:<{longest}}   {sums}".rstrip())
    frame.say()


def _kinds(facts: Month, language: Language) -> Iterator[tuple[ReportLineKind, int, str]]:
    """What Kiva has first, as PA2 does; then what a person has to look at."""
    for kind in reversed(ReportLineKind):
        if number := facts.numbers[kind]:
            sums = facts.sums(kind) if kind in (ReportLineKind.ACCEPTED, ReportLineKind.ON_ITS_WAY) else {}
            yield kind, number, " · ".join(language.amount(amount, currency) for currency, amount in sums.items())


def _uploads(facts: Month, language: Language) -> None:
    if not facts.uploads:
        return
    frame.say(language.say("screen.uploads"))
    for one in facts.uploads[-_MOST_UPLOADS:]:
        moment = report_head.moment(facts, one.at, language)
        for line in words.upload(one.upload_id, one.loans, one.problems, language, moment=moment):
            frame.say(f"  {line}")
    if (more := len(facts.uploads) - _MOST_UPLOADS) > 0:
        frame.say(f"  {language.say('screen.more', n=more, command=_command(facts, '--for-audit'))}")
    frame.say()


def _next(facts: Month, language: Language) -> None:
    steps = [(language.say(f"screen.next.{code}"), command) for code, command in _steps(facts)]
    widest = max((len(about) for about, _ in steps), default=0)
    for about, command in steps:
        frame.say(f"  {about + ':':<{widest + 3}}{command}")
    if _is_to_finalise(facts):
        frame.say()
        frame.say(words.finalise(facts.period, language, at=facts.now.date()))


def _is_to_finalise(facts: Month) -> bool:
    """Is it the coordinator's turn, once PA2 shows the report as she wants it?"""
    is_sent = facts.state == month.OPEN and facts.verdict.said in ("ok", "decide", "on_the_way")
    return is_sent or facts.state == month.CLOSED


def _steps(facts: Month) -> Iterator[tuple[str, str]]:
    found = facts.verdict
    if found.said == "list_unread":
        yield "lists", "kiva-relay status"
        return
    if facts.exceptions:
        yield "exceptions", _command(facts, "--exceptions")
    if found.said == "held" and found.reason is not None:
        if found.reason == _FIRST_REPORT:
            yield "compare", _command(facts, "--compare october.csv")
        yield "send", release(found.reason)
    if found.said == "shadow":
        yield "compare", _command(facts, "--compare october.csv")
    if facts.state in (month.OPEN, month.CONTINUOUS) and facts.accounted_for:
        yield "csv", _command(facts, "--csv > report.csv")
    if _is_to_finalise(facts):
        yield "finalised", f"kiva-relay report finalised {facts.period}"
    if facts.state == month.FINALISED:
        yield "audit", _command(facts, "--for-audit")


def release(why: str) -> str:
    """What releases a report that a hold keeps."""
    return f'kiva-relay {"report send" if why == _FIRST_REPORT else "release repayment"} --note "…"'


def _command(facts: Month, option: str) -> str:
    named = f" {facts.period}" if facts.state in (month.CLOSED, month.FINALISED) else ""
    return f"kiva-relay report{named} {option}"
