"""What one mapping reads: a root table, the related rows that belong to each root row, and what touches it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field

from kiva_relay import errors
from kiva_relay.frozen import dataclass

ROOT = "root"
CUTOFF, CUTOFF_MONTH = "cutoff", "cutoff_month"
GIVEN = (CUTOFF, CUTOFF_MONTH)
"""Parameters that nobody has to declare: the last day of a repayment report, and the first day of that one's month."""

_GIVEN = re.compile(rf"(?<![:\w]):({'|'.join(GIVEN)})\b")


@dataclass(frozen=True)
class Relation:
    """Rows that belong to a root row: out of a table, or out of one SELECT of the administrator's own.

    `match` is column of the relation → where its value comes from: a column of the root (`client_id`), or a column
    of a relation named earlier (`client.gender_cv_id`). `changed_at` are the columns that together say when a row
    changed, the first that is not null counting.
    """

    name: str = ""
    table: str | None = None
    sql: str | None = None
    match: Mapping[str, str] = field(default_factory=dict)
    many: bool = False
    optional: bool = False
    order_by: str | None = None
    changed_at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.table is None) == (self.sql is None):
            raise ValueError(f"relation {self.name!r} needs a table or a sql, and not both")

    @property
    def uses_cutoff(self) -> bool:
        """Whether its rows depend on the cut-off date."""
        return _GIVEN.search(self.sql or "") is not None

    @property
    def origin(self) -> str:
        """What to call it in a sentence: its name, else its table."""
        return self.name or self.table or "an unnamed sql"


@dataclass(frozen=True)
class Stream:
    """What one mapping reads. `where` and every `sql` may use `:parameters` and what is always GIVEN.

    `touched_by` are relations that are never loaded: a change there means that the root is looked at again.
    `changed_at_zone` is how timestamps without a zone are read: `utc`, `server`, a zone's name, or empty for the
    time zone of the MIS.
    """

    name: str
    resource: str
    table: str
    key: tuple[str, ...]
    changed_at: tuple[str, ...] = ()
    where: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    relations: tuple[Relation, ...] = ()
    touched_by: tuple[Relation, ...] = ()
    changed_at_zone: str = ""
    named: frozenset[tuple[str, str]] | None = None
    """What is read of the rows: relation (or ROOT) and column. None: all of it."""
    pictures: frozenset[tuple[str, str]] = frozenset()
    """Of what is read: where photos come from, or paths of photos."""

    @property
    def uses_cutoff(self) -> bool:
        """Whether what is read depends on the cut-off date."""
        texts = [self.where, *(relation.sql or "" for relation in self.relations)]
        return any(_GIVEN.search(text) for text in texts)

    @property
    def sources(self) -> dict[str, str]:
        """The table or SELECT of the root and of each relation, by name."""
        return {ROOT: self.table} | {one.name: one.table or one.sql or "" for one in self.relations}

    def brings_photos(self, kinds: Mapping[str, Mapping[str, str]], longest: int | None) -> bool:
        """Do its rows hold photos themselves, not paths? True while nobody knows.

        Args:
            kinds: those of the columns, by relation.
            longest: of what was read where a photo or its path stands, as `reader.longest` says; None: nothing yet.
        """
        if not self.pictures:
            return False
        if any(kinds.get(of, {}).get(column) == "bytes" for of, column in self.pictures):
            return True
        return longest is None or longest > LONGEST_PATH

    def mentions(self, column: str) -> bool:
        """Whether a column of this name may count: it is read, or stands somewhere in the SQL."""
        if self.named is None:
            return True
        texts = [self.where, *self.key, *self.changed_at, *(name for _, name in self.named)]
        for one in self.watched():
            texts += [one.sql or "", one.order_by or "", *one.match, *one.match.values(), *one.changed_at]
        return column.casefold() in "\n".join(texts).casefold()

    def watched(self) -> tuple[Relation, ...]:
        """Everything besides the root whose changes concern it."""
        return self.relations + self.touched_by


LONGEST_PATH = 4_096
"""Characters that a path has at most (PATH_MAX of Linux). A longer text is the photo itself, as base64."""


@dataclass(frozen=True)
class Path:
    """Where a value of `match` comes from: `parent` is ROOT or a relation's name."""

    parent: str
    column: str


def path(text: str) -> Path:
    """Read `client_id`, `root.client_id` or `client.gender_cv_id`."""
    parent, dot, column = text.rpartition(".")
    return Path(parent if dot else ROOT, column)


def needed(stream: Stream, of: str) -> list[str]:
    """The columns of a table without which its rows, or those that hang on them, are not found."""
    own = stream.key if of == ROOT else next(tuple(one.match) for one in stream.relations if one.name == of)
    paths = [path(text) for one in stream.relations for text in one.match.values()]
    return [*dict.fromkeys([*own, *(one.column for one in paths if one.parent == of)])]


def ancestors(stream: Stream, relation: Relation) -> list[Relation]:
    """The relations that lead from the root to `relation`, without itself, each after those it depends on."""
    named = {other.name: other for other in stream.watched() if other.name}
    found: dict[str, Relation] = {}

    def visit(names: Iterable[str], below: tuple[str, ...]) -> None:
        for name in names:
            if name == ROOT or name in found:
                continue
            if name not in named or name in below:
                known = errors.nearest(name, named)
                meant = f"; did you mean {known[0]}?" if known else ""
                raise errors.UsageError(
                    f"Stream {stream.name}: {relation.origin} is matched through {name}, "
                    f"which no earlier relation is called{meant}"
                )
            visit((path(text).parent for text in named[name].match.values()), (*below, name))
            found[name] = named[name]

    visit((path(text).parent for text in relation.match.values()), (relation.name,) if relation.name else ())
    return list(found.values())
