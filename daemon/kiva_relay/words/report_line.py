"""One loan of the report in the coordinator's words.

What a line needs beyond its amounts stands in its `params`; each may be missing, and then less is said:

    position_fell        before_period "2026-10"; reversed_amount, reversed_on "2026-11-28": the repayment undone
    other_currency       currency: the one of the MIS
    id_shared_at_kiva    number: of how many loans
    perhaps_at_kiva      likely_id: as the MIS spells it
    basis_changed        was, is: settings of repayments.basis
    held                 reason: a code of outbox/reason.py
    in_doubt             sent: an amount
    not_in_mis           likely_id; likely_by: "date" or "client", when that is the same beside the amount;
                         as_likely: ids of the MIS; or shared_id, and shared_with: Kiva's loans that it may be
    refused, refused_by_kiva    reasons: [{code, field, params}]
    warned               upload_id, problems: [{details, code}], as in the receipt
    left_out, decided    verb, value, person, note
    any                  answered: {verb, value, person, at}: an answer that no longer binds
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from kiva_relay.outbox import act
from kiva_relay.report import line as lines
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.resource.refusal import Refusal
from kiva_relay.words import hold, refusal, report_choice
from kiva_relay.words.language import Language

_LIKELY = {
    "": "report.line.likely_amount",
    "date": "report.line.likely_loan",
    "client": "report.line.likely_client",
}
"""By what else a loan of the MIS is the likeliest, beside its amount."""


def line(one: ReportLine, language: Language, *, at: date) -> list[str]:
    """What is said of a loan: its sentence, and what makes an answer easier. `at`: today in the MIS's zone."""
    if one.kind in (ReportLineKind.DECIDE, ReportLineKind.MISSING):
        return [*_cause(one, language, at), *_answered(one, language)]
    if one.kind is ReportLineKind.LEFT_OUT:
        return [_left_out(one, language)]
    kind = language.say(
        f"report.line.{one.kind.value}",
        now=language.amount(one.position, one.currency) or "?",
        at_kiva=_at_kiva(one, language),
        said=_said(one, language),
        upload=str(one.params.get("upload_id", "?")),
    )
    is_said = one.cause in ("", one.kind.value) or not language.knows(f"report.line.{one.cause}")
    return [kind, *(() if is_said else _cause(one, language, at))]


def _cause(one: ReportLine, language: Language, at: date) -> Iterator[str]:
    """Why a person is asked, why the MIS does not give it, or why it stands where it does."""
    params, code = one.params, _code(one)
    period = params.get("before_period")
    if not language.knows(code):
        yield one.cause  # a newer version's
        return
    given: Mapping[str, Callable[[], str]] = {
        "before": lambda: _figure(one.before, one, language),
        "now": lambda: _figure(one.position, one, language),
        "lent": lambda: _figure(one.lent, one, language),
        "lent_at_kiva": lambda: _figure(one.lent_at_kiva, one, language),
        "month": lambda: language.month(str(period), at=at) if period else "?",
        "kiva": lambda: one.currency or "?",
        "mis": lambda: str(params.get("currency", "?")),
        "number": lambda: str(params.get("number", 2)),
        "ids": lambda: str(params.get("likely_id") or one.identity or "?"),
        "was": lambda: _basis(params.get("was"), language),
        "became": lambda: _basis(params.get("is"), language),
        "reason": lambda: hold.words(str(params.get("reason", "?")), language),
        "reasons": lambda: _reasons(params.get("reasons"), language),
        "said": lambda: _said(one, language),
        "sent": lambda: language.amount(params.get("sent"), one.currency) or "?",
        "person": lambda: act.who(str(params.get("person", "?"))),
        "choice": lambda: _choice(params, one, language),
    }
    # A sentence needs two or three of these, and a report may have five thousand.
    needed = language.blanks(code)
    yield language.say(code, **{name: value() for name, value in given.items() if name in needed})
    yield from _more(one, language)


