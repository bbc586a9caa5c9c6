"""Where a line of a page may not end: within an amount, before its currency, after `n°`, before French marks.

A telephone ends lines anywhere: `41 / 667 XOF` is read as 667.
"""

from __future__ import annotations

import re

_TEXT = re.compile(r">[^<>]+<")
_AMOUNT = re.compile(r"(?<!\d)\d{1,3}(?: \d{3})+(?:\.\d+)?(?!\d)(?: [A-Z]{3}\b)?|\d [A-Z]{3}\b")
_MARKS = re.compile(r"(?<=[^ >]) (?=[:;?!»](?:[ <]|$))|(?<=«) (?=\S)|(?<=n°) (?=\S)|(?<=n\.º) (?=\S)")
_STAYS = "\u00a0"


def kept(page: str) -> str:
    """The page, with blanks that no line ends at; only in what is read, never in what a form carries back."""
    return _TEXT.sub(lambda found: text(found.group()), page)


def text(said: str) -> str:
    """The same of a text."""
    joined = _AMOUNT.sub(lambda found: found.group().replace(" ", _STAYS), said)
    return _MARKS.sub(_STAYS, joined)
