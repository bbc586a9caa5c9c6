"""What may be answered to a line of the report, in the coordinator's words."""

from __future__ import annotations

from collections.abc import Iterator

from kiva_relay.frozen import dataclass
from kiva_relay.report import line as lines
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.words.language import Language

_ASKS = (ReportLineKind.DECIDE, ReportLineKind.MISSING, ReportLineKind.REFUSED_BY_KIVA)
_ASKS_LATE = (ReportLineKind.CLOSED_WITHOUT, ReportLineKind.CLOSED_WRONG)


@dataclass(frozen=True)
class Choice:
    """What may be answered: the verb of a decision, its value, and the words on the button.

    A `value` of None with the verbs `value` and `is`: the person says it.
    """

    verb: str
    value: str | None
    text: str


def choices(one: ReportLine, language: Language, *, late: bool = False) -> list[Choice]:
    """The answers that a line offers, the likeliest first. None where nobody is asked, or nothing can be answered.

    `late`: the report has closed, and still takes what is sent late.
    """
    if one.kind not in (_ASKS if not late else (*_ASKS, *_ASKS_LATE)):
        return []
    return [choice(verb, value, one, language) for verb, value in _offered(one) if _can(verb, value, one)]


def ask_kiva_first(one: ReportLine, language: Language) -> str | None:
    """What stands at the button that sends an amount that fell."""
    return language.say("report.ask_kiva_first") if one.cause == lines.FELL else None


def _can(verb: str, value: str | None, one: ReportLine) -> bool:
    """Is there the amount that an answer speaks of?"""
    match verb:
        case "send":
            return one.position is not None and one.position >= 0
        case "keep":
            return one.before is not None
        case "value":
            return one.identity is not None
        case _:
            return value != ""


def _offered(one: ReportLine) -> Iterator[tuple[str, str | None]]:
    match one.cause:
        case lines.BASIS_CHANGED | lines.HELD | lines.NOT_READ_YET:
            return  # not answered loan by loan
        case lines.FELL | lines.ANSWERED_BEFORE:
            yield "send", None
            yield "keep", None
        case lines.EXCEEDS_KIVA | lines.EXCEEDS_LENT:
            if one.likely is not None:
                yield "value", lines.plain(one.likely)
            yield "send", None
        case lines.NOT_IN_MIS | lines.IN_OTHER_CASE | lines.ID_TWICE:
            if "likely_id" in one.params:
                yield "is", str(one.params["likely_id"])
            yield "is", None
        case lines.OTHER_CURRENCY | lines.OUT_OF_SCOPE | lines.GONE | lines.REFUSED_BY_US:
            yield "value", None
        case ReportLineKind.REFUSED_BY_KIVA.value:
            yield "value", None
        case _ if one.kind is ReportLineKind.REFUSED_BY_KIVA:
            yield "value", None
        case _:
            yield "send", None
    yield "leave_out", None


def choice(verb: str, value: str | None, one: ReportLine, language: Language) -> Choice:
    """One answer to a line, given or offered."""
    figure = language.figure
    match verb, value:
        case "send", _:
            amount = figure(one.position, one.currency)
            text = (
                language.say("report.choice.send", amount=amount)
                if amount
                else language.say("report.choice.send_known")
            )
        case "keep", _:
            text = language.say("report.choice.keep", amount=figure(one.before, one.currency) or "?")
        case "value", None:
            text = language.say("report.choice.value")
        case "value", _:
            text = language.say("report.choice.send", amount=figure(value, one.currency))
        case "is", None:
            text = language.say("report.choice.is_other" if "likely_id" in one.params else "report.choice.is_which")
        case "is", _ if one.likely is not None and value == one.params.get("likely_id"):
            amount = figure(one.likely, one.currency)
            text = language.say("report.choice.is_send", loan=str(value), amount=amount)
        case "is", _:
            text = language.say("report.choice.is", loan=str(value))
        case _:
            text = language.say("report.choice.leave_out")
    return Choice(verb, value, text)
