"""What is never said to anybody: the values of names, stories and photos."""

from __future__ import annotations

import re

from kiva_relay import log
from kiva_relay.resource.refusal import Refusal

HIDDEN = "…"
_SHOWN_ANYWAY = ("gender",)
_VALUES = ("value", "found", "values", "reason", "identity", "other")


def is_personal(field: str) -> bool:
    """Does a field of a body hold a name, a story or a photo?"""
    return last(field) in log.PERSONAL and last(field) not in _SHOWN_ANYWAY


def safe(said: Refusal) -> Refusal:
    """A refusal without what is personal in its parameters."""
    if not is_personal(said.field) or said.code.startswith("photo_"):
        return said
    params = {name: HIDDEN if name in _VALUES and not value.isdigit() else value for name, value in said.params.items()}
    return Refusal(said.code, said.field, params)


def last(field: str) -> str:
    """The last name of a place in a body: `first_name` of `entreps[0].first_name`."""
    return re.sub(r"\[\d+\]", "", field).rsplit(".", 1)[-1]
