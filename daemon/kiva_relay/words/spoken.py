"""What the administrator is told by `status` and `check`: English as it stands in the code, or its translation.

English needs no catalogue, and nothing is loaded for it: these commands are typed often, and start cold. French and
Spanish stand in `administrator.po` of their folders, under the English sentence with its blanks.

The language is that of the command that runs: one process, one person.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Any

ENGLISH = "en"
NAMES = (ENGLISH, "fr", "es")
PART = "administrator"

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)
_FROM_TWO = 2


@contextlib.contextmanager
def speaks(name: str) -> Iterator[None]:
    """Speak this language until the block ends."""
    token = _language.set(name if name in NAMES else ENGLISH)
    try:
        yield
    finally:
        _language.reset(token)


def name() -> str:
    """The language that is spoken now."""
    return _language.get()


def tr(english: str, many: str = "", /, **params: Any) -> str:
    """A sentence with its blanks filled. With `many`, `n` chooses between one and several.

    Whole numbers are written with their thousands apart, as the language does.
    """
    spoken = _language.get()
    given = {key: _shown(value, spoken) for key, value in params.items()}
    number = params.get("n", 0)
    if spoken == ENGLISH:
        return (english if not many or number == 1 else many).format(**given)
    forms = read(spoken).get(english) or ((english, many) if many else (english,))
    is_one = number == 1 or (spoken == "fr" and 0 <= number < _FROM_TWO)
    return forms[0 if len(forms) == 1 or is_one else 1].format(**given)


def marked(*forms: str) -> tuple[str, ...]:
    """Sentences that stand in a table and are said later: what looks for sentences without a translation finds them."""
    return forms


def joined(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, last = parts or [""]
    return tr("{head} and {last}", head=", ".join(head), last=last) if head else last


def colon() -> str:
    """What parts a label from what follows."""
    return " :" if _language.get() == "fr" else ":"


def _shown(value: Any, spoken: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if spoken == ENGLISH else f"{value:,}".replace(",", " ")
    return value


@cache
def read(spoken: str) -> Mapping[str, tuple[str, ...]]:
    """English sentence → its forms in another language."""
    from babel.messages import pofile  # noqa: PLC0415 - not for who reads English

    with resources.files(__package__).joinpath(spoken, f"{PART}.po").open("rb") as opened:
        found = pofile.read_po(opened, locale=spoken)
    return {
        one.id if isinstance(one.id, str) else one.id[0]: (one.string,)
        if isinstance(one.string, str)
        else tuple(one.string or ())
        for one in found
        if one.id
    }
