"""A mapping, read and compiled: where each value of a body comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Mapped
from dataclasses import field
from decimal import Decimal
from pathlib import Path
from typing import Any

from kiva_relay.errors import Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping.expression import Expression
from kiva_relay.mapping.lookup import LookupTable
from kiva_relay.mapping.origin import SUFFIX, SourceFile, Sources
from kiva_relay.mapping.wording import Wording
from kiva_relay.resource.field import Kind
from kiva_relay.source.stream import Stream

# `else: refuse` (as without `else`), and `else: leave_out`.
REFUSE = "refuse"
LEAVE_OUT = "leave_out"

# The functions of the long form in the order in which they are applied, whatever the order in the file.
STEPS = (
    *("first", "only", "after", "trim", "text", "name", "choose", "translate", "lookup", "money", "date", "image"),
    "refuse",
)
LONG_FORM = ("from", "text", "texts", "language", *(step for step in STEPS if step != "text"), "else", "required")


@dataclass(frozen=True)
class Step:
    """One function of the long form, with its values; a value that is an Expression is computed for each row."""

    function: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """A field that holds one value: `start` (an expression, or the words themselves), then `steps` in order.

    `otherwise` is what an unknown code becomes: `refuse`, `leave_out`, or the value. `origin` says where the value
    comes from, as `m_code_value.code_value → choose`; no value stands in it.
    """

    name: str
    kind: Kind
    start: Expression | Wording | str | int | Decimal | bool
    steps: tuple[Step, ...] = ()
    otherwise: Any = REFUSE
    required: bool | Expression = False
    origin: str = ""

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that it uses, in order."""
        inside = self.start.functions if isinstance(self.start, Expression | Wording) else ()
        return (*inside, *(step.function for step in self.steps))


@dataclass(frozen=True)
class Parts:
    """An object: each part by its name."""

    parts: Mapped[str, Plan]


@dataclass(frozen=True)
class Items:
    """A list whose items stand in the mapping one by one."""

    items: tuple[Plan, ...]


@dataclass(frozen=True)
class Each:
    """A list with one item for each row of a relation."""

    relation: str
    do: Plan


Plan = Leaf | Parts | Items | Each


@dataclass(frozen=True)
class Parameter:
    """What one institution has to say: which fund is Kiva's. `sql` lists the choices (value, name)."""

    name: str
    ask: str
    sql: str | None
    type: str | None
    line: int
    column: int


@dataclass(frozen=True)
class Column:
    """A column that the mapping names, and where: to be compared with the live database.

    `owner` is the relation's name, empty for the root table. `kind` is what Kiva takes, when the column goes there
    as it is.
    """

    owner: str
    name: str
    path: str
    line: int
    column: int
    kind: Kind | None = None


@dataclass(frozen=True)
class Document:
    """One mapping file, ready to be applied.

    `fingerprint` changes with everything that could change a body: the file, its parameters, its code tables.
    `text` is the mapping as one YAML file, with what it extends; `sources` are the files that it was read from, and
    lines of `columns` and `places` are counted over all of them (see `placed`). `places` are line and column of what
    the database may object to. `warnings` are what a person should read but what stops nothing. `extends` is the
    mapping that this one extends, as written; empty without one.
    """

    name: str
    file: Path
    resource: str
    stream: Stream
    fingerprint: str
    identity: Expression
    fields: Mapped[str, Plan]
    created_at: Expression | None = None
    when: Expression | None = None
    checks: Mapped[str, Expression] = field(default_factory=dict)
    left_to_the_coordinator: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    tables: Mapped[str, LookupTable] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    places: Mapped[str, tuple[int, int]] = field(default_factory=dict)
    warnings: tuple[Mistake, ...] = ()
    text: str = ""
    sources: Sources = field(default_factory=Sources)
    extends: str = ""

    @property
    def examples(self) -> Path:
        """Where its examples stand: beside it, `NAME.test.yaml`."""
        return self.file.with_name(f"{self.name}.test{SUFFIX}")

    @property
    def written(self) -> str:
        """What stood in its own file."""
        return self.sources.files[0].text

    @property
    def bases(self) -> tuple[SourceFile, ...]:
        """The files that it extends: its base, and what a ready-made base extends in turn."""
        return self.sources.files[1:]

    def placed(self, mistakes: Iterable[Mistake]) -> list[Mistake]:
        """Mistakes noted at counted lines of `file`, each with the file that holds it and its line there."""
        return self.sources.placed(mistakes)

    def leaves(self) -> Iterator[Leaf]:
        """Every field that holds one value, however deep it stands."""
        for each in self.fields.values():
            yield from leaves(each)


def leaves(plan: Plan) -> Iterator[Leaf]:
    """Every field in it that holds one value."""
    match plan:
        case Leaf():
            yield plan
        case Parts():
            for part in plan.parts.values():
                yield from leaves(part)
        case Items():
            for item in plan.items:
                yield from leaves(item)
        case Each():
            yield from leaves(plan.do)
