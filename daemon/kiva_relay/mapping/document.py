"""Mapping files, loaded: all mistakes at once, each with its line, its column and what to write instead."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as Values
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiva_relay import errors
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import ConfigurationError, Mistake
from kiva_relay.mapping import expression, extends, live, lookup, rewrite, whole
from kiva_relay.mapping.field_reader import FieldReader
from kiva_relay.mapping.live import verify
from kiva_relay.mapping.origin import SUFFIX, is_mapping, name_of
from kiva_relay.mapping.plan import Document, Parameter, Plan, leaves
from kiva_relay.mapping.scope import Scope
from kiva_relay.mapping.source_reader import SourceReader
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.source.stream import ROOT, Relation

__all__ = ["FORMAT", "Document", "files", "load", "read", "verify"]

# The version of what a fingerprint is made of. It moves when the same file would give other bodies.
FORMAT = 1

KEYS = (
    "extends",
    "resource",
    "identity",
    "parameters",
    "source",
    "relations",
    "when",
    "fields",
    "checks",
    "left_to_the_coordinator",
)


def files(folders: Sequence[Path]) -> list[Path]:
    """The mapping files of the folders, by name; one of a later folder takes the place of an earlier one's."""
    found = {file.name: file for folder in folders for file in sorted(folder.glob(f"*{SUFFIX}")) if is_mapping(file)}
    return [found[name] for name in sorted(found)]


def load(
    folders: Sequence[Path],
    *,
    parameters: Values[str, Any],
    resources: Collection[str] = tuple(RESOURCES),
    mis: live.LiveDatabase | None = None,
) -> list[Document]:
    """All mappings of the folders for the given resources.

    `parameters` are the values of config.yaml; with `mis` at hand a missing one is asked for with its choices.
    Raises ConfigurationError with all mistakes of all files.
    """
    found, mistakes = read_all(folders, parameters=parameters, resources=resources, mis=mis)
    if any(mistake.severity == "error" for mistake in mistakes):
        raise ConfigurationError(mistakes)
    return found


def read_all(
    folders: Sequence[Path],
    *,
    parameters: Values[str, Any],
    resources: Collection[str] = tuple(RESOURCES),
    mis: live.LiveDatabase | None = None,
) -> tuple[list[Document], list[Mistake]]:
    """The same, with the mistakes: what can be read of a file that holds some is good for being looked at, only."""
    mistakes = [
        Mistake(folder, 0, 0, "mappings", "is no folder", "correct `mappings:` in config.yaml")
        for folder in folders
        if not folder.is_dir()
    ]
    mistakes += of_another_ending(folders)
    found: list[Document] = []
    for file in files(folders):
        mapping, its = read(file, folders=folders, parameters=parameters)
        if mapping is not None and mapping.resource not in resources:
            continue
        mistakes += its if mis is None or mapping is None else live.asked(its, mapping.parameters, mis)
        if mapping is not None:
            found.append(mapping)
    return found, list(dict.fromkeys([*mistakes, *_overlapping(found, folders)]))


def of_another_ending(folders: Sequence[Path]) -> Iterator[Mistake]:
    """Files that look like mappings, and are not read."""
    for file in (file for folder in folders for file in sorted(folder.glob("*.yml")) if not file.name.startswith(".")):
        meant = file.with_suffix(SUFFIX)
        remedy = shlex.join(["sudo", "mv", str(file), str(meant)])
        message = f"is not read: a mapping is called NAME{SUFFIX}"
        yield Mistake(file, 0, 0, "", message, remedy, "warning")


def read(
    file: Path,
    *,
    folders: Sequence[Path],
    parameters: Values[str, Any],
    name: str | None = None,
    place: Path | None = None,
) -> tuple[Document | None, list[Mistake]]:
    """One file: the mapping, and its mistakes. None when it names no resource that is known.

    With a mistake among them the mapping is good for one thing: being compared with the live database.

    A mapping is called like its file, unless `name` says otherwise: an edited copy of it. `place` is the folder of
    which the copy is meant to be, where it may extend its neighbours.
    """
    name = name or name_of(file)
    report = MistakeReport(file, rewrite.MAPPING)
    resolved = extends.read(file, report, name=name, folder=place or file.parent)
    if resolved is None:
        return None, report.quoted()
    mapping = _Reader(file, resolved, report, folders=folders, values=parameters, name=name).mapping()
    return mapping, resolved.placed(report.mistakes)


