"""A mapping against the live database: its columns, their types, its SQL, and the choices for what is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from kiva_relay import errors
from kiva_relay.errors import Mistake, RelayError, Unreachable
from kiva_relay.mapping.plan import Column, Document, Parameter
from kiva_relay.resource.field import EXPECTED, Kind
from kiva_relay.source import schema
from kiva_relay.source.stream import Relation

# The kinds of column that a kind of Kiva's can be made of, when the column goes there as it is. A column of a kind
# that the driver does not tell is left to the first row.
_FIT: dict[Kind, tuple[str, ...]] = {
    "text": ("text", "integer", "number", "other"),
    "integer": ("integer", "number", "other"),
    "amount": ("integer", "number", "other"),
    "date": ("date", "datetime", "text", "other"),
    "boolean": ("boolean", "integer", "other"),
}


_TWICE = re.compile(r"""(?:Duplicate column name '|column reference ")(\w+)(?:'|" is ambiguous)""")


class LiveDatabase(Protocol):
    """What is asked of the MIS here; `source.mis.Mis` answers it."""

    def columns(self, relation: str, /) -> Mapping[str, str]:
        """The columns of a table or of a SELECT, and their types."""
        ...

    def choices(self, sql: str, /) -> Sequence[tuple[str, str]]:
        """The first two columns of a SELECT."""
        ...


def verify(mapping: Document, mis: LiveDatabase) -> list[Mistake]:
    """Every column and every SELECT of the mapping that the live database does not have or does not take.

    Raises Unreachable when the database is away.
    """
    live, mistakes = _owners(mapping, mis)
    for column in dict.fromkeys(mapping.columns):
        if column.owner in live:
            mistakes += _column(mapping, column, live[column.owner])
    mistakes += _clashes(mapping, live.get("", {}))
    return sorted(set(mapping.placed(mistakes)))


def choices(parameter: Parameter, mis: LiveDatabase) -> list[str]:
    """What can be written for a parameter, from the database: `3 Kiva`."""
    try:
        return [f"{value} {name}" for value, name in mis.choices(parameter.sql)] if parameter.sql else []
    except Unreachable:
        raise
    except RelayError:
        return []


def asked(mistakes: Iterable[Mistake], parameters: Iterable[Parameter], mis: LiveDatabase) -> list[Mistake]:
    """The mistakes again, those about a missing parameter with the choices that the database knows."""
    known = {f"parameters.{parameter.name}": parameter for parameter in parameters}
    return [_with_choices(mistake, known.get(mistake.path), mis) for mistake in mistakes]


def _with_choices(mistake: Mistake, parameter: Parameter | None, mis: LiveDatabase) -> Mistake:
    found = choices(parameter, mis) if parameter is not None else []
    if not found:
        return mistake
    remedy = f"In your database: {'; '.join(found)}.   {mistake.remedy}"
    return Mistake(mistake.file, mistake.line, mistake.column, mistake.path, mistake.message, remedy, mistake.severity)


def unknown_choices(mapping: Document, mis: LiveDatabase) -> Iterator[Mistake]:
    """A parameter whose value is none of those that the database knows: it would cover nothing, without a word."""
    for parameter in mapping.parameters:
        given = mapping.stream.parameters.get(parameter.name)
        found = choices(parameter, mis) if given is not None else []
        if found and str(given) not in [each.partition(" ")[0] for each in found]:
            line, column = mapping.places.get(f"parameters.{parameter.name}", (0, 0))
            path = f"parameters.{parameter.name}"
            message = f"{given} is none of the choices that your database has"
            yield Mistake(mapping.file, line, column, path, message, f"In your database: {'; '.join(found)}.")


def _owners(mapping: Document, mis: LiveDatabase) -> tuple[dict[str, Mapping[str, str]], list[Mistake]]:
    stream = mapping.stream
    live: dict[str, Mapping[str, str]] = {}
    mistakes: list[Mistake] = []
    asked_for = [("", stream.table, "source.table")]
    asked_for += [(owner, each.table or each.sql or "", path) for owner, each, path in _related(mapping)]
    for owner, what, path in asked_for:
        if not what:  # a mistake of the file itself
            continue
        try:
            live[owner] = mis.columns(what)
        except Unreachable:
            raise
        except RelayError as reason:
            line, column = mapping.places.get(path, (0, 0))
            message = str(reason) if isinstance(reason, schema.TwoOfOneName) else f"the database says: {reason}"
            mistakes.append(Mistake(mapping.file, line, column, path, message, _remedy(reason)))
    if stream.where and "" in live:
        try:
            mis.columns(f"SELECT * FROM {stream.table} WHERE {stream.where}")  # noqa: S608 - the administrator's own SQL
        except Unreachable:
            raise
        except RelayError as reason:
            line, column = mapping.places.get("source.where", (0, 0))
            mistakes.append(Mistake(mapping.file, line, column, "source.where", f"the database says: {reason}"))
    return live, mistakes


def _remedy(reason: RelayError) -> str:
    """What to write for a SELECT with two columns of one name, which MariaDB notices by itself."""
    if isinstance(reason, schema.TwoOfOneName):
        return reason.hint or ""
    twice = _TWICE.search(str(reason))
    return schema.one_by_one(twice[1]) if twice else ""


def _related(mapping: Document) -> Iterator[tuple[str, Relation, str]]:
    """Each relation and each table that is only watched: what columns call it, itself, where it stands."""
    for relation in mapping.stream.relations:
        yield relation.name, relation, f"relations.{relation.name}"
    for number, touched in enumerate(mapping.stream.touched_by):
        place = f"touched_by[{number}]"
        yield touched.name or place, touched, f"source.{place}"


def _column(mapping: Document, column: Column, live: Mapping[str, str]) -> list[Mistake]:
    table = _table(mapping, column.owner)
    if column.name not in live:
        near = errors.nearest(column.name, live)
        message = f'{table} has no column "{column.name}"'
        remedy = f"nearest: {', '.join(near)}" if near else ""
        if column.kind is not None and not column.owner and not near:
            remedy = f'if you mean this very word:   {{text: "{column.name}"}}'
        return [Mistake(mapping.file, column.line, column.column, column.path, message, remedy)]
    kind = live[column.name]
    if column.kind is None or column.kind not in _FIT or kind in _FIT[column.kind]:
        return []
    message = f"Kiva takes {EXPECTED[column.kind]}; {table}.{column.name} is {kind}"
    return [Mistake(mapping.file, column.line, column.column, column.path, message)]


def _table(mapping: Document, owner: str) -> str:
    if not owner:
        return mapping.stream.table
    named = {name: relation.table or f"the sql of {name}" for name, relation, _ in _related(mapping)}
    return named.get(owner, owner)


def _clashes(mapping: Document, live: Mapping[str, str]) -> list[Mistake]:
    """A relation that is called like a column of the root table would hide it."""
    return [
        Mistake(
            mapping.file,
            *mapping.places.get(f"relations.{relation.name}", (0, 0)),
            f"relations.{relation.name}",
            f'{mapping.stream.table} has a column "{relation.name}" too',
            f"give the relation another name, as {relation.name}_row",
        )
        for relation in mapping.stream.relations
        if relation.name in live
    ]
