"""Why a button did nothing, in her language."""

from __future__ import annotations

from kiva_relay.errors import UsageError
from kiva_relay.outbox import act
from kiva_relay.words.language import Language

CODES = (
    "amount_missing",
    "amount_unreadable",
    "amount_too_large",
    "loan_missing",
    "loan_unknown",
    "loan_of_its_own",
    "finalised",
    "closed",
    "next_opened",
    "open_again",
    "not_finalised",
    "under_way",
    "note_missing",
)


def told(error: UsageError, language: Language) -> str:
    """Why; empty for what only an administrator would meet, whose words are English."""
    if error.code not in CODES:
        return ""
    params = dict(error.params)
    if "most" in params:
        params["most"] = language.amount(params["most"], params.get("currency"))
    if "person" in params:
        params["person"] = act.who(params["person"])
    return language.say(f"page.why.{error.code}", **params)
