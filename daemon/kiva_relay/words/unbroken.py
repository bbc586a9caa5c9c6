"""Where no line of a page or a mail ends: in an amount, a day, before a currency or a number, after `n°`, before marks.

A telephone ends lines anywhere: `41 / 667 XOF` is read as 667.
"""

from __future__ import annotations

import re

_TEXT = re.compile(r">[^<>]+<")
_AMOUNT = re.compile(r"(?<!\d)\d{1,3}(?: \d{3})+(?:\.\d+)?(?!\d)(?: [A-Z]{3}\b)?|\d [A-Z]{3}\b")
_MARKS = re.compile(r"(?<=[^ >]) (?=[:;?!»](?:[ <]|$))|(?<=«) (?=\S)|(?<=n°) (?=\S)|(?<=n\.º) (?=\S)")
_MONTHS = (
    "janv|févr|mars|avr|mai|juin|juil|août|sept|oct|nov|déc|ene|feb|mar|abr|may|jun|jul|ago|dic"
    "|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
)
_DAY = re.compile(rf"\b(?:1er|\d{{1,2}})(?: de)? (?=(?:{_MONTHS}))")
_ITS_NUMBER = re.compile(r"(?<=\S) (?=\((?:n°|n\.º|#))")
_STAYS = "\u00a0"


def kept(page: str) -> str:
    """The page, with blanks that no line ends at; only in what is read, never in what a form carries back."""
    return _TEXT.sub(lambda found: text(found.group()), page)


def text(said: str) -> str:
    """The same of a text."""
    joined = _AMOUNT.sub(lambda found: found.group().replace(" ", _STAYS), said)
    joined = _DAY.sub(lambda found: found.group().replace(" ", _STAYS), joined)
    return _MARKS.sub(_STAYS, _ITS_NUMBER.sub(_STAYS, joined))