def _code(one: ReportLine) -> str:
    """The sentence of a cause; where less is known than it says, the one that says less."""
    code = f"report.line.{one.cause}"
    if one.cause == lines.FELL and not one.params.get("before_period"):
        return "report.line.position_fell_before"
    if one.cause == lines.OTHER_CURRENCY and not one.params.get("currency"):
        return "report.line.other_currency_only"
    if one.cause == lines.HELD and one.kind is not ReportLineKind.DECIDE:
        return "report.line.waits_by_itself"
    return code


def _more(one: ReportLine, language: Language) -> Iterator[str]:
    """What makes the answer easier."""
    params = one.params
    if one.cause == lines.FELL and params.get("reversed_amount") and params.get("reversed_on"):
        amount = language.amount(str(params["reversed_amount"]), one.currency)
        yield language.say("report.line.reversed", amount=amount, day=_day(params["reversed_on"], language))
    raised = one.lent is not None and one.lent_at_kiva is not None and one.lent > one.lent_at_kiva
    if one.cause == lines.EXCEEDS_KIVA and raised:
        yield language.say("report.line.perhaps_raised")
    if one.cause == lines.NOT_IN_MIS and "likely_id" in params:
        yield language.say(_LIKELY[params.get("likely_by", "")], loan=str(params["likely_id"]))
    if "as_likely" in params:
        yield language.say("report.line.as_likely", loans=language.joined(map(str, params["as_likely"])))
    if "shared_with" in params:
        others = language.joined(map(str, params["shared_with"]))
        yield language.say("report.line.shared", loan=str(params["shared_id"]), others=others)
    if one.kind is ReportLineKind.DECIDE and one.likely is not None and one.cause != lines.EXCEEDS_KIVA:
        yield language.say("report.line.likely", amount=_figure(one.likely, one, language))


def _left_out(one: ReportLine, language: Language) -> str:
    answer = one.params.get("answered") or one.params
    if person := answer.get("person"):
        if note := str(answer.get("note") or ""):
            return language.say("report.line.left_out", person=act.who(str(person)), note=note)
        return language.say("report.line.left_out_by", person=act.who(str(person)))
    return language.say("report.line.left_out_by_person")


def _answered(one: ReportLine, language: Language) -> Iterator[str]:
    """The old answer of a line that asks again."""
    if (answer := one.params.get("answered")) is not None:
        choice, person = _choice(answer, one, language), act.who(str(answer.get("person", "?")))
        day = language.on(datetime.fromisoformat(str(answer["at"])).date()) if answer.get("at") else "?"
        yield language.say("report.line.answered", choice=choice, person=person, day=day)


def _choice(answer: Mapping[str, Any], one: ReportLine, language: Language) -> str:
    """What a person answered, in the words of the button."""
    if not (verb := answer.get("verb")):
        return "?"
    seen = answer.get("seen") or {}
    position, before = (Decimal(seen[name]) if seen.get(name) else None for name in ("position", "before"))
    then = replace(one, position=position or one.position, before=before or one.before)
    return report_choice.choice(str(verb), answer.get("value"), then, language).text


def _reasons(stored: Any, language: Language) -> str:
    return " ".join(refusal.sentence(Refusal.from_json(each), language) for each in stored or ()) or "?"


def _said(one: ReportLine, language: Language) -> str:
    """Kiva's own words: of what it refused, else of the problems that it named."""
    refused = [each.get("params", {}).get("text") for each in one.params.get("reasons", ())]
    named = [each.get("details") or each.get("code") for each in one.params.get("problems", ())]
    return " ".join(language.quoted(str(each)) for each in (*refused, *named) if each) or "?"


def _at_kiva(one: ReportLine, language: Language) -> str:
    """What Kiva holds: of this period, else of the one before, else nothing."""
    holds = one.at_kiva if one.at_kiva is not None else one.before
    return language.say("general.nothing") if holds is None else language.amount(holds, one.currency)


def _figure(amount: Decimal | None, one: ReportLine, language: Language) -> str:
    return language.figure(amount, one.currency) or "?"


def _basis(code: Any, language: Language) -> str:
    return language.say(f"report.basis.{code}") if code else "?"


def _day(written: Any, language: Language) -> str:
    return language.on(date.fromisoformat(str(written)))
