"""What a person has to look at in the report: each loan with its cause, the likely answer, the price, the commands."""

import shlex
from collections.abc import Iterator, Sequence

from kiva_relay.cli import frame, report_screen
from kiva_relay.report import month
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.report.month import Month
from kiva_relay.words import report as words
from kiva_relay.words import report_choice, report_line
from kiva_relay.words.language import Language
from kiva_relay.words.report_choice import Choice

_MOST = 50
"""So many loans of one kind are shown; nobody reads more of them on a screen."""
_FEW = 10


def show(facts: Month, language: Language) -> None:
    """The loans by kind, what is most pressing first."""
    report_screen.head(facts, language)
    if not facts.exceptions:
        frame.say(language.say("screen.none"))
        return
    for kind in ReportLineKind:
        mine = [one for one in facts.exceptions if one.kind is kind]
        if mine:
            frame.say(f"{words.heading(kind, language)} ({language.number(len(mine))})", style="bold")
            _kind(mine, facts, language)
    for sentence in _together(facts, language):
        frame.say(sentence)


def _together(facts: Month, language: Language) -> Iterator[str]:
    """What leaving them out costs, in one line while they are few; and until when they can be sent after closing."""
    priced = [(f"{language.handle(one.number)}:", one) for one in facts.exceptions if one.price is not None]
    if 1 < len(priced) <= _FEW:
        yield from words.prices(priced, facts.period, language, at=facts.now.date())
    if facts.report.takes_late:
        yield words.late("--late", language)


def _kind(mine: Sequence[ReportLine], facts: Month, language: Language) -> None:
    together = [one for one in mine if one.cause in month.KEPT_BACK]
    for why in dict.fromkeys(str(one.params.get("reason", one.cause)) for one in together):
        alike = [one for one in together if one.params.get("reason", one.cause) == why]
        _kept_back(alike, why, facts, language)
    single = [one for one in mine if one.cause not in month.KEPT_BACK]
    for one in single[:_MOST]:
        for line in lines(one, facts, language):
            frame.say(f"  {line}" if line else "")
    if (more := len(single) - _MOST) > 0:
        frame.say(f"  {language.say('screen.more', n=more, command='kiva-relay report --json')}")
        frame.say()


def _kept_back(alike: Sequence[ReportLine], why: str, facts: Month, language: Language) -> None:
    frame.say(f"  {language.say('screen.loans', n=len(alike))}")
    for line in report_line.line(alike[0], language, at=facts.now.date()):
        frame.say(f"    {line}")
    frame.say(f"    {language.say('screen.released_at_once')}")
    frame.say(f"    {report_screen.release(why)}")
    frame.say()


def lines(one: ReportLine, facts: Month, language: Language) -> Iterator[str]:
    """One loan: what is odd, what follows if nobody does anything, and each answer with its command."""
    yield f"{one.loan_id}   {language.handle(one.number)}"
    for sentence in report_line.line(one, language, at=facts.now.date()):
        yield f"   {sentence}"
    price = cost(one, facts, language)
    if price:
        yield f"   {price}"
    choices = []
    if facts.state != month.FINALISED:
        choices = report_choice.choices(one, language, late=facts.report.takes_late)
    widest = max((len(each.text) for each in choices), default=0) + 2
    first = report_choice.ask_kiva_first(one, language)
    for each in choices:
        beside = f"   ({first})" if first is not None and each.verb == "send" else ""
        yield f"     {f'[{each.text}]':<{widest}}   {command(each, one, facts)}{beside}"
    yield ""


def cost(one: ReportLine, facts: Month, language: Language) -> str:
    """What leaving it out costs; empty where that is not known to be asked."""
    if one.price is not None:
        return words.price(one.price, one.currency, facts.period, language, at=facts.now.date())
    if one.at_kiva is not None and one.kind is ReportLineKind.DECIDE:
        return language.say("screen.stands", amount=language.amount(one.at_kiva, one.currency))
    return ""


def command(choice: Choice, one: ReportLine, facts: Month) -> str:
    """What to type for an answer."""
    option = f"--{choice.verb.replace('_', '-')}"
    if choice.verb in ("value", "is"):
        given = {"value": "AMOUNT", "is": "LOAN_ID"}[choice.verb] if choice.value is None else shlex.quote(choice.value)
        option = f"{option} {given}"
    if facts.state in (month.CLOSED, month.FINALISED):
        option = f"{option}{'' if choice.verb == 'leave_out' else ' --late'} --period {facts.period}"
    return f'kiva-relay report decide {one.number} {option} --note "…"'