def _overlapping(found: Sequence[Document], folders: Sequence[Path]) -> list[Mistake]:
    """Two mappings that would send the same rows: one's own copy under another name, beside the ready-made one."""
    order = [folder.resolve() for folder in folders]
    first: dict[tuple[str, str, str], Document] = {}
    mistakes = []
    for mapping in sorted(found, key=lambda one: order.index(one.file.parent.resolve())):
        stream = mapping.stream
        scope = (mapping.resource, stream.table.casefold(), _plain_sql(stream.where))
        other = first.setdefault(scope, mapping)
        if other is not mapping and stream.table:
            # Named is the institution's own file, also when the condition stands in what it extends.
            line, column = mapping.places["source.where"]
            if mapping.sources.find(line)[0].file != mapping.file:
                line, column = mapping.places[extends.KEY]
            message = f"{other.file} sends the same rows of {stream.table}: each would go to Kiva twice"
            remedy = (
                "delete one of the two"
                if other.file.parent == mapping.file.parent
                else f"rename this file {other.file.name}: then it takes the other's place and goes on where that was"
            )
            remedy += "\nor give one of the two another `where:`"
            mistake = Mistake(mapping.file, line, column, "source.where", message, remedy)
            mistakes += mapping.sources.placed([mistake])
    return mistakes


def _pictures(plans: Iterable[Plan]) -> frozenset[tuple[str, str]]:
    paths = [
        reference.path
        for plan in plans
        for leaf in leaves(plan)
        if "image" in leaf.functions
        if isinstance(leaf.start, expression.Expression)
        for reference in leaf.start.references
    ]
    return frozenset((path[0] if len(path) > 1 else ROOT, path[-1]) for path in paths)


def _plain_sql(where: str) -> str:
    """The same condition is the same, however its lines are broken."""
    return " ".join(where.split()).rstrip(";")


