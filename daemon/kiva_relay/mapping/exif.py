"""Of what a camera says about a photo, the one thing that is needed: how it was held."""

from __future__ import annotations

from typing import Literal

UPRIGHT = 1

_ORIENTATION = 0x0112
_HIGHEST = 8
_ENTRY = 12
# The types in which cameras write it, and their bytes: BYTE, SHORT and LONG.
_BYTES = {1: 1, 3: 2, 4: 4}
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}


def orientation(block: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block names; 1, upright, when it names none that can be read.

    Nothing else of the block is looked at: a resolution of -1/0 once ended the relay. The layout is that of TIFF 6.0,
    section 2, as EXIF 2.32 (JEITA CP-3451) takes it over.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = _ORDERS.get(block[:2])
    if order is None:
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)

    first = number(4, 4)
    end = min(first + 2 + number(first, 2) * _ENTRY, len(block) - _ENTRY + 1)
    for at in range(first + 2, end, _ENTRY):
        if number(at, 2) == _ORIENTATION:
            found = number(at + 8, _BYTES.get(number(at + 2, 2), 0))
            return found if UPRIGHT <= found <= _HIGHEST else UPRIGHT
    return UPRIGHT
