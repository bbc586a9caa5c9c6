"""When two spellings of an id mean the same loan: everywhere ids are compared, they are compared as said here.

An id is sent as the MIS spells it, and echoed as Kiva does. A blank that somebody typed behind it in PA2, or an
invisible letter that came along from a web page, makes no other loan of it.
"""

from __future__ import annotations

import re
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


_SEPARATORS = re.compile(r"[\W_]+")
_ENOUGH_DIGITS = 2


def key(written: str) -> str:
    """By which an id is the same: without invisible letters, composed (NFC), without blanks at its ends."""
    if written.isascii() and written.isprintable():
        return written.strip()  # nearly all are such, and a list has a hundred thousand
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


def alike(left: str, right: str) -> bool:
    """Are two ids the same but for blanks, separators, case, and zeros or a word in front?

    `KV/93`, `93` and `000000093` are alike; `193` and `93` are not.
    """
    a, b = map(_parts, (left, right))
    if not a or not b:
        return False
    if "".join(a).lstrip("0") == "".join(b).lstrip("0"):
        return True
    numbers = [[part.lstrip("0") for part in parts if part.isdigit()] for parts in (a, b)]
    words = [[part for part in parts if not part.isdigit()] for parts in (a, b)]
    return (
        numbers[0] == numbers[1]
        and len("".join(numbers[0])) >= _ENOUGH_DIGITS
        and (not words[0] or not words[1] or words[0] == words[1])
    )


def marks(written: str) -> tuple[str, ...]:
    """By what an id is found among thousands: two ids that are alike have one of these in common, at least."""
    parts = _parts(written)
    if not parts:
        return ()
    numbers = [part.lstrip("0") for part in parts if part.isdigit()]
    whole = f"={''.join(parts).lstrip('0')}"
    return (whole, f"#{' '.join(numbers)}") if len("".join(numbers)) >= _ENOUGH_DIGITS else (whole,)


def _parts(written: str) -> list[str]:
    return _SEPARATORS.sub(" ", fold(written)).split()
