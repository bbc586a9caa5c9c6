"""When two spellings of an id mean the same loan: everywhere ids are compared, they are compared as said here.

An id is sent as the MIS spells it, and echoed as Kiva does. A blank that somebody typed behind it in PA2, or an
invisible letter that came along from a web page, makes no other loan of it.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf"})
_MORE_INVISIBLE = frozenset(
    {
        "\u034f",  # combining grapheme joiner
        "\u115f",  # Hangul fillers
        "\u1160",
        "\u17b4",  # Khmer inherent vowels
        "\u17b5",
        "\u3164",
        "\uffa0",
        *map(chr, range(0xFE00, 0xFE10)),  # variation selectors
    }
)


def key(written: str) -> str:
    """By which an id is the same: without invisible letters, composed (NFC), without blanks at its ends."""
    # A tab or a line's end counts as a blank, not as nothing.
    seen = (
        " " if letter.isspace() else letter
        for letter in written
        if letter.isspace() or not (unicodedata.category(letter) in _INVISIBLE or letter in _MORE_INVISIBLE)
    )
    return unicodedata.normalize("NFC", "".join(seen)).strip()


def fold(written: str) -> str:
    """By which ids are looked for: two that differ in case only have one, and are the same or perhaps the same loan."""
    return unicodedata.normalize("NFC", key(written).casefold())
