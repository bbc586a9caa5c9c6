"""A value that a setting cannot hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Self


class Mismatch(ValueError):
    """What is wrong with one value, and what to write instead.

    The message is a whole sentence: what was expected, and what was found. `at` leads from the setting to
    the part of it that is meant: `(1,)` for the second item of a list.
    """

    def __init__(self, message: str, *, remedy: str = "", at: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.at = at


class Whole(int):
    """A whole number of a YAML file that still knows how it was written: `007` is 7, and an id is "007"."""

    source: str

    def __new__(cls, value: int, source: str) -> Self:
        """Keep `source`, the digits as they stand in the file."""
        number = super().__new__(cls, value)
        number.source = source
        return number


def found(value: object) -> str:
    """How a message names a value: `4`, `"Dakar"`, `true`, `a list`, `nothing`."""
    match value:
        case None | "":
            return "nothing"
        case bool():
            return str(value).lower()
        case Whole():
            return value.source
        case int() | Decimal() | date():
            return str(value)
        case str():
            return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'  # noqa: PLR2004 - one line
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
    return type(value).__name__
