"""What MIS, outbox and Kiva say differently of a loan, in words."""

from __future__ import annotations

from datetime import date

from kiva_relay.outbox import discrepancy
from kiva_relay.outbox.discrepancy import KeptDiscrepancy
from kiva_relay.terminal import visible
from kiva_relay.words.language import Language

_SHOWN = ("kiva", "sent", "mis", "amount", "status", "lent", "repaid", "written_off", "publish_by", "others", "detail")
_AMOUNTS = ("amount", "lent", "repaid", "written_off")
_COMPARED = ("kiva", "sent", "mis")


STATUSES = (
    "draft",
    "reviewed",
    "issue",
    "issue_revising",
    "issue_approving",
    "inactive",
    "inactive_expired",
    "fundRaising",
    "expired",
    "raised",
    "payingBack",
    "ended",
    "defaulted",
    "refunded",
    "deleted",
)
"""What Kiva calls the places where a loan can be, and `draft`. It is an open set."""


def status(written: str, language: Language) -> str:
    """Where a loan is at Kiva, as Kiva's pages call it; one that we do not know, as Kiva wrote it."""
    return language.say(f"reconcile.status.{written}") if written in STATUSES else language.quoted(written)


def handle(number: int, language: Language) -> str:
    """What a difference is called by on the telephone."""
    return language.say("reconcile.handle", number=str(number))


def title(kind: str, number: int, language: Language) -> str:
    """What differs of so many loans."""
    return language.say(f"reconcile.title.{kind}", n=number)


def do(kind: str, language: Language) -> str:
    """What is to be done about it."""
    return language.say(f"reconcile.do.{kind}")


def line(one: KeptDiscrepancy, language: Language) -> str:
    """The loan, what each side says, and which loan of the MIS it probably is, or why none is suggested."""
    loan = visible.text(one.loan_id).strip() or language.say("reconcile.without_id", number=one.kiva_id)
    parts = [loan, " · ".join(_said(one, name, language) for name in _SHOWN if name in one.params)]
    if one.suggested is not None:
        because = language.joined(language.say(f"reconcile.because.{each}") for each in one.because or ())
        parts.append(language.say("reconcile.suggested", loan=one.suggested, because=because))
    elif one.because:
        parts.append(_unclear(*one.because, language=language))
    return "   ".join(part for part in parts if part)


def _unclear(why: str, *ids: str, language: Language) -> str:
    """Why nothing is suggested."""
    loan, *others = map(visible.text, ids)
    if why == discrepancy.SHARED:
        return language.say("reconcile.shared", loan=loan, others=language.joined(others))
    return language.say("reconcile.as_likely", loans=language.joined((loan, *others)))


def _said(one: KeptDiscrepancy, name: str, language: Language) -> str:
    value, currency = one.params[name], one.params.get("currency")
    if name in _AMOUNTS or (name in _COMPARED and one.kind == "other_amount"):
        value = language.amount(value, currency)
    elif name == "status":
        value = status(value, language)
    elif name == "detail":
        value = language.quoted(value)
    elif name == "publish_by":
        value = language.day(date.fromisoformat(value))
    return language.say(f"reconcile.side.{name}", value=value)
