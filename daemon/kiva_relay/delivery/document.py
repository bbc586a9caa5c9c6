"""Kiva's JSON, read so that nothing in it can raise: bytes into a document, and its values one at a time.

Lenient in spelling: `loan_draft_uuid`, `loanDraftUuid` and `LoanDraftUuid` are one key, a byte order mark is skipped, a
letter in a wrong encoding becomes U+FFFD and spoils only the text that holds it. Strict in meaning: a key that stands
there twice with two values has none, `true` is no number, and infinity is no amount.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kiva_relay.delivery.client import Answer
from kiva_relay.frozen import dataclass

ID_LIMIT = 255
"""Letters of the longest id. Kiva's own are numbers or UUIDs, those of a MIS a few dozen letters."""

_KEY_LIMIT = 64
_DIGITS_LIMIT = 40
_LARGEST = 2**63
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,18}(?:\.0{1,18})?")
_UNREADABLE = re.compile("[\0\N{REPLACEMENT CHARACTER}\ud800-\udfff]")


@dataclass(frozen=True)
class NotUnderstood:
    """What Kiva said makes no sense here; `why`, for a log line. Neither a yes nor a no."""

    why: str


Document = Mapping[str, Any]
"""A JSON object. Its keys are folded: ask for them with `of`."""


def read(answer: Answer) -> Any:
    """The JSON of an answer, or NotUnderstood."""
    if not answer.read_whole:
        return NotUnderstood(answer.error or "the answer was cut")
    text = answer.content.decode("utf-8", "replace").lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, strict=False)
    except (ValueError, RecursionError) as error:
        return NotUnderstood(f"it is no JSON: {type(error).__name__}")


def unread(said: Any, why: str) -> NotUnderstood:
    """What `read` gave, where it is not what was expected."""
    return said if isinstance(said, NotUnderstood) else NotUnderstood(why)


def one(said: Any) -> Document | None:
    """An object, or the only object of a list; None for everything else."""
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    return said if isinstance(said, dict) else None


def has(said: Document, name: str) -> bool:
    """Is the key there, in any spelling, whatever its value?"""
    return _folded(name) in said


def of(said: Document, *names: str) -> Any:
    """The value of the first of these keys that is there and not null; None without one."""
    return next((said[key] for name in names if said.get(key := _folded(name)) is not None), None)


def text(value: Any, most: int) -> str:
    """A text for people, or of a number; cut after `most` letters, and empty when it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)[:most])


def identifier(value: Any) -> str | None:
    """An id as Kiva spells it, blanks at its ends included; None when it cannot be read, or is only blanks."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    found = str(value)
    return found if found.strip() and len(found) <= ID_LIMIT and not _UNREADABLE.search(found) else None


def whole(value: Any) -> int | None:
    """A whole number from 0, also as a text or with a zero behind its point; None for everything else."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value.strip().partition(".")[0])
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        return None
    return value


def finite(value: Any) -> float | None:
    """A number, also as a text; None for everything else, infinity and not-a-number included."""
    written = "" if isinstance(value, bool) or not isinstance(value, str | int | float) else str(value).strip()
    if len(written) > _DIGITS_LIMIT or not _NUMBER.fullmatch(written):
        return None
    found = float(written)
    return found if math.isfinite(found) else None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        key = _folded(name)
        if found.get(key) is None:
            found[key] = value
        elif value is not None and not _same(found[key], value):
            found[key] = NotUnderstood("it stands there twice, with two values")
    return found


def _same(one_: Any, other: Any) -> bool:
    return type(one_) is type(other) and bool(one_ == other)


def _integer(digits: str) -> int | float:
    """Python refuses a number of 5,000 digits; a float of it is infinite, which no converter takes."""
    return int(digits) if len(digits) <= _DIGITS_LIMIT else math.inf


def _folded(name: str) -> str:
    return _fold(name) if len(name) <= _KEY_LIMIT else name


@functools.lru_cache(maxsize=1024)
def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
