"""The report of a month as the coordinator made it by hand, out of the file that was uploaded to PA2.

Two columns (loan id, amount) or three (loan id, client id, amount), with or without a first line that names them, as
spreadsheets of any language save them: `61 204,50`, `61,204.50`, `61.204,50`, `61'204.50`, `250 000 XOF`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from kiva_relay import errors
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import spreadsheet
from kiva_relay.mapping.spreadsheet import Spreadsheet
from kiva_relay.resource import loan_id as spelled

_WIDTHS = (2, 3)
_AS_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_CURRENCY_BEFORE = re.compile(r"\A[^\d+().-][^\d+()-]*(?=[\d+-])")
_CURRENCY_BEHIND = re.compile(r"(?:\s+[^\d\s]+|[^\w\s.,)]+)\Z")
_NUMBER = re.compile(r"[+-]?[\d.,_]*\d", re.ASCII)
_DECIMALS_OF_NONE = 3
"""Behind a sign that stands once: as many as between thousands."""


class HandmadeRow(NamedTuple):
    """One loan of the file: its line there, its id as written, and its amount."""

    line: int
    loan_id: str
    amount: Decimal


@dataclass(frozen=True)
class Handmade:
    """A file that was uploaded by hand.

    Attributes:
        file: its name.
        rows: its loans, by the key of their id (resource/loan_id.py).
        head: its first line, where that names the columns; None where it is a loan.
    """

    file: Path
    rows: dict[str, HandmadeRow]
    head: tuple[str, ...] | None


def read(file: Path) -> Handmade:
    """The loans and amounts of a file.

    Raises:
        ConfigurationError: every line that is not a loan and an amount, with line and column.
    """
    sheet = spreadsheet.read(file, western=True)
    width = max((len(cells) if cells[-1].strip() else _last_filled(cells) for _, cells in sheet.lines), default=0)
    if width not in _WIDTHS:
        raise errors.ConfigurationError([_not_so_wide(sheet, width)])
    lines = [(line, cells if len(cells) == width else (cells + [""] * width)[:width]) for line, cells in sheet.lines]
    head = tuple(lines[0][1]) if _names_columns(lines[0][1]) else None
    rows, mistakes = _rows(file, lines if head is None else lines[1:])
    if not rows and not mistakes:
        mistakes = [Mistake(file, 0, 0, "", "holds no loan", "expected one loan a line: its id and its amount")]
    if mistakes:
        raise errors.ConfigurationError(mistakes)
    return Handmade(file, rows, head)


def _rows(file: Path, lines: Sequence[tuple[int, list[str]]]) -> tuple[dict[str, HandmadeRow], list[Mistake]]:
    # A file has a hundred thousand lines, and in nearly all there is nothing but digits to be read.
    bare = [cells[-1] if cells[-1].isdecimal() else _bare(_id(cells[-1])) for _, cells in lines]
    point = _decimal_point([one for one in bare if not one.isdecimal()])
    amounts = [Decimal(one) if one.isdecimal() and one.isascii() else _amount(one, point) for one in bare]
    loans = [_id(cells[0]) for _, cells in lines]
    rows: dict[str, HandmadeRow] = {}
    mistakes: list[Mistake] = []
    for (line, cells), loan, key, amount in zip(lines, loans, map(spelled.key, loans), amounts, strict=True):
        if not key:
            mistakes.append(_mistake(file, line, 1, "expected a loan id, found nothing"))
        elif amount is None:
            found = f"“{cells[-1].strip()[:40]}”" if cells[-1].strip() else "nothing"
            mistakes.append(_mistake(file, line, len(cells), f"loan {loan}: expected an amount, found {found}"))
        elif (other := rows.get(key)) is None:
            rows[key] = HandmadeRow(line, loan, amount)
        elif other.amount != amount:
            message = f"loan {loan} has {amount:f} here and {other.amount:f} in line {other.line}"
            mistakes.append(_mistake(file, line, len(cells), message, "delete one of the two lines"))
    return rows, mistakes


def _last_filled(cells: Sequence[str]) -> int:
    last = len(cells)
    while last and not cells[last - 1].strip():
        last -= 1
    return last


def _names_columns(cells: Sequence[str]) -> bool:
    """Is a first line no loan: has it words where id and amount stand? A loan without an amount is a mistake."""
    return not any(map(str.isdigit, cells[0] + cells[-1]))


def _id(cell: str) -> str:
    """An id as it was meant: spreadsheets keep leading zeros by `="000412"`, or by an apostrophe before it."""
    if cell.isalnum():
        return cell
    text = cell.strip()
    told = _AS_TEXT.fullmatch(text)
    return told[1] if told else text.removeprefix("'")


def _decimal_point(amounts: Sequence[str]) -> str:
    """The sign before the decimals in a column, told by all of its amounts; the point where none tells.

    A sign that stands twice in an amount, before another one, or always three digits before the end, parts thousands.
    """
    found = {sign for sign in map(_surely_decimal, amounts) if sign}
    return "," if found == {","} else "." if found else ""


def _surely_decimal(amount: str) -> str | None:
    signs = [sign for sign in amount if sign in ".,"]
    if not signs or signs[-1] in signs[:-1]:
        return None
    whole, _, decimals = amount.rpartition(signs[-1])
    parts_thousands = len(decimals) == _DECIMALS_OF_NONE and re.fullmatch(r"[+-]?[1-9]\d{0,2}", whole)
    return None if parts_thousands and "_" not in amount else signs[-1]


def _bare(cell: str) -> str:
    """An amount without its currency, and with `_` for every other sign between its thousands."""
    text = _CURRENCY_BEHIND.sub("", cell.strip().replace("\u2212", "-")) if cell.strip() else ""
    text = _CURRENCY_BEFORE.sub("", text, count=1) if text and not text[0].isdigit() else text
    return re.sub(r"[\s'\u2019]", "_", text.strip())


def _amount(text: str, point: str) -> Decimal | None:
    """The number in a text of `_bare`; None: there is none."""
    if not _NUMBER.fullmatch(text):
        return None
    whole, _, decimals = text.rpartition(point) if point and point in text else (text, "", "")
    sign, whole = ("-", whole[1:]) if whole[:1] == "-" else ("", whole.removeprefix("+"))
    if (decimals and not decimals.isdigit()) or (point and point in whole) or not _is_grouped(whole):
        return None
    digits = re.sub(r"[.,_]", "", whole) or "0"
    return Decimal(f"{sign}{digits}.{decimals}" if decimals else f"{sign}{digits}")


def _is_grouped(whole: str) -> bool:
    """Are digits parted by one sign into thousands, or as in India, or not at all?"""
    if whole.isdigit() or not whole:
        return True
    one_sign = len(set(whole) & {".", ",", "_"}) == 1
    return one_sign and re.fullmatch(r"\d{1,3}(_\d{2,3})*_\d{3}", re.sub(r"[.,]", "_", whole)) is not None


def _not_so_wide(sheet: Spreadsheet, width: int) -> Mistake:
    if not sheet.lines:
        return Mistake(sheet.file, 0, 0, "", "holds nothing", "expected one loan a line: its id and its amount")
    line = next(line for line, cells in sheet.lines if _last_filled(cells) == width)
    message = f"expected 2 or 3 columns with a {sheet.between} between them, found {width}"
    remedy = "loan id and amount, or loan id, client id and amount: save the file as it was uploaded to PA2"
    return Mistake(sheet.file, line, min(width, max(_WIDTHS) + 1), "", message, remedy)


def _mistake(file: Path, line: int, column: int, message: str, remedy: str = "") -> Mistake:
    return Mistake(file, line, column, f"column {column}", message, remedy)
