"""A code table beside the mappings: what the MIS says, and what Kiva should get, as a spreadsheet saved it."""

from __future__ import annotations

from pathlib import Path

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import spreadsheet
from kiva_relay.mapping.spreadsheet import Between

_CELLS = 2


@dataclass(frozen=True)
class CodeTable:
    """What a file holds: its first line, which names the columns, and below it line numbers and cells.

    Empty lines, comments and empty columns at the end are left out. A first line that is surely a code (it holds a
    digit, or Kiva gets the same for another one) is among the lines, and `head` is empty.
    """

    file: Path
    between: Between
    head: list[str]
    lines: list[tuple[int, list[str]]]


def read(file: Path) -> CodeTable:
    """The table in a file. Raises ConfigurationError for what is none, and for letters that cannot be told."""
    found = spreadsheet.read(file, comments=True)
    rows = [(line, _without_empty(cells)) for line, cells in found.lines]
    if not rows or _is_code(rows):
        return CodeTable(file, found.between, [], rows)
    return CodeTable(file, found.between, rows[0][1], rows[1:])


def _is_code(rows: list[tuple[int, list[str]]]) -> bool:
    first = rows[0][1]
    given = {cells[1].strip().casefold() for _, cells in rows[1:] if len(cells) == _CELLS}
    return len(first) == _CELLS and (any(map(str.isdigit, first[0])) or first[1].strip().casefold() in given)


def _without_empty(cells: list[str]) -> list[str]:
    """Without the empty columns that a spreadsheet saves when something once stood there."""
    while len(cells) > _CELLS and not cells[-1].strip():
        cells = cells[:-1]
    return cells
