"""Which names an expression may read where it stands, and the columns that they mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kiva_relay import errors
from kiva_relay.mapping.expression import Expression, Reference, Wrong
from kiva_relay.source.stream import Relation


class Unreadable(Wrong):
    """The name of a relation that holds a mistake itself: that was said already."""


class Scope:
    """The names at one place of a mapping: the loan's, or inside `each … do` the item's.

    `item` is the relation whose rows are gone through; None for the loan itself. `unreadable` are relations that
    hold a mistake.
    """

    def __init__(
        self,
        table: str,
        relations: Mapping[str, Relation],
        *,
        unreadable: Collection[str] = (),
        item: str | None = None,
    ) -> None:
        self.table = table
        self.relations = relations
        self.unreadable = unreadable
        self.item = item

    def inside(self, relation: str) -> Scope:
        """The names inside `each: relation`."""
        return Scope(self.table, self.relations, unreadable=self.unreadable, item=relation)

    def columns(self, expression: Expression) -> Iterable[tuple[str, str, Reference]]:
        """The columns that an expression reads: relation (empty: the root table), column, where it is named.

        Raises Wrong for a name that cannot mean anything here.
        """
        for reference in expression.references:
            found = self._column(reference)
            if found is not None:
                yield *found, reference

    def origin(self, expression: Expression) -> str:
        """The columns with their tables, as a person would name them."""
        names = [f"{self._table(owner)}.{column}" for owner, column, _ in self.columns(expression)]
        return ", ".join(dict.fromkeys(names)) or expression.source

    def _table(self, owner: str) -> str:
        return (self.relations[owner].table or owner) if owner else self.table

    def _column(self, reference: Reference) -> tuple[str, str] | None:
        path = reference.path
        if path[0] == "root":
            return self._of_loan(Reference(path[1:], reference.offset)) if path[1:] else None
        if self.item is None:
            return self._of_loan(Reference(path[1:], reference.offset) if path[0] == "row" else reference)
        if path == ("position",):
            return None
        own = path[1:] if path[0] == "row" else path
        if len(own) == 1:
            return self.item, own[0]
        if path[0] in self.relations:
            raise Wrong(
                f"inside `do:` bare names are the columns of {self.item}; the loan is `root.`",
                remedy="root." + ".".join(path),
                offset=reference.offset,
            )
        raise self._no_relation(reference)

    def _of_loan(self, reference: Reference) -> tuple[str, str] | None:
        path = reference.path
        if path == ("position",):
            raise Wrong("`position` is known inside `each: … do:` only", offset=reference.offset)
        if path[0] not in self.relations:
            if path[0] in self.unreadable:
                raise Unreadable(path[0])
            if len(path) == 1:
                return "", path[0]
            raise self._no_relation(reference)
        relation = self.relations[path[0]]
        if len(path) == 1:
            return None
        rows = path[1] == "*"
        if len(path) > (3 if rows else 2):
            raise Wrong("a column has no parts", remedy=".".join(path[:2]), offset=reference.offset)
        if relation.many and not rows:
            raise Wrong(
                f"{relation.name} has many rows; which one is meant?",
                remedy=f"{relation.name} | first('{path[1]}')   or   {relation.name} | only('{path[1]}')",
                offset=reference.offset,
            )
        if rows and not relation.many:
            raise Wrong(f"{relation.name} is one row", remedy=f"{relation.name}.{path[2]}", offset=reference.offset)
        return relation.name, path[-1]

    def _no_relation(self, reference: Reference) -> Wrong:
        name = reference.path[0]
        near = errors.nearest(name, self.relations)
        known = f"nearest: {', '.join(near)}" if near else f"relations: {', '.join(self.relations) or 'none'}"
        return Wrong(f'there is no relation "{name}"', remedy=known, offset=reference.offset)
