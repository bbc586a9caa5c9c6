"""Values and keys as they leave the driver, the same for every MIS database."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

_PLAIN = (str, bool, int, Decimal, bytes, type(None))


def normal(value: object, zone: tzinfo) -> object:
    """A value as the mapper knows it: str, int, Decimal, bool, date, aware UTC datetime, bytes or None.

    Args:
        value: what the driver gave.
        zone: where the clock hung that wrote timestamps without a zone.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
        except OverflowError:  # "for ever" and "never", which other zones have no day for
            return text(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True)
    return value if isinstance(value, date) else text(value)


def text(value: object) -> str:
    """A value as text that every database reads back as the same value in the column's own type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return str(value)


def key(values: Sequence[object]) -> str:
    """The text of a key: of one column its own text, of several a JSON array of their texts."""
    if len(values) == 1:
        return text(values[0])
    return json.dumps([text(value) for value in values], ensure_ascii=False, separators=(",", ":"))


def parts(key_text: str, columns: int) -> tuple[str, ...] | None:
    """The texts of a key's columns; None when this is no key of that many columns."""
    if columns == 1:
        return (key_text,)
    try:
        found = json.loads(key_text)
    except ValueError:
        return None
    if not isinstance(found, list) or len(found) != columns or not all(isinstance(one, str) for one in found):
        return None
    return tuple(found)


def same(value: object) -> object:
    """A form of a normal value in which values of two columns that match are equal: 12 and 12.00."""
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def alike(value: object) -> str:
    """The same, more generous: what two databases' columns of different types or collations call equal."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return format(Decimal(value).normalize(), "f")
    folded = text(value).strip().casefold()
    if folded.isdigit():
        return folded.lstrip("0") or "0"
    return folded


def unaccented(value: object) -> str:
    """The most generous: what collations call equal that take é for e."""
    letters = unicodedata.normalize("NFKD", alike(value))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
