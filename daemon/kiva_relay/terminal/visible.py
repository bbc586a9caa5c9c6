"""Foreign text that is shown: what a terminal obeys, and what nobody sees, is written out.

An id of the MIS or Kiva's words may hold escape sequences, or letters that turn the direction of a line around.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Letters to Unicode, and seen by nobody; the others have a category of their own (Cc, Cf, …).
_UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x2800, 0x3164, 0xFFA0}
_UNSEEN |= {*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_OBEYED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_PLAIN = re.compile(r"[\x20-\x7e]*")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def text(written: str) -> str:
    r"""The text in one line, as it may be printed: `KV-1\x1b[2J`, `\u202e`."""
    return written if _PLAIN.fullmatch(written) else "".join(_SHORT.get(sign) or _sign(sign) for sign in written)


def lines(written: str) -> str:
    """The same of a text of several lines, whose line ends stay."""
    return "\n".join(map(text, written.split("\n")))


def json(written: str) -> str:
    r"""JSON that means the same, in which such signs are written as JSON writes them: `\u202e`."""
    if _PLAIN.fullmatch(written):
        return written
    return "".join(sign if sign == "\n" or not _is_hidden(sign) else _units(sign) for sign in written)


def _sign(sign: str) -> str:
    if not _is_hidden(sign):
        return sign
    number = ord(sign)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - Python's own spelling


def _units(sign: str) -> str:
    data = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


@lru_cache(maxsize=4096)
def _is_hidden(sign: str) -> bool:
    return ord(sign) in _UNSEEN or unicodedata.category(sign) in _OBEYED
