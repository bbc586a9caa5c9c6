"""The `source:`, `relations:` and `parameters:` of a mapping, read into a stream."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from kiva_relay import errors
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.mapping.field_reader import FieldReader
from kiva_relay.mapping.plan import Column, Parameter
from kiva_relay.source import statement
from kiva_relay.source.stream import GIVEN, ROOT, Relation, Stream

SOURCE = ("table", "key", "changed_at", "changed_at_zone", "created_at", "where", "touched_by")
RELATION = ("table", "sql", "match", "many", "optional", "order_by", "changed_at")
TOUCHED_BY = ("name", "table", "sql", "match", "changed_at")
PARAMETER = ("ask", "sql", "type")
TYPES = ("text", "integer", "amount", "date", "boolean")

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_TABLE = re.compile(r"\b(?:FROM|JOIN)\s+([A-Za-z_][\w.]*)", re.IGNORECASE)


class SourceReader:
    """Reads what a mapping reads from the MIS; notes columns and mistakes on the way."""

    def __init__(self, report: MistakeReport, fields: FieldReader, values: Mapping[str, Any]) -> None:
        self.report = report
        self.fields = fields
        self.values = values
        self.columns: list[Column] = []
        self.places: dict[str, tuple[int, int]] = {}
        self.used: set[str] = set()
        self.unreadable: set[str] = set()

    def parameters(self, found: YamlTree | None) -> tuple[Parameter, ...]:
        """The parameters that the mapping declares. Without a value of its own, one is a mistake."""
        return tuple(self._parameter(name, value) for name, value in found.entries) if found else ()

    def given(self, parameters: tuple[Parameter, ...]) -> dict[str, object]:
        """The values of the declared parameters, converted; a missing one is a mistake that asks for it."""
        converted: dict[str, object] = {}
        for parameter in parameters:
            if parameter.name in self.values:
                converted[parameter.name] = self._converted(parameter)
                continue
            near = errors.nearest(parameter.name, self.values)
            message = f"has to be given: {parameter.ask}. Without it nothing is mapped."
            remedy = f"write in config.yaml:   parameters: {{{parameter.name}: …}}"
            remedy += f"   (it has {', '.join(near)})" if near else ""
            at = YamlTree("scalar", parameter.line, parameter.column)
            self.report.add(at, f"parameters.{parameter.name}", message, remedy=remedy)
        return converted

    def relations(self, found: YamlTree | None) -> dict[str, Relation]:
        """The relations in their order; each may be matched on the ones before it."""
        known: dict[str, Relation] = {}
        for name, value in found.entries if found else ():
            relation = self._relation(value, name.text, f"relations.{name.text}", RELATION, known)
            if relation is not None:
                known[name.text] = relation
            else:
                self.unreadable.add(name.text)
        return known

    def stream(
        self,
        found: YamlTree,
        *,
        name: str,
        resource: str,
        relations: Mapping[str, Relation],
        parameters: Mapping[str, object],
        declared: set[str],
    ) -> Stream:
        """The stream; `declared` are the parameters that its SQL may name."""
        self.keys(found, SOURCE, "source")
        table = self.text(found, "table", "source", required=True)
        key = self._names(found, "key", "source")
        where = self.text(found, "where", "source")
        if not key:
            self.report.add(found, "source.key", "is missing: the column that names a row", remedy="key: id")
        for name_of in ("table", "where"):
            at = found.get(name_of) or found
            self.places[f"source.{name_of}"] = (at.line, at.column)
        touched = self._touched_by(found.get("touched_by"), relations)
        self._sql_parameters(found.get("where"), "source.where", declared)
        return Stream(
            name=name,
            resource=resource,
            table=table,
            key=key,
            changed_at=self._names(found, "changed_at", "source"),
            where=where,
            parameters=parameters,
            relations=tuple(relations.values()),
            touched_by=touched,
            changed_at_zone=self._zone(found),
        )

    def _zone(self, found: YamlTree) -> str:
        name = self.text(found, "changed_at_zone", "source") or ""
        if name in ("", "utc", "server"):
            return name
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            near = errors.nearest(name, available_timezones())
            remedy = f"nearest: {', '.join(near)}" if near else "utc, server, or a name as Africa/Dakar"
            self.report.add(
                found.get("changed_at_zone"), "source.changed_at_zone", f'no such time zone: "{name}"', remedy=remedy
            )
            return ""
        return name

    def keys(self, found: YamlTree, known: tuple[str, ...], path: str) -> None:
        """Note every key that is not known."""
        for name, _ in found.entries:
            if name.text not in known and name.line not in self.report.broken:
                near = errors.nearest(name.text, known)
                remedy = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
                where = f"{path}.{name.text}" if path else name.text
                self.report.add(name, where, f'no such key: "{name.text}"', remedy=remedy)

    def text(self, found: YamlTree, key: str, path: str, *, required: bool = False) -> str:
        """A key's text; empty without it."""
        value = found.get(key)
        if value is None or value.null:
            if required:
                self.report.add(found, f"{path}.{key}", "is missing")
            return ""
        if value.kind != "scalar":
            self.report.add(value, f"{path}.{key}", f"expected a text, found a {value.kind}")
            return ""
        return value.text.strip()

    def _parameter(self, name: YamlTree, value: YamlTree) -> Parameter:
        path = f"parameters.{name.text}"
        if value.kind != "map":
            remedy = f'{name.text}: {{ask: "what it is and where to find it"}}'
            self.report.add(value, path, "expected what to ask for", remedy=remedy)
            return Parameter(name.text, name.text, None, None, name.line, name.column)
        self.keys(value, PARAMETER, path)
        kind = self.text(value, "type", path) or None
        if kind is not None and kind not in TYPES:
            near = errors.nearest(kind, TYPES)
            remedy = f"nearest: {near[0]}" if near else f"one of: {', '.join(TYPES)}"
            self.report.add(value.get("type"), f"{path}.type", f'no such type: "{kind}"', remedy=remedy)
            kind = None
        ask = self.text(value, "ask", path, required=True)
        sql = self._select(value, path)
        return Parameter(name.text, ask, sql, kind, name.line, name.column)

    def _converted(self, parameter: Parameter) -> object:
        value = self.values[parameter.name]
        try:
            return value if parameter.type is None else _CONVERT[parameter.type](value)
        except (TypeError, ValueError, InvalidOperation):
            at = YamlTree("scalar", parameter.line, parameter.column)
            message = f"expected {parameter.type}, found {value!r} in config.yaml"
            self.report.add(at, f"parameters.{parameter.name}", message)
            return None

    def _relation(
        self, found: YamlTree, name: str, path: str, known_keys: tuple[str, ...], earlier: Mapping[str, Relation]
    ) -> Relation | None:
        if found.kind != "map":
            if found.line not in self.report.broken:
                remedy = "{table: m_client, match: {id: client_id}}"
                self.report.add(found, path, "expected a table and how it is matched", remedy=remedy)
            return None
        self.keys(found, known_keys, path)
        self.places[path] = (found.line, found.column)
        table = self.text(found, "table", path) or None
        sql = self._select(found, path)
        if (table is None) == (sql is None):
            self.report.add(found, path, "expected either `table:` or `sql:`")
            return None
        relation = Relation(
            name=name,
            table=table,
            sql=sql,
            match=self._match(found, path, name, earlier),
            many=self._flag(found, "many", path),
            optional=self._flag(found, "optional", path),
            order_by=self.text(found, "order_by", path) or None,
            changed_at=self._names(found, "changed_at", path),
        )
        if relation.many and relation.order_by is None:
            message = "many rows without an order change places by themselves"
            self.report.add(found, f"{path}.order_by", message, remedy="order_by: id")
        self._note(found.get("order_by"), name, relation.order_by, f"{path}.order_by")
        for column in relation.changed_at:
            self._note(found.get("changed_at"), name, column, f"{path}.changed_at")
        return relation

    def _touched_by(self, found: YamlTree | None, relations: Mapping[str, Relation]) -> tuple[Relation, ...]:
        known = dict(relations)
        touched: list[Relation] = []
        for number, item in enumerate(found.items if found else ()):
            path = f"source.touched_by[{number}]"
            name = self.text(item, "name", path) if item.kind == "map" else ""
            if name and name in known:
                self.report.add(item.get("name"), f"{path}.name", f'"{name}" is a relation already')
            # Without a name of its own an entry is known by its place, for the sake of messages.
            relation = self._relation(item, name or f"touched_by[{number}]", path, TOUCHED_BY, known)
            if relation is None:
                continue
            relation = dataclasses.replace(relation, name=name)
            if relation.sql and not relation.changed_at:
                remedy = "name the tables one by one: {name: …, table: …, match: {…}}"
                self.report.add(item, path, "a sql: is watched by its `changed_at:` only", remedy=remedy)
            touched.append(relation)
            if name:
                known[name] = relation
        return tuple(touched)

    def _match(self, found: YamlTree, path: str, owner: str, earlier: Mapping[str, Relation]) -> dict[str, str]:
        match = found.get("match")
        if match is None or match.kind != "map" or not match.entries:
            remedy = "match: {its column: the loan's column}"
            self.report.add(
                match or found, f"{path}.match", "is missing: how its rows belong to the loan", remedy=remedy
            )
            return {}
        for theirs, ours in match.entries:
            self._note(theirs, owner, theirs.text, f"{path}.match")
            before, _, column = ours.text.rpartition(".")
            if before == ROOT:
                before = ""
            if before in self.unreadable:
                continue
            if before and before not in earlier:
                near = errors.nearest(before, earlier)
                remedy = f"nearest: {', '.join(near)}" if near else "a relation stands before those that name it"
                self.report.add(ours, f"{path}.match", f'there is no relation "{before}" before it', remedy=remedy)
            else:
                self._note(ours, before, column, f"{path}.match")
        return {theirs.text: ours.text for theirs, ours in match.entries}

    def _select(self, found: YamlTree, path: str) -> str | None:
        sql = self.text(found, "sql", path)
        if not sql:
            return None
        bare = _QUOTED.sub("''", sql).rstrip().rstrip(";")
        if not re.match(r"(?is)\s*(?:select|with)\b", bare) or ";" in bare:
            message = "expected one SELECT; the relay never writes to the MIS"
            self.report.add(found.get("sql"), f"{path}.sql", message)
        return sql.rstrip().rstrip(";")

    def sql_parameters(self, found: YamlTree | None, declared: set[str]) -> None:
        """Note every `:name` in the relations' SQL that no parameter declares."""
        for name, value in found.entries if found else ():
            if value.kind == "map":
                self._sql_parameters(value.get("sql"), f"relations.{name.text}.sql", declared)

    def _sql_parameters(self, found: YamlTree | None, path: str, declared: set[str]) -> None:
        if found is None or found.kind != "scalar":
            return
        for name in sorted(named(found.text)):
            self.used.add(name)
            if name not in GIVEN and name not in declared:
                near = errors.nearest(name, {*declared, *GIVEN})
                remedy = f"nearest: :{near[0]}" if near else f"parameters: {{{name}: {{ask: …}}}}"
                self.report.add(found, path, f"no parameter is called :{name}", remedy=remedy)

    def unwatched(self, found: YamlTree, stream: Stream, *, estimates: Collection[str]) -> None:
        """A table inside a SELECT is not watched by itself: say so, unless `touched_by` names it.

        `estimates` are relations that decide nothing of what is sent: nobody has to see at once that they changed.
        """
        watched = {stream.table, *(each.table for each in stream.watched() if each.table)}
        for relation in (each for each in stream.relations if each.name not in estimates):
            inside = {name for name in _TABLE.findall(_QUOTED.sub("''", relation.sql or "")) if name not in watched}
            for name in sorted(inside):
                message = f"changes in {name} (in relation {relation.name}) are seen by the nightly sweep only"
                remedy = f"touched_by: [{{table: {name}, match: {{…}}}}]"
                self.report.add(found, "source.touched_by", message, remedy=remedy, severity="warning")

    def _names(self, found: YamlTree, key: str, path: str) -> tuple[str, ...]:
        value = found.get(key)
        if value is None or value.null:
            return ()
        items = value.items if value.kind == "list" else (value,)
        if value.kind == "map" or any(item.kind != "scalar" for item in items):
            self.report.add(value, f"{path}.{key}", "expected a column, or a list of columns")
            return ()
        if path == "source":
            for item in items:
                self._note(item, "", item.text, f"{path}.{key}")
        return tuple(item.text for item in items)

    def _flag(self, found: YamlTree, key: str, path: str) -> bool:
        value = found.get(key)
        return value is not None and self.fields.boolean(value, f"{path}.{key}")

    def _note(self, at: YamlTree | None, owner: str, name: str | None, path: str) -> None:
        if at is not None and name:
            self.columns.append(Column(owner, name, path, at.line, at.column))


def named(sql: str) -> set[str]:
    """The `:names` of a SELECT, those between quotes left out."""
    return set(statement.names(sql))


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))


def _integer(value: Any) -> int:
    return int(str(value))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_CONVERT: dict[str, Any] = {
    "text": str,
    "integer": _integer,
    "amount": lambda value: Decimal(str(value)),
    "date": _date,
    "boolean": _boolean,
}
