"""The bytes of a body: canonical JSON, equal bodies are equal bytes, and money is never a float."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

Body = dict[str, Any]


def encode(body: Mapping[str, Any]) -> bytes:
    """Canonical JSON: keys sorted, no blanks, Decimals in plain notation, dates as ISO, UTF-8.

    Raises TypeError for a float: money must not have been one.
    """
    return orjson.dumps(_plain(body), option=orjson.OPT_SORT_KEYS)


def decode(data: bytes) -> Body:
    """What `encode` wrote; a number with a fraction is a Decimal, other numbers are int."""
    decoded = json.loads(data, parse_float=Decimal)
    if not isinstance(decoded, dict):
        raise TypeError(f"a body is an object, found {type(decoded).__name__}")
    return decoded


def sha256(body: Mapping[str, Any]) -> str:
    """The fingerprint of the bytes that would be sent, in hexadecimal."""
    return hashlib.sha256(encode(body)).hexdigest()


def _plain(value: Any) -> Any:
    match value:
        case str() | int() | None:
            return value
        case Decimal():
            return orjson.Fragment(_digits(value).encode())
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case date():
            return value.isoformat()
        case float():
            raise TypeError("a float has no place in a body; amounts are Decimal")
        case _:
            return value


def _digits(number: Decimal) -> str:
    if not number.is_finite():
        raise TypeError(f"{number} is no amount")
    text = format(number, "f")
    return text.removeprefix("-") if number == 0 else text