@dataclass
class _Reader:
    """One file on its way to a mapping."""

    file: Path
    resolved: extends.Resolved
    report: MistakeReport
    folders: Sequence[Path]
    values: Values[str, Any]
    name: str

    @property
    def found(self) -> YamlTree:
        """The mapping with what it extends, as one tree."""
        return self.resolved.tree

    @property
    def table_folders(self) -> list[Path]:
        """Where code tables are looked for, the first that counts last: beside the bases, then the folders."""
        bases = [source.file.parent for source in reversed(self.resolved.sources.files[1:])]
        return [*(base for base in dict.fromkeys(bases) if base not in self.folders), *self.folders]

    def mapping(self) -> Document | None:
        if self.found.kind != "map":
            found = "the file is empty" if self.found.null else f"expected a mapping, found a {self.found.kind}"
            self.report.add(self.found, self.file.name, found)
            return None
        fields = FieldReader(self.report)
        source = SourceReader(self.report, fields, self.values)
        source.keys(self.found, KEYS, "")
        resource = self._resource()
        origin = self._section("source", required=True)
        if resource is None or origin is None:
            return None
        relations = source.relations(self._section("relations"))
        declared = source.parameters(self._section("parameters"))
        names = {parameter.name for parameter in declared}
        source.sql_parameters(self._section("relations"), names)
        stream = source.stream(
            origin,
            name=self.name,
            resource=resource,
            relations=relations,
            parameters=source.given(declared),
            declared=names,
        )
        scope = Scope(stream.table, relations, unreadable=source.unreadable)
        identity = self._expression(fields, scope, "identity", required=True)
        created_at = origin.get("created_at")
        body = self._section("fields", required=True)
        plans = {} if body is None else fields.parts(body, RESOURCES[resource].fields, scope, "fields")
        checks = self._section("checks")
        bounds = {
            key.text: compiled
            for key, value in (checks.entries if checks else ())
            if (compiled := fields.single(value, scope, f"checks.{key.text}")) is not None
        }
        when = self._expression(fields, scope, "when")
        source.unwatched(origin, stream, estimates=_estimates(source, fields))
        stamped = None if created_at is None else fields.single(created_at, scope, "source.created_at")
        left = self._left(resource, plans)
        self._required(resource, plans, left, body)
        self._marked(resource, stream.where, origin)
        self._clash(relations)
        tables = self._tables(fields)
        sources = self.resolved.sources
        columns = (*source.columns, *fields.columns)
        named = ((column.owner or ROOT, column.name) for column in columns)
        return Document(
            name=self.name,
            file=self.file,
            resource=resource,
            stream=dataclasses.replace(stream, named=frozenset(named), pictures=_pictures(plans.values())),
            fingerprint=_fingerprint(self.found, declared, stream.parameters, tables),
            identity=identity or expression.parse("none"),
            fields=plans,
            created_at=stamped,
            when=when,
            checks=bounds,
            left_to_the_coordinator=left,
            parameters=declared,
            tables=tables,
            columns=columns,
            places={**source.places, extends.KEY: self.resolved.at},
            warnings=tuple(each for each in self.resolved.placed(self.report.mistakes) if each.severity == "warning"),
            text=whole.text(self.resolved),
            sources=sources,
            extends=self.resolved.extends,
        )

    def _resource(self) -> str | None:
        value = self.found.get("resource")
        if value is None or value.text not in RESOURCES:
            near = errors.nearest(value.text, RESOURCES) if value is not None else []
            found = f'found "{value.text}"' if value is not None else "it is missing"
            remedy = f"resource: {near[0]}" if near else ""
            expected = f"expected one of {', '.join(RESOURCES)}; {found}"
            self.report.add(value or self.found, "resource", expected, remedy=remedy)
            return None
        return value.text

    def _section(self, key: str, *, required: bool = False) -> YamlTree | None:
        value = self.found.get(key)
        if value is None or value.null:
            if required:
                self.report.add(self.found, key, "is missing")
            return None
        if value.kind != "map":
            self.report.mistakes += [
                Mistake(
                    self.file,
                    value.line,
                    value.column,
                    key,
                    f"expected names and values, found a {value.kind}",
                )
            ]
            return None
        return value

    def _expression(self, fields: FieldReader, scope: Scope, key: str, *, required: bool = False) -> Any:
        value = self.found.get(key)
        if value is None:
            if required:
                remedy = f"{key}: the column by which Kiva will know it, as account_no"
                self.report.add(self.found, key, "is missing", remedy=remedy)
            return None
        return fields.single(value, scope, key)

    def _left(self, resource: str, plans: Values[str, Any]) -> tuple[str, ...]:
        value = self.found.get("left_to_the_coordinator")
        known = [field.name for field in RESOURCES[resource].fields]
        names = []
        for item in value.items if value is not None else ():
            if item.text not in known:
                near = errors.nearest(item.text, known)
                remedy = f"nearest: {', '.join(near)}" if near else ""
                self.report.add(
                    item, "left_to_the_coordinator", f'Kiva has no such field: "{item.text}"', remedy=remedy
                )
            elif item.text in plans:
                remedy = "take it out of one of the two"
                self.report.add(item, "left_to_the_coordinator", f"{item.text} is mapped under fields", remedy=remedy)
            names.append(item.text)
        return tuple(names)

    def _required(self, resource: str, plans: Values[str, Any], left: tuple[str, ...], body: YamlTree | None) -> None:
        for field in RESOURCES[resource].fields:
            missing = field.required and field.name not in plans and body is not None
            # A field with a mistake of its own is not missing as well.
            if missing and body is not None and body.get(field.name) is None and not self.report.broken:
                where = "the coordinator cannot add it" if field.name in left else "is missing"
                self.report.add(body, f"fields.{field.name}", f"{where}: {field.doc}")

    def _marked(self, resource: str, where: str, origin: YamlTree) -> None:
        # Staff write about borrowers in notes: only those that somebody marked may leave the institution.
        if resource == "journal" and "like '" not in where.lower():
            message = "every note would be sent to Kiva, internal remarks about borrowers too"
            remedy = "note LIKE 'KIVA:%'"
            at = origin.get("where") or origin
            self.report.add(at, "source.where", message, remedy=remedy, severity="warning")

    def _clash(self, relations: Values[str, Relation]) -> None:
        section = self.found.get("relations")
        for name, _ in section.entries if section else ():
            if name.text in ("root", "row", "position") and name.text in relations:
                self.report.add(name, f"relations.{name.text}", f'"{name.text}" has a meaning of its own already')

    def _tables(self, fields: FieldReader) -> dict[str, lookup.LookupTable]:
        tables = {}
        for name, (at, path) in fields.tables.items():
            try:
                table = lookup.table(name, self.table_folders)
            except ConfigurationError as wrong:
                self.report.mistakes += wrong.mistakes
                continue
            if table is None:
                there = {file.name for folder in self.table_folders for file in (folder / "lookup").glob("*.csv")}
                near = errors.nearest(name, there)
                remedy = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(sorted(there)) or 'none'}"
                self.report.add(at, path, f"there is no code table lookup/{name}", remedy=remedy)
            else:
                tables[name] = table
        return tables


_ESTIMATE = "checks.scheduled"
"""What leaving a loan out of a report costs: said to a person, and no part of what is sent."""


def _estimates(source: SourceReader, fields: FieldReader) -> set[str]:
    """Relations of which only the estimate is made."""
    columns = (*source.columns, *fields.columns)
    return {each.owner for each in columns if each.path == _ESTIMATE} - {
        each.owner for each in columns if each.path.partition(".")[0] in ("fields", "checks") and each.path != _ESTIMATE
    }


def _fingerprint(
    found: YamlTree,
    declared: tuple[Parameter, ...],
    values: Values[str, object],
    tables: Values[str, lookup.LookupTable],
) -> str:
    """Of what the file means, not of its bytes: a comment or another order of the fields changes nothing."""
    meant = {
        "file": _meant(found),
        "parameters": {each.name: repr(values.get(each.name)) for each in declared},
        "tables": {name: dict(table.rows) for name, table in tables.items()},
    }
    text = json.dumps(meant, sort_keys=True, ensure_ascii=False)
    return f"{FORMAT}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _meant(found: YamlTree) -> Any:
    if found.kind == "map":
        return {name.text: _meant(value) for name, value in found.entries}
    return [_meant(item) for item in found.items] if found.kind == "list" else [found.type, found.text]
