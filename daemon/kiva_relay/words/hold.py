"""Why something is kept back, in the coordinator's words."""

from __future__ import annotations

from kiva_relay.words.language import Language


def words(reason: str, language: Language) -> str:
    """What completes “Kept back, …”: the words of a reason code of `outbox/reason.py`; an unknown code as it is."""
    code = f"hold.{reason}"
    return language.say(code) if language.knows(code) else reason
