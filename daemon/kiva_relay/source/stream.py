"""What one mapping reads: a root table, the related rows that belong to each root row, and what touches it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kiva_relay import errors

ROOT = "root"
CUTOFF = "cutoff"

_CUTOFF = re.compile(r"(?<![:\w]):cutoff\b")


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
    def origin(self) -> str:
        """What to call it in a sentence: its name, else its table."""
        return self.name or self.table or "an unnamed sql"


@dataclass(frozen=True)
class Stream:
    """What one mapping reads. `where` and every `sql` may use `:parameters` and `:cutoff`.

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

    @property
    def uses_cutoff(self) -> bool:
        """Whether what is read depends on the cut-off date."""
        texts = [self.where, *(relation.sql or "" for relation in self.relations)]
        return any(_CUTOFF.search(text) for text in texts)

    def watched(self) -> tuple[Relation, ...]:
        """Everything besides the root whose changes concern it."""
        return self.relations + self.touched_by


@dataclass(frozen=True)
class Path:
    """Where a value of `match` comes from: `parent` is ROOT or a relation's name."""

    parent: str
    column: str


def path(text: str) -> Path:
    """Read `client_id`, `root.client_id` or `client.gender_cv_id`."""
    parent, dot, column = text.rpartition(".")
    return Path(parent if dot else ROOT, column)


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
