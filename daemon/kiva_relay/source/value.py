"""Values and keys as they leave the driver, the same for every MIS database."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from uuid import UUID

from kiva_relay import errors

_PLAIN = (str, bool, int, Decimal, bytes, type(None))


class TornText(str):
    """What is left of a text of which a byte cannot be read, or of a value that cannot be read at all."""

    __slots__ = ()


NOT_READ = TornText("\N{REPLACEMENT CHARACTER}")


def decoded(given: bytes) -> str:
    """A text of a database that holds any bytes."""
    try:
        return given.decode()
    except UnicodeDecodeError:
        return TornText(given.decode(errors="replace"))


_SINGLE: tuple[type, ...] = (str, int, float, Decimal, date, time, timedelta, UUID)
_SINGLE += (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)
_CALLED = {"bytes": "bytes", "list": "an array", "dict": "a document", "tuple": "a record", "Range": "a range"}


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
    if isinstance(value, Decimal | float):  # a float as the number that `normal` makes of it, or its key is not found
        return format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    if isinstance(value, int):  # also of a column that shows zeros in front: the key is the number
        return int.__repr__(value)
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return str(value)


def key(values: Sequence[object]) -> str:
    """The text of a key: of one column its own text, of several a JSON array of their texts.

    Raises:
        RelayError: a value is no single one, as an array or a document is not.
    """
    single(values)
    if len(values) == 1:
        return text(values[0])
    return json.dumps([text(value) for value in values], ensure_ascii=False, separators=(",", ":"))


def single(values: Sequence[object]) -> None:
    """Take values of key columns for what they are.

    Raises:
        RelayError: one has no text that would be read back as the same value: bytes, an array, a range, a document.
    """
    for one in values:
        if one is not None and not isinstance(one, _SINGLE):
            raise errors.RelayError(
                f"A column that leads to a key holds {_CALLED.get(type(one).__name__, type(one).__name__)};"
                " a key is a number, a text, a day or the like.",
                hint="Give the mapping another key, or a view in which it is a text.",
            )


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
