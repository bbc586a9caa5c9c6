"""A table as spreadsheets save it: with commas, semicolons or tabs, in UTF-8 or in what Excel makes of it.

Excel of a French, Spanish or Portuguese computer writes semicolons, and its "Unicode text" is UTF-16 with tabs. Letters
that cannot be told are a mistake, with the command to type.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from pathlib import Path
from typing import Literal

from kiva_relay import errors
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass

# A table of 100,000 lines is shorter.
SIZE_LIMIT = 8 * 1024 * 1024

Between = Literal["comma", "semicolon", "tab"]

_SIGNS: dict[Between, str] = {"comma": ",", "semicolon": ";", "tab": "\t"}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SAID = re.compile(r'"?sep=([,;\t])"?', re.IGNORECASE)


@dataclass(frozen=True)
class Spreadsheet:
    """What a file holds: line numbers and cells, as they were written. Empty lines are left out."""

    file: Path
    between: Between
    lines: list[tuple[int, list[str]]]


def read(file: Path, *, comments: bool = False, western: bool = False) -> Spreadsheet:
    """The table in a file.

    Args:
        file: any file.
        comments: lines that begin with `#` are none of the table.
        western: letters that are not UTF-8 are those of Western Europe: for ids and amounts, where few letters matter.

    Raises:
        ConfigurationError: it is no table, or its letters cannot be told.
    """
    text = _text(file, western=western)
    between, told = _between(text, comments=comments)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=_SIGNS[between])
    rows: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for cells in reader:
            is_comment = comments and bool(cells) and cells[0].startswith("#")
            if any(map(str.strip, cells)) and not is_comment and not (told and begins == 1):
                rows.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as reason:
        raise _mistaken(file, reader.line_num, f"is no table: {reason}", "save it as CSV, in UTF-8") from None
    return Spreadsheet(file, between, rows)


def _between(text: str, *, comments: bool) -> tuple[Between, bool]:
    """What stands between two cells, and whether the first line is there to say it.

    Else it is the sign that most lines have outside quotes. Where as many have commas, these are decimal commas.
    """
    lines = text.splitlines()[:1000]
    said = _SAID.fullmatch(lines[0].strip(" ")) if lines else None
    if said is not None:
        return next(name for name, sign in _SIGNS.items() if sign == said[1]), True
    count: Counter[Between] = Counter()
    for line in lines:
        outside = "".join(line.split('"')[::2])
        if not (comments and line.startswith("#")):
            count.update(name for name, sign in _SIGNS.items() if sign in outside)
    return max(reversed(_SIGNS) if count else _SIGNS, key=count.__getitem__), False


def _text(file: Path, *, western: bool) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as reason:
        raise _mistaken(file, 0, f"cannot be read: {reason.strerror}") from None
    if len(data) > SIZE_LIMIT:
        raise _mistaken(file, 0, f"is longer than {SIZE_LIMIT // 1024 // 1024} MB: no such table")
    if data.startswith(_WORKBOOKS):
        raise _mistaken(file, 0, "is a spreadsheet itself, no table of text", "save it as CSV, in UTF-8")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as reason:
        if western and encoding == "utf-8":
            return data.decode("cp1252", "replace")
        raise _unreadable(file, data, reason.start) from None


def _unreadable(file: Path, data: bytes, at: int) -> errors.ConfigurationError:
    """The line with the first letter that is no UTF-8, as it reads in what Excel writes for Western Europe."""
    begin = data.rfind(b"\n", 0, at) + 1
    shown = data[begin:].split(b"\n", 1)[0].decode("cp1252", "replace").strip()
    message = f"is not UTF-8; in the letters of Western Europe this line is: {shown[:80]}"
    to_type = f"iconv -f WINDOWS-1252 -t UTF-8 {file.name} > {file.stem}.new && mv {file.stem}.new {file.name}"
    line = data.count(b"\n", 0, at) + 1
    return _mistaken(file, line, message, f"save it as CSV UTF-8; or, if that line is right:   {to_type}")


def _mistaken(file: Path, line: int, message: str, remedy: str = "") -> errors.ConfigurationError:
    return errors.ConfigurationError([Mistake(file, line, int(line > 0), file.name, message, remedy)])
