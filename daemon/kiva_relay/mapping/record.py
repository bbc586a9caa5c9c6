"""Examples out of live rows, without what is personal; and examples brought up to date after an intended change."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from kiva_relay.config import yaml_tree
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import UsageError
from kiva_relay.mapping import example, mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.mapper import Context, Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.source.reader import Content

# Fields that are a person's own; columns that become one of them are masked.
PERSONAL = ("first_name", "last_name", "group_name", "description", "loanuse", "subject", "body")

_LISTED = {"activity_id": "activities", "theme_type_id": "themes", "location": "locations", "currency": "currencies"}


def recorded(mapping: Document, content: Content, *, context: Context, name: str) -> str:
    """One example as it stands in a file: the columns that the mapping reads, masked, and what comes of them."""
    masked = _masked(mapping, content)
    mapped = mapper.apply(mapping, masked, context=dataclasses.replace(context, photos="sha256"))
    rows: dict[str, Any] = {"root": masked.root} | {key: rows for key, rows in masked.related.items() if rows != []}
    lines = [
        f"  - name: {_written(name)}",
        f"    today: {context.today.isoformat()}",
        f"    cutoff: {context.cutoff.isoformat()}",
        f"    lists: {_written(_used(mapped, context.lists))}",
        "    rows:",
        *(f"      {key}: {_written(row)}" for key, row in rows.items()),
        *(f"    {key}: {_written(value)}" for key, value in _expected(mapped).items()),
    ]
    return "\n".join(lines) + "\n"


def append(file: Path, text: str, *, context: Context) -> str:
    """The whole file with one example more; a new one begins with what applies to all its examples."""
    if not file.is_file():
        facts = context.facts
        head = f"timezone: {context.timezone}\ncolumns: {facts.columns}\nbasis: {facts.basis}\nexamples:\n"
        return head + text
    before = file.read_text(encoding="utf-8")
    found = example.tree_of(file)
    if not found.entries or found.entries[-1][0].text != "examples" or found.entries[-1][1].flow:
        raise UsageError(f"{file}: `examples:` has to stand last, one example after the other.")
    return before.rstrip("\n") + "\n" + text


def updated(mapping: Document) -> str:
    """The examples' file with what comes of each row now in place of what was expected.

    Raises UsageError for an example that is written on one line.
    """
    file = mapping.examples
    lines = file.read_text(encoding="utf-8").splitlines()
    found = example.tree_of(file)
    examples = found.get("examples")
    shared = {name.text: yaml_tree.plain(value) for name, value in found.entries if name.text != "examples"}
    for each in reversed(examples.items if examples is not None else ()):
        if example.outcome(mapping, shared, each).passed:
            continue
        if each.flow:
            raise UsageError(f"{file}:{each.line}: an example on one line is not rewritten; change it by hand.")
        mapped = example.mapped(mapping, shared, each)
        kept = [name for name, _ in each.entries if name.text in example.EXPECTATIONS]
        now = _expected(mapped)
        if {name.text for name in kept} <= now.keys():
            now = {name.text: now[name.text] for name in kept}
        for number, (name, _) in reversed(list(enumerate(each.entries))):
            if name.text in example.EXPECTATIONS:
                after = each.entries[number + 1][0].line - 1 if number + 1 < len(each.entries) else _end(lines, name)
                lines[name.line - 1 : after] = []
        at = kept[0].line - 1
        indent = " " * (each.column - 1)
        lines[at:at] = [f"{indent}{key}: {_written(value)}" for key, value in now.items()]
    return "\n".join(lines) + "\n"


def _end(lines: list[str], name: YamlTree) -> int:
    """The number of lines up to the end of the value that begins beside `name`."""
    end = name.line
    for number in range(name.line, len(lines)):
        line = lines[number]
        if line.strip() and not line.lstrip().startswith("#"):
            if len(line) - len(line.lstrip()) < name.column:
                break
            end = number + 1
    return end


def _expected(mapped: Mapped) -> dict[str, Any]:
    if mapped.body is not None:
        return {"identity": mapped.identity, "body": mapped.body}
    if mapped.waiting is not None:
        return {"waiting": mapped.waiting}
    return {"refused": sorted(f"{reason.code} {reason.field}".strip() for reason in mapped.refusals)}


def _masked(mapping: Document, content: Content) -> Content:
    named: dict[str, set[str]] = {}
    personal: set[tuple[str, str]] = set()
    photos: set[tuple[str, str]] = set()
    for column in mapping.columns:
        named.setdefault(column.owner, set()).add(column.name)
        fields = re.split(r"[.\[\]]+", column.path)
        if set(fields) & set(PERSONAL) and fields[0] == "fields":
            personal.add((column.owner, column.name))
        if "image_encoded" in fields:
            photos.add((column.owner, column.name))

    def masked(owner: str, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: None if (owner, name) in photos else mask(value) if (owner, name) in personal else value
            for name, value in row.items()
            if name in named.get(owner, set())
        }

    related: dict[str, Any] = {}
    for name, rows in content.related.items():
        if isinstance(rows, list):
            related[name] = [masked(name, row) for row in rows]
        else:
            related[name] = None if rows is None else masked(name, rows)
    return dataclasses.replace(content, root=masked("", content.root or {}), related=related)


def mask(value: Any) -> Any:
    """A text with its letters and digits hidden; its length, its blanks and its `KIVA:` stay."""
    if not isinstance(value, str):
        return value
    mark = "KIVA:" if value.startswith("KIVA:") else ""
    rest = value.removeprefix(mark)
    hidden = "".join(
        "0" if each.isdigit() else ("X" if each.isupper() else "x") if each.isalpha() else each for each in rest
    )
    return mark + hidden


def _used(mapped: Mapped, lists: Lists) -> dict[str, Any]:
    """Of Kiva's lists, what the body holds."""
    used: dict[str, Any] = {}
    for name, kind in _LISTED.items():
        value = (mapped.body or {}).get(name)
        for known, id_of in lists.names.get(kind, {}).items():
            if value is not None and id_of == value:
                used.setdefault(kind, {})[known] = id_of
    return used


def _written(value: Any) -> str:
    """YAML on one line; numbers, dates and texts come back as what they are."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return (
                "{"
                + ", ".join(
                    f"{json.dumps(str(key), ensure_ascii=False)}: {_written(one)}" for key, one in value.items()
                )
                + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(_written(one) for one in value) + "]"
        case bytes():
            return "null"
        case _:
            return json.dumps(value, ensure_ascii=False)
