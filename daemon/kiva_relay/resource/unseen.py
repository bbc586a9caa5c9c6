"""Letters that nobody sees: they come along from web pages, and make two names of one, or turn a line around.

In a text that people read they are taken out, except where a script is written with them: a zero-width non-joiner
between two Persian letters, a joiner behind a virama of Hindi or Sinhala (RFC 5892, appendices A.1 and A.2), and the
selectors that Mongolian letters and Han characters carry.
"""

from __future__ import annotations

import re
import unicodedata

_ZWNJ, _ZWJ = "\u200c", "\u200d"
# Letters to Unicode, and seen by nobody; the others are of the categories Cf, Cc and Cs.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_LINE_ENDS = re.compile("\r\n|[\r\u0085\u2028\u2029]")
_PLAIN = re.compile(r"[\t\n\x20-\x7e\u00a1-\u00ac\u00ae-\u024f]*")
_VIRAMA = 9
"""The combining class of the signs behind which Indic scripts join, or do not join, two consonants."""

_SELECTORS = (("\u180b", "\u180d"), ("\ufe00", "\ufe0f"), ("\U000e0100", "\U000e01ef"))


def removed(text: str) -> str:
    """The text without letters that nobody sees, all its line ends alike."""
    if _PLAIN.fullmatch(text):
        return text
    kept: list[str] = []
    text = _LINE_ENDS.sub("\n", text).replace("\u2800", " ")
    for number, sign in enumerate(text):
        if not _is_unseen(sign) or _is_needed(sign, kept[-1] if kept else "", text[number + 1 : number + 2]):
            kept.append(sign)
    return "".join(kept)


def _is_unseen(sign: str) -> bool:
    if sign in "\n\t":
        return False
    return sign in _BLANK or unicodedata.category(sign) in ("Cf", "Cc", "Cs") or _is_selector(sign)


def _is_selector(sign: str) -> bool:
    return any(first <= sign <= last for first, last in _SELECTORS)


def _is_needed(sign: str, before: str, behind: str) -> bool:
    """Whether the script of the letters around cannot be written without it."""
    if not before:
        return False
    if sign in (_ZWNJ, _ZWJ):
        if unicodedata.combining(before) == _VIRAMA:
            return True
        return sign == _ZWNJ and _is_arabic(before) and _is_arabic(behind)
    if _is_selector(sign):
        name = unicodedata.name(before, "")
        return name.startswith("MONGOLIAN LETTER" if sign < "\ufe00" else "CJK ")
    # The signs of Arabic that count or stand above a number are of the category Cf, and are seen.
    return unicodedata.name(sign, "").startswith("ARABIC ") and sign != "\u061c"


def _is_arabic(sign: str) -> bool:
    return bool(sign) and unicodedata.bidirectional(sign) == "AL"
