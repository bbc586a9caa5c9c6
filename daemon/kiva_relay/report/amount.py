"""An amount as a person types it: as page and commands show it, or as her country writes it."""

from __future__ import annotations

import re

from babel import numbers

from kiva_relay import errors

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*", re.ASCII)
_WITH_BLANKS = re.compile(r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?", re.ASCII)
_PARTS = re.compile(r"([\d.,]*\d)", re.ASCII)
_DECIMALS = re.compile(r"(\d+)(?:[.,](\d+))?", re.ASCII)
_GROUP = 3
_EITHER = re.compile(r"([1-9]\d{0,2})[.,](\d{3})", re.ASCII)
"""Thousands, or three decimals."""
_PLAIN = re.compile(r"[-+]?\d*(?:\.\d*)?(?:[eE].*)?", re.ASCII)


def read(written: str, currency: str | None) -> str:
    """`150 000`, `150.000 XOF` and `1.500,50` as the relay writes them; nothing stays nothing.

    Three digits behind a point or comma are thousands in a currency that has fewer decimals: `150.000 XOF` is not 150.

    Raises:
        UsageError: it can be read in two ways, or in none.
    """
    bare = " ".join(written.split())
    if currency:
        bare = re.sub(f"(?i) ?{re.escape(currency)}$", "", bare)
    if not bare:
        return ""
    if _WITH_BLANKS.fullmatch(bare):
        bare = bare.replace(" ", "")
    whole = _without_thousands(bare, _precision(currency))
    found = _DECIMALS.fullmatch(whole) if whole else None
    if found is None:
        raise errors.UsageError(
            f"{written} is no amount.", code="amount_unreadable", params={"written": written.strip()}
        )
    return f"{found[1]}.{found[2]}" if found[2] else found[1]


def must_be_plain(written: str, currency: str | None) -> None:
    """Is it an amount as a command takes it: digits, and a point before decimals?

    A script that writes `150.000` means 150, and a person means 150000: a command cannot tell who typed it.

    Raises:
        UsageError: it may be either, or it is written in another way; the message says how to write it.
    """
    either = _EITHER.fullmatch(written.strip())
    if either is not None and not ("." in written and (_precision(currency) or 0) >= _GROUP):
        large = f"{either[1]}{either[2]}"
        small = f"{either[1]}.{either[2]}".rstrip("0").rstrip(".")
        small = f"0{small}" if _EITHER.fullmatch(small) else small
        raise errors.UsageError(
            f"{written} may be {large} or {small}. Nothing was decided.", hint=f"--value {large}    or: --value {small}"
        )
    if not _PLAIN.fullmatch(written.strip()):
        try:
            meant = read(written, currency)
        except errors.UsageError:
            return  # whoever decides says what it is not
        raise errors.UsageError(
            f"--value takes an amount, as 150000 or 1500.50; found {written}. Nothing was decided.",
            hint=f"--value {meant}",
        )


def _without_thousands(bare: str, decimals: int | None) -> str:
    """Without the marks between thousands; empty where nobody can tell what a mark means."""
    if not _PARTS.fullmatch(bare):
        return ""
    marks = [one for one in bare if one in ".,"]
    if len(set(marks)) > 1:
        head, last, tail = bare.rpartition(marks[-1])
        return f"{head.replace(marks[0], '')}{last}{tail}" if _THOUSANDS.fullmatch(head) else ""
    if len(marks) > 1:
        return bare.replace(marks[0], "") if _THOUSANDS.fullmatch(bare) else ""
    if marks and len(bare.partition(marks[0])[2]) == _GROUP:
        if decimals is not None and decimals < _GROUP:
            return bare.replace(marks[0], "") if _THOUSANDS.fullmatch(bare) else ""
        return bare if decimals is not None and marks[0] == "." else ""
    return bare


def _precision(currency: str | None) -> int | None:
    return numbers.get_currency_precision(currency) if currency and numbers.is_currency(currency) else None
