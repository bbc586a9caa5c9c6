"""A person's name, written as people write it: SEYDOU D'ALMEIDA and mcdonald become Seydou d'Almeida and McDonald.

Only a name in one letter case throughout is changed. Somebody who wrote both cases knew how the name is spelled.
"""

from __future__ import annotations

import re
import unicodedata

# Small words inside a name; the first word of a name is never one of them.
_SMALL = frozenset(
    ["de", "da", "do", "dos", "das", "di", "del", "du", "des", "van", "von", "der", "den", "ten", "y", "e"]
)
_AFTER_DE = frozenset(("la", "las", "los"))

_PIECES = re.compile(r"([\s\-'’ʼ]+)")
_SCOTTISH_LENGTH = 4


def cased(text: str) -> str:
    """The name without doubled blanks, in mixed letter case when it came in one."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if name not in (name.upper(), name.lower()) or name.upper() == name.lower():
        return name
    words = name.lower().replace("i̇", "i").split(" ")
    return " ".join(_word(word, words[number - 1] if number else None) for number, word in enumerate(words))


def _word(word: str, before: str | None) -> str:
    if before is not None and (word in _SMALL or (word in _AFTER_DE and before == "de")):
        return word
    pieces = _PIECES.split(word)
    return "".join(_piece(piece, pieces[number + 1 :]) for number, piece in enumerate(pieces))


def _piece(piece: str, following: list[str]) -> str:
    """One part of a word; `d'Almeida` keeps its small d, `N'Diaye` and `O'Brien` have two capitals."""
    if piece == "d" and following and following[0] in "'’ʼ":
        return piece
    if piece.startswith("mc") and len(piece) > _SCOTTISH_LENGTH:
        return "Mc" + piece[2:].capitalize()
    return piece.capitalize()
