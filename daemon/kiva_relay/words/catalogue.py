"""The sentences of one language, read out of its gettext catalogues, as `words/fr/report.po`.

The sources are read as they are: there is nothing to compile, and so nothing that can be forgotten. A catalogue is read
when its first sentence is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from babel.messages import pofile
from babel.messages.catalog import Message

NAMES = ("en", "fr", "es")
"""The languages of PA2. English comes first: it is what the others are compared with."""

OWN_NAMES = {"en": "English", "fr": "Français", "es": "Español"}
"""What each calls itself."""

PARTS = ("general", "task", "refusal", "hold", "report", "screen", "page", "mail", "reconcile", "init")
"""The catalogues of each language: the first word of a code is the name of its catalogue."""

Forms = tuple[str, ...]
"""A sentence; where it speaks of a number, one for one and one for several."""


AGREED = "agreed"
"""The comment over a sentence that somebody who speaks the language has read."""


@cache
def read(language: str, part: str) -> Mapping[str, Forms]:
    """Code → sentence, of one catalogue."""
    return {_code(one): _forms(one.string or "") for one in _messages(language, part)}


def every(language: str) -> Mapping[str, Forms]:
    """Code → sentence, of all catalogues of a language."""
    return {code: forms for part in PARTS for code, forms in read(language, part).items()}


def agreed(language: str) -> set[str]:
    """The codes whose sentences somebody who speaks the language has read."""
    return {_code(one) for part in PARTS for one in _messages(language, part) if AGREED in one.user_comments}


def _messages(language: str, part: str) -> Iterator[Message]:
    file = resources.files(__package__).joinpath(language, f"{part}.po")
    with file.open("rb") as opened:
        yield from (one for one in pofile.read_po(opened, locale=language) if one.id)


def _code(one: Message) -> str:
    return one.id if isinstance(one.id, str) else one.id[0]


def _forms(written: str | list[str] | tuple[str, ...]) -> Forms:
    return (written,) if isinstance(written, str) else tuple(written)
