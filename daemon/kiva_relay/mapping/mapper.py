"""Rows of the MIS to a body for Kiva. Whatever is in the data, nothing is raised: it becomes a refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import function, lookup, shape
from kiva_relay.mapping.expression import Expression
from kiva_relay.mapping.function import Refused, Run
from kiva_relay.mapping.lookup import REFUSALS, Lists, ListsUnknown
from kiva_relay.mapping.plan import LEAVE_OUT, REFUSE, Document, Each, Items, Leaf, Parts, Plan, leaves
from kiva_relay.mapping.wording import Wording
from kiva_relay.resource import body as bodies
from kiva_relay.resource import contact, unseen
from kiva_relay.resource import field as fields
from kiva_relay.resource import loan_id as spelled
from kiva_relay.resource.kind import RESOURCES, CheckFacts
from kiva_relay.resource.refusal import PERSON_DECIDES, Refusal
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import ROOT
from kiva_relay.source.value import TornText

# What `else:` answers: a code that nobody knows, a photo that cannot be sent. Nothing else is hidden by it.
_ELSE = frozenset(
    {
        "code_unknown",
        "no_translation",
        "activity_unknown",
        "theme_unknown",
        "location_unknown",
        "currency_unknown",
        "language_unknown",
        "photo_unreadable",
        "photo_too_large",
    }
)

# No loan has more instalments, no group more members: such a relation lacks a column in its `match`.
ROWS_LIMIT = 5000

# The fields whose values stand on a list of Kiva's.
_LISTED = {
    "currency": "currencies",
    "activity_id": "activities",
    "theme_type_id": "themes",
    "location": "locations",
    "description_language_id": "locales",
}


@dataclass(frozen=True)
class Context:
    """What applies to all rows of a page.

    `today` and `cutoff` are dates in the MIS's zone, `timezone` its name. `facts` are the settings that the checks
    and the last touches of a body need. `photos`: with `bytes` the photo stands in the body as it is sent; with
    `sha256` its fingerprint, for everything but delivery. `photo_folders` are those below which a photo may lie.
    """

    lists: Lists
    today: date
    cutoff: date
    timezone: str
    facts: CheckFacts
    photos: Literal["sha256", "bytes"] = "bytes"
    photo_folders: tuple[Path, ...] = ()


CURRENCY = "currency"
"""Of `checks:`, the one that is no amount."""


@dataclass(frozen=True)
class Mapped:
    """What became of one row.

    `body` is as sent; None with `refusals`, with `waiting` (`incomplete`: `when:` says not yet; `lists_unknown`:
    Kiva's lists were never read), and for a row that is gone. `loan_id` and `client_id` are what PA2 shows,
    whatever is sent of them. `partial` is what can still be made of a body that is refused. `warnings` are what a
    person should look at although it is sent. `bounds` and `currency` are of `checks:`. `origins` says for each field
    where it came from, when that was asked for; `stages` holds what stood there first, and what each function made
    of it: personal data among it.
    """

    identity: str | None = None
    loan_id: str = ""
    client_id: str = ""
    created_at: datetime | date | None = None
    body: bodies.Body | None = None
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[Refusal, ...] = ()
    waiting: Literal["incomplete", "lists_unknown"] | None = None
    partial: bodies.Body | None = None
    bounds: Mapping[str, Decimal] = field(default_factory=dict)
    currency: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def photos(mapping: Document, content: Content, *, context: Context) -> list[str]:
    """The fingerprints of the photos that a body would hold: files that change without a row changing."""
    if content.root is None or not any("image" in leaf.functions for leaf in mapping.leaves()):
        return []
    work = _Work(mapping, content, dataclasses.replace(context, photos="sha256"))
    return work.photos()


def apply(mapping: Document, content: Content, *, context: Context, origins: bool = False) -> Mapped:
    """Map one row and all that belongs to it; `origins` says for each field where it came from."""
    if content.root is None:
        return Mapped()
    if content.unread:
        table = {one.name: one.table or one.name for one in mapping.stream.relations} | {ROOT: mapping.stream.table}
        return Mapped(refusals=(Refusal("text_unreadable", content.unread, {"column": table[content.unread]}),))
    return _Work(mapping, content, context, traced=origins).mapped()


def some(mapping: Document, content: Content, *, context: Context, fields: Collection[str]) -> object:
    """What these fields alone come to, values and reasons: equal when two mappings differ elsewhere only."""
    if content.root is None:
        return None
    return _Work(mapping, content, context).some(fields)


class _Work:
    """One row under way: what was computed so far, and every reason against it."""

    def __init__(self, mapping: Document, content: Content, context: Context, *, traced: bool = False) -> None:
        self.mapping = mapping
        self.content = content
        self.context = context
        self.run = Run(
            lists=context.lists,
            tables=mapping.tables,
            timezone=context.timezone,
            photos=context.photos,
            photo_folders=context.photo_folders,
        )
        # A text that cannot be read is nothing that could be sent; why is said by `_unreadable`.
        read = {name: _as_read(rows) for name, rows in {"": content.root, **content.related}.items()}
        root = {**(read.pop("") or {}), **read}
        self.names: dict[str, Any] = {**root, "root": root, "row": _as_read(content.root)}
        self.refusals: list[Refusal] = []
        self.lists_unknown = False
        self.traced = traced
        self.origins: dict[str, str] = {}
        self.stages: dict[str, tuple[Any, ...]] = {}

    def mapped(self) -> Mapped:
        self._unreadable()
        identity = self._identity()
        created_at = self._created_at()
        when = self.mapping.when
        if when is not None and not self._single(when, "when") and not self.refusals:
            return Mapped(identity=identity, loan_id=identity or "", created_at=created_at, waiting="incomplete")
        self._relations()
        resource = RESOURCES[self.mapping.resource]
        body = self._parts(self.mapping.fields, resource.fields, self.names, "")
        bounds = self._bounds()
        loan_id, client_id = resource.shown(body)
        facts = dataclasses.replace(
            self.context.facts,
            principal=bounds.get("principal"),
            contacts=contact.numbers(self._contacts()),
            left=self.mapping.left_to_the_coordinator,
        )
        sent = resource.complete(body, facts)
        if not self.lists_unknown:
            # What a person may decide is found again when it is known what was sent before.
            self._add([each for each in resource.check(sent, facts) if each.code not in PERSON_DECIDES])
            self._add(self._on_lists(sent))
        waiting: Literal["lists_unknown"] | None = None
        if self.lists_unknown and not self.refusals:
            waiting = "lists_unknown"
        return Mapped(
            identity=identity,
            loan_id=loan_id or identity or "",
            client_id=client_id,
            created_at=created_at,
            body=None if self.refusals or waiting else sent,
            refusals=_once(self.refusals),
            warnings=() if self.refusals or waiting else tuple(resource.warn(sent, facts)),
            waiting=waiting,
            partial=sent if self.refusals else None,
            bounds=bounds,
            currency=self._currency(),
            origins=self.origins,
            stages=self.stages,
        )

    def _unreadable(self) -> None:
        """Columns that the mapping uses, and that hold what cannot be read."""
        for column in self.mapping.columns:
            of_root = (column.owner or ROOT) == ROOT
            found = self.content.root if of_root else self.content.related.get(column.owner)
            rows = [row for row in (found if isinstance(found, list) else [found]) if isinstance(row, Mapping)]
            if any(isinstance(row.get(column.name), TornText) for row in rows):
                named = f"{self.mapping.stream.table if of_root else column.owner}.{column.name}"
                place = column.path.removeprefix("fields.").removesuffix(".from")
                self._add([Refusal("text_unreadable", place, {"column": named})])

    def _contacts(self) -> Iterator[str]:
        """How the borrower can be reached, out of every column that is called so."""
        for rows in (self.content.root, *self.content.related.values()):
            for row in rows if isinstance(rows, list) else [rows]:
                for name, value in row.items() if isinstance(row, Mapping) else ():
                    if isinstance(value, str) and contact.is_column(name):
                        yield value

    def _on_lists(self, body: bodies.Body) -> list[Refusal]:
        """What is not on Kiva's lists, also where the mapping did not look it up."""
        found = []
        for name, kind in _LISTED.items():
            known = self.context.lists.names.get(kind)
            value = body.get(name)
            if known and value is not None and value not in known.values():
                near = lookup.nearest(str(value), known)
                found.append(Refusal(REFUSALS[kind], name, {"value": str(value), "nearest": ", ".join(near)}))
        return found

    def some(self, names: Collection[str]) -> object:
        plans = {name: plan for name, plan in self.mapping.fields.items() if name in names}
        values = self._parts(plans, RESOURCES[self.mapping.resource].fields, self.names, "")
        return values, self.refusals, self.lists_unknown

    def photos(self) -> list[str]:
        plans = {
            name: plan
            for name, plan in self.mapping.fields.items()
            if any("image" in leaf.functions for leaf in leaves(plan))
        }
        body = self._parts(plans, RESOURCES[self.mapping.resource].fields, self.names, "")
        return [value for value in body.values() if isinstance(value, str) and value.startswith("sha256:")]

    def _identity(self) -> str | None:
        value = self._single(self.mapping.identity, "identity")
        try:
            identity = None if value is None else spelled.key(function.written(value))
        except Refused as refused:
            self._add([_at(refused.refusal, "identity")])
            return None
        if identity and len(identity) > fields.ID_LIMIT:
            given = {"found": f"{len(identity)} letters", "limit": str(fields.ID_LIMIT)}
            self._add([Refusal("too_long", "identity", given)])
            return None
        if not identity and not self.refusals:
            self._add([Refusal("identity_empty", "identity")])
        return identity or None

    def _created_at(self) -> datetime | date | None:
        created_at = self.mapping.created_at
        value = None if created_at is None else self._single(created_at, "created_at")
        if value is None or isinstance(value, date):
            return value
        self._add([Refusal("wrong_type", "created_at", {"expected": "a date", "found": function.kind_of(value)})])
        return None

    def _relations(self) -> None:
        for relation in self.mapping.stream.relations:
            rows = self.content.related.get(relation.name)
            names = {"relation": relation.name, "table": relation.table or "its sql"}
            if rows is None and not relation.optional and not relation.many:
                self._add([Refusal("relation_missing", relation.name, names)])
            if isinstance(rows, list) and not relation.many:
                self._add([Refusal("relation_not_unique", relation.name, names)])

    def _currency(self) -> str | None:
        expression = self.mapping.checks.get(CURRENCY)
        value = None if expression is None else self._single(expression, f"checks.{CURRENCY}")
        return None if value is None else str(value)

    def _bounds(self) -> dict[str, Decimal]:
        found = {}
        for name, expression in self.mapping.checks.items():
            if name == CURRENCY:
                continue
            value = self._single(expression, f"checks.{name}")
            try:
                if value is not None:
                    found[name] = function.number(value)
            except Refused as refused:
                self._add([_at(refused.refusal, f"checks.{name}")])
        return found

    def _single(self, expression: Expression, path: str) -> Any:
        try:
            return function.settled(expression.value(self.names, self.run))
        except Refused as refused:
            self._add([_at(refused.refusal, path)])
        except ListsUnknown:
            self.lists_unknown = True
        return None

    def _parts(
        self, plans: Mapping[str, Plan], specs: tuple[fields.Field, ...], names: Mapping[str, Any], at: str
    ) -> dict[str, Any]:
        found = {}
        for spec in specs:
            if spec.name in plans:
                value = self._value(plans[spec.name], spec, names, at + spec.name)
                if value is not None:
                    found[spec.name] = value
        return found

    def _value(self, plan: Plan, spec: fields.Field, names: Mapping[str, Any], path: str) -> Any:
        match plan:
            case Leaf():
                return self._leaf(plan, names, path)
            case Parts():
                return self._parts(plan.parts, spec.fields, names, path + ".") or None
            case Items():
                numbered = enumerate(plan.items)
                return [self._value(item, spec, names, f"{path}[{number}]") for number, item in numbered] or None
            case Each():
                if len(self.content.related.get(plan.relation) or ()) > ROWS_LIMIT:
                    given = {
                        "found": f"{len(self.content.related[plan.relation] or ())} rows",
                        "limit": str(ROWS_LIMIT),
                    }
                    self._add([Refusal("too_long", path, given)])
                    return None
                rows = enumerate(self._rows(plan.relation))
                made = [self._value(plan.do, spec, row, f"{path}[{number}]") for number, row in rows]
                return made or None

    def _rows(self, relation: str) -> Iterator[dict[str, Any]]:
        rows = self.content.related.get(relation)
        for position, row in enumerate(rows if isinstance(rows, list) else [], start=1):
            yield {**row, "row": row, "root": self.names["root"], "position": position}

    def _leaf(self, leaf: Leaf, names: Mapping[str, Any], path: str) -> Any:
        stages: list[Any] | None = None
        if self.traced:
            self.origins[path] = leaf.origin
            stages = []
        try:
            value = self._computed(leaf, names, stages)
        except ListsUnknown:
            self.lists_unknown = True
            return None
        except Refused as refused:
            self._add([_at(refused.refusal, path)])
            return None
        finally:
            if stages is not None:
                self.stages[path] = tuple(stages)
        if value is None and self._required(leaf, names, path):
            self._add([fields.empty(leaf.name, path)])
        return value

    def _required(self, leaf: Leaf, names: Mapping[str, Any], path: str) -> bool:
        if isinstance(leaf.required, bool):
            return leaf.required
        try:
            return bool(function.settled(leaf.required.value(names, self.run)))
        except Refused as refused:
            self._add([_at(refused.refusal, path)])
            return False

    def _computed(self, leaf: Leaf, names: Mapping[str, Any], stages: list[Any] | None) -> Any:
        try:
            value = leaf.start.value(names, self.run) if isinstance(leaf.start, Expression | Wording) else leaf.start
            for step in leaf.steps:
                if stages is not None:
                    stages.append(value)
                arguments = [
                    each.value(names, self.run) if isinstance(each, Expression) else each for each in step.arguments
                ]
                value = function.call(step.function, self.run, value, *arguments)
            return self._shown(leaf, shape.shaped(leaf.kind, function.settled(value), self.run))
        except Refused as refused:
            # A loan goes without its photo whatever is wrong with that, a path that is a date included.
            if leaf.otherwise == REFUSE or (refused.refusal.code not in _ELSE and leaf.kind != "image"):
                raise
            return None if leaf.otherwise == LEAVE_OUT else shape.shaped(leaf.kind, leaf.otherwise, self.run)

    def _shown(self, leaf: Leaf, value: Any) -> Any:
        """A text without letters that nobody sees; an id as the MIS spells it."""
        if leaf.kind != "text" or not isinstance(value, str) or leaf.name.endswith("_id"):
            return value
        return unseen.removed(value).strip() or None

    def _add(self, refusals: list[Refusal]) -> None:
        # A field that could not be computed is empty too: one reason for it is enough.
        known = {refusal.field for refusal in self.refusals}
        self.refusals += [each for each in refusals if not each.field or each.field not in known]


def _as_read(rows: Any) -> Any:
    """Rows without what cannot be read in them."""
    if isinstance(rows, list):
        return [_as_read(row) for row in rows]
    if not isinstance(rows, Mapping) or not any(isinstance(value, TornText) for value in rows.values()):
        return rows
    return {name: None if isinstance(value, TornText) else value for name, value in rows.items()}


def _once(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """A column that cannot be read is one reason, however many fields are made of it."""
    found: dict[tuple[str, str, str], Refusal] = {}
    for one in refusals:
        found.setdefault((one.code, "" if one.code == "text_unreadable" else one.field, str(one.params)), one)
    return tuple(found.values())


def _at(refusal: Refusal, path: str) -> Refusal:
    return dataclasses.replace(refusal, field=path)
