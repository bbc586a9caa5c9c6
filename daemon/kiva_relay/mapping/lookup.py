"""Names to ids: Kiva's own lists, and the code tables beside the mappings."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from kiva_relay import errors
from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import code_table, encoding
from kiva_relay.resource import loan_id, unseen
from kiva_relay.resource.refusal import Refusal

# The name by which a mapping asks for a list, and the refusal when a name is not on it.
REFUSALS = {
    "activities": "activity_unknown",
    "themes": "theme_unknown",
    "locations": "location_unknown",
    "locales": "language_unknown",
    "currencies": "currency_unknown",
}

# No name on a list of Kiva's is longer, nor a code of an MIS.
NAME_LIMIT = 300

ALIASES = "loan_ids.csv"

_MOST_NEAR = 3
_A_WORD = 4
_SPELLED_NEARLY = 0.75
_AS_NEAR = 0.5
"""Of the nearest name, how near another one must be to be named beside it."""
_MARKS = re.compile("[\u0300-\u036f]")


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
        if len(name) <= NAME_LIMIT:
            for spelling in (name, encoding.mended(name)):
                if (value := folded.get(_fold(spelling))) is not None:
                    return value
        near = nearest(name, self.names[kind])
        raise Unknown(Refusal(REFUSALS[kind], params={"value": name, "nearest": ", ".join(near)}))


# Of Kiva's items: the name that a person knows, and what goes over the wire.
_KEYS = {
    "activities": ("activity", "activity_id"),
    "themes": ("theme_type", "theme_type_id"),
    "locations": ("full_name", "full_name"),
}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The nearest names of a list; none for what is longer than any name, for that would be looked at for minutes.

    By their words first: a branch is called `Branch Kisumu`. By their letters where no word is shared.
    """
    if len(name) > NAME_LIMIT:
        return []
    known = list(known)
    return _sharing_a_word(name, known) or errors.nearest(name, known)


def _sharing_a_word(name: str, known: Sequence[str]) -> list[str]:
    """Names with a word of this one, or with one that is spelled nearly so.

    A long word says more than a short one, and one that many names have says little: `Kenya` stands behind a thousand.
    """
    words = {one: spoken(one) for one in known}
    often = Counter(word for each in words.values() for word in each)
    said: dict[str, float] = {}
    for word in spoken(name):
        close = [word] if word in often else difflib.get_close_matches(word, often, cutoff=_SPELLED_NEARLY)
        for like in close:
            alike = difflib.SequenceMatcher(None, word, like).ratio()
            said[like] = max(said.get(like, 0.0), alike * len(like) / often[like])
    scores = {one: score for one, each in words.items() if (score := sum(said.get(word, 0.0) for word in each))}
    least = _AS_NEAR * max(scores.values(), default=0.0)
    near = (one for one in scores if scores[one] >= least)
    return sorted(near, key=lambda one: (-scores[one], len(words[one]), one))[:_MOST_NEAR]


def spoken(name: str) -> set[str]:
    """The words of a name that say something, without accents and capitals."""
    plain = unicodedata.normalize("NFD", name.casefold())
    return {word for word in re.findall(r"\w+", _MARKS.sub("", plain)) if len(word) >= _A_WORD}


def _fold(name: str) -> str:
    name = unseen.removed(name)
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


@dataclass(frozen=True)
class LookupTable:
    """A code table: what the MIS says, and what Kiva should get. `file` is the last folder's that has it.

    `heads` are the first lines of its files. They name the columns; where somebody left that out, they are codes.
    """

    name: str
    file: Path
    rows: Mapping[str, str]
    heads: Mapping[str, str] = field(default_factory=dict)

    def find(self, value: str) -> str | None:
        """The translation; None without a line for it. Blanks around and letter case do not matter."""
        code = _fold(value)
        return self.rows.get(code) or self.heads.get(code)


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
    heads: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for file in files:
        found = code_table.read(file)
        mine: dict[str, str] = {}
        for line, cells in found.lines:
            mistakes += _check(found, line, cells, mine)
            if len(cells) > 1:
                mine[_fold(cells[0])] = unseen.removed(cells[1]).strip()
        rows.update(mine)
        if len(found.head) == _CELLS:
            heads[_fold(found.head[0])] = found.head[1].strip()
    if mistakes:
        raise errors.ConfigurationError(mistakes)
    return LookupTable(name=name, file=files[-1], rows=rows, heads=heads)


def loan_ids(folders: Sequence[Path]) -> dict[str, str]:
    """Ids that were typed by hand at Kiva, and the MIS's own of the same loan, as keys: `lookup/loan_ids.csv`."""
    files = [file for folder in folders if (file := folder / "lookup" / ALIASES).is_file()]
    rows = [cells for file in files for _, cells in code_table.read(file).lines if len(cells) > 1]
    return {loan_id.key(cells[0]): loan_id.key(cells[1]) for cells in rows}


_CELLS = 2


def _check(found: code_table.CodeTable, line: int, cells: list[str], seen: Mapping[str, str]) -> list[Mistake]:
    if len(cells) != _CELLS:
        remedy = "put a name that contains it between double quotes" if len(cells) > _CELLS else ""
        message = f"expected two values with a {found.between} between them, found {len(cells)}"
        return [Mistake(found.file, line, 1, cells[0], message, remedy)]
    if _fold(cells[0]) in seen:
        return [Mistake(found.file, line, 1, cells[0], "has two lines in this table", "delete one of them")]
    return []
