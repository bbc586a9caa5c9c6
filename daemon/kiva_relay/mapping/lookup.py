"""Names to ids: Kiva's own lists, and the code tables beside the mappings."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ftfy

from kiva_relay import errors
from kiva_relay.errors import Mistake
from kiva_relay.resource import loan_id
from kiva_relay.resource.refusal import Refusal

# The name by which a mapping asks for a list, and the refusal when a name is not on it.
REFUSALS = {
    "activities": "activity_unknown",
    "themes": "theme_unknown",
    "locations": "location_unknown",
    "locales": "language_unknown",
    "currencies": "currency_unknown",
}

ALIASES = "loan_ids.csv"

# A code table of 100,000 lines is shorter.
SIZE_LIMIT = 8 * 1024 * 1024


class Unknown(Exception):
    """A name is not on the list; `refusal` says so and names the nearest."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class ListsUnknown(Exception):
    """Kiva's lists were never read: it is not known whether the name is on them."""


@dataclass(frozen=True)
class Lists:
    """Kiva's activities, themes, locations and locales: for each list, the name and what goes over the wire.

    A list that was never read from Kiva is not there; `known` is true once all of them are.
    """

    names: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    _folded: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, items: Mapping[str, Sequence[Mapping[str, Any]]]) -> Lists:
        """Out of Kiva's own items, by the name of their list: `{"activities": [{"activity_id": …, …}, …], …}`."""
        names: dict[str, dict[str, int | str]] = {}
        for kind, (name, value) in _KEYS.items():
            if kind in items:
                # A list that an older version stored may hold items without an id.
                whole = [item for item in items[kind] if item.get(name) and item.get(value) is not None]
                names[kind] = {str(item[name]): item[value] for item in whole}
        if "locales" in items:
            spoken = [item for item in items["locales"] if item.get("language_id") is not None]
            names["currencies"] = {
                str(item["currency"]): item["currency"] for item in items["locales"] if item.get("currency")
            }
            names["locales"] = {
                str(item[name]): item["language_id"]
                for name in ("language_code", "language_name")
                for item in spoken
                if item.get(name)
            }
        folded = {kind: {_fold(name): value for name, value in each.items()} for kind, each in names.items()}
        return cls(names=names, _folded=folded)

    @property
    def known(self) -> bool:
        """Whether every list was read from Kiva at least once."""
        return set(REFUSALS) <= set(self.names)

    def find(self, kind: str, name: str) -> int | str:
        """What Kiva gets for a name: its id, or for locations and currencies Kiva's own spelling.

        Raises Unknown for a name that is not on the list, ListsUnknown when the list was never read. Upper and
        lower case, doubled blanks and wrongly decoded letters do not matter; an accent does.
        """
        if kind not in self.names:
            raise ListsUnknown
        exact = self.names[kind].get(name)
        if exact is not None:
            return exact
        folded = self._folded[kind]
        for spelling in (name, ftfy.fix_encoding(name)):
            if (value := folded.get(_fold(spelling))) is not None:
                return value
        near = errors.nearest(name, self.names[kind])
        raise Unknown(Refusal(REFUSALS[kind], params={"value": name, "nearest": ", ".join(near)}))


# Of Kiva's items: the name that a person knows, and what goes over the wire.
_KEYS = {
    "activities": ("activity", "activity_id"),
    "themes": ("theme_type", "theme_type_id"),
    "locations": ("full_name", "full_name"),
}


def _fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


@dataclass(frozen=True)
class LookupTable:
    """A code table: what the MIS says, and what Kiva should get. `file` is the last folder's that has it."""

    name: str
    file: Path
    rows: Mapping[str, str]

    def find(self, value: str) -> str | None:
        """The translation; None without a line for it. Blanks around and letter case do not matter."""
        return self.rows.get(_fold(value))


def table(name: str, folders: Sequence[Path]) -> LookupTable | None:
    """The code table `lookup/NAME` of the folders: the rows of a later folder win. None when no folder has it.

    Raises ConfigurationError with every line that is not `what the MIS says,what Kiva gets`.
    """
    if Path(name).name != name:
        return None  # a table lies in the folder `lookup`, nowhere else
    files = [file for folder in folders if (file := folder / "lookup" / name).is_file()]
    if not files:
        return None
    rows: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for file in files:
        mine: dict[str, str] = {}
        for line, cells in _lines(file):
            mistakes += _check(file, line, cells, mine)
            if len(cells) > 1:
                mine[_fold(cells[0])] = cells[1].strip()
        rows.update(mine)
    if mistakes:
        raise errors.ConfigurationError(mistakes)
    return LookupTable(name=name, file=files[-1], rows=rows)


def loan_ids(folders: Sequence[Path]) -> dict[str, str]:
    """Ids that were typed by hand at Kiva, and the MIS's own of the same loan, as keys: `lookup/loan_ids.csv`."""
    files = [file for folder in folders if (file := folder / "lookup" / ALIASES).is_file()]
    rows = [cells for file in files for _, cells in _lines(file) if len(cells) > 1]
    return {loan_id.key(cells[0]): loan_id.key(cells[1]) for cells in rows}


def _lines(file: Path) -> Iterable[tuple[int, list[str]]]:
    # A spreadsheet saves UTF-8 with a byte order mark; the first line names the columns.
    reader = csv.reader(_text(file).splitlines(keepends=True))
    try:
        for cells in reader:
            if reader.line_num > 1 and any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
                yield reader.line_num, cells
    except csv.Error as reason:
        mistake = Mistake(file, reader.line_num, 1, file.name, f"is no table: {reason}", "save it as CSV, in UTF-8")
        raise errors.ConfigurationError([mistake]) from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
        if len(data) <= SIZE_LIMIT:
            return data.decode("utf-8-sig")
        mistake = Mistake(file, 0, 0, file.name, f"is longer than {SIZE_LIMIT // 1024 // 1024} MB: no code table")
    except UnicodeDecodeError:
        mistake = Mistake(file, 0, 0, file.name, "is not UTF-8", "save it as CSV, in UTF-8")
    except OSError as reason:
        mistake = Mistake(file, 0, 0, file.name, f"cannot be read: {reason.strerror}")
    raise errors.ConfigurationError([mistake])


def _check(file: Path, line: int, cells: list[str], seen: Mapping[str, str]) -> list[Mistake]:
    expected_cells = 2
    if len(cells) != expected_cells:
        remedy = "put a name that contains a comma between double quotes" if len(cells) > expected_cells else ""
        message = f"expected two values with a comma between them, found {len(cells)}"
        return [Mistake(file, line, 1, cells[0], message, remedy)]
    if _fold(cells[0]) in seen:
        return [Mistake(file, line, 1, cells[0], "has two lines in this table", "delete one of them")]
    return []
