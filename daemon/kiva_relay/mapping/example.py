"""Examples beside a mapping: rows in, a body or a refusal out. `NAME.test.yaml`, run by `kiva-relay mapping test`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from kiva_relay.config import yaml_reader, yaml_tree
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import ConfigurationError, Mistake
from kiva_relay.frozen import dataclass
from kiva_relay.mapping import mapper
from kiva_relay.mapping.lookup import Lists
from kiva_relay.mapping.origin import examples_of
from kiva_relay.mapping.plan import Document
from kiva_relay.resource.kind import CheckFacts
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.reader import Content

FILE = ("today", "cutoff", "timezone", "columns", "basis", "lists", "rows", "examples")
EXAMPLE = (
    "name",
    "today",
    "cutoff",
    "lists",
    "rows",
    "body",
    "has",
    "refused",
    "warnings",
    "waiting",
    "identity",
    "created_at",
    "checks",
)
EXPECTATIONS = ("body", "has", "refused", "warnings", "waiting", "identity", "created_at", "checks")


@dataclass(frozen=True)
class ExampleResult:
    """One example: whether it passed, and else what was expected (`-`) and what was found (`+`).

    `base` is the mapping whose example it is, as `extends:` names it; empty for the mapping's own. An example of the
    base that does not pass says what the mapping changes, and is no mistake.
    """

    name: str
    passed: bool
    diff: str = ""
    line: int = 0
    file: Path | None = None
    base: str = ""


def run(mapping: Document, *, file: Path | None = None) -> list[ExampleResult]:
    """Run the examples that stand beside a mapping, or those of `file`; none without a file.

    Raises ConfigurationError for a file that cannot be read.
    """
    file = file or mapping.examples
    if not file.is_file():
        return []
    found = tree_of(file)
    shared = {name.text: yaml_tree.plain(value) for name, value in found.entries if name.text != "examples"}
    examples = found.get("examples")
    each = [outcome(mapping, shared, example) for example in (examples.items if examples else ())]
    return [dataclasses.replace(one, file=file) for one in each]


def run_of_base(mapping: Document, *, own: Path | None = None) -> list[ExampleResult]:
    """Run the examples of the mapping that this one extends; none without a base, or without examples of it.

    An example of the mapping's own (in `own`, else beside it) takes the place of one of the same name.
    Raises ConfigurationError for a file that cannot be read.
    """
    base = next((each for each in mapping.bases if examples_of(each.file).is_file()), None)
    if base is None:
        return []
    own = own or mapping.examples
    examples = tree_of(own).get("examples") if own.is_file() else None
    names = {name.text for each in (examples.items if examples else ()) if (name := each.get("name")) is not None}
    results = run(mapping, file=examples_of(base.file))
    return [dataclasses.replace(one, base=base.called) for one in results if one.name not in names]


def tree_of(file: Path) -> YamlTree:
    """The file of examples as a tree; raises ConfigurationError with all its mistakes."""
    report = MistakeReport(file)
    found = yaml_reader.read(file, report)
    if found is not None and found.kind != "map":
        report.add(found, file.name, "expected `rows:` and `examples:`")
    for name, _ in found.entries if found is not None else ():
        if name.text not in FILE:
            report.add(name, name.text, "no such key", remedy=f"known: {', '.join(FILE)}")
    examples = found.get("examples") if found is not None else None
    for example in examples.items if examples is not None else ():
        for name, _ in example.entries:
            if name.text not in EXAMPLE:
                report.add(name, f"examples.{name.text}", "no such key", remedy=f"known: {', '.join(EXAMPLE)}")
        if not any(example.get(name) for name in EXPECTATIONS):
            report.add(example, "examples", "nothing is expected of it", remedy=f"one of: {', '.join(EXPECTATIONS)}")
    if found is None or any(mistake.severity == "error" for mistake in report.mistakes):
        raise ConfigurationError(report.quoted() or [Mistake(file, 0, 0, file.name, "cannot be read")])
    return found


def mapped(mapping: Document, shared: Mapping[str, Any], example: YamlTree) -> mapper.Mapped:
    """What comes of an example's rows; `shared` is what applies to all of the file."""
    mine: dict[str, Any] = yaml_tree.plain(example)
    own: dict[str, Any] = {key: mine[key] for key in ("today", "cutoff", "lists") if key in mine}
    content = _content(mapping, shared.get("rows") or {}, mine.get("rows") or {})
    return mapper.apply(mapping, content, context=_context({**shared, **own}))


def outcome(mapping: Document, shared: Mapping[str, Any], example: YamlTree) -> ExampleResult:
    """Run one example."""
    mine: dict[str, Any] = yaml_tree.plain(example)
    came = mapped(mapping, shared, example)
    expected = {key: mine[key] for key in EXPECTATIONS if key in mine}
    for key in ("refused", "warnings"):
        if key in expected:
            expected[key] = sorted(expected[key])
    found = _found(came, expected)
    wanted, got = _text(expected), _text(found)
    diff = "\n".join(difflib.unified_diff(wanted, got, "expected", "found", lineterm="", n=2))
    return ExampleResult(str(mine.get("name", "")), passed=wanted == got, diff=diff, line=example.line)


def _found(mapped: mapper.Mapped, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What came out, in the words in which the example expects it."""
    refused, warnings = _words(mapped.refusals), _words(mapped.warnings)
    everything = {
        "body": mapped.body,
        "has": {path: _at(mapped.body, path) for path in expected.get("has") or {}},
        "refused": refused,
        "warnings": warnings,
        "waiting": mapped.waiting,
        "identity": mapped.identity,
        "created_at": mapped.created_at,
        "checks": mapped.bounds,
    }
    found = {key: everything[key] for key in expected}
    # A body that was expected and not made: say why.
    if mapped.body is None and not {"refused", "waiting"} & set(expected):
        found |= {"refused": refused, "waiting": mapped.waiting}
    return found


def _words(reasons: Iterable[Refusal]) -> list[str]:
    return sorted(f"{reason.code} {reason.field}".strip() for reason in reasons)


def _at(body: Any, path: str) -> Any:
    value = body
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _context(shared: Mapping[str, Any]) -> mapper.Context:
    today = shared.get("today", date(2026, 1, 1))
    facts = CheckFacts(
        today=today,
        columns=shared.get("columns", 2),
        basis=shared.get("basis", "cumulative_principal"),
    )
    return mapper.Context(
        lists=_lists(shared.get("lists")),
        today=today,
        cutoff=shared.get("cutoff", today),
        timezone=shared.get("timezone", "UTC"),
        facts=facts,
        photos="sha256",
    )


def _lists(given: Mapping[str, Any] | None) -> Lists:
    """Kiva's lists as an example writes them: names, or names with their ids. None given: never read."""
    if given is None:
        return Lists()
    return Lists.of(
        {
            "activities": [{"activity": name, "activity_id": value} for name, value in _pairs(given, "activities")],
            "themes": [{"theme_type": name, "theme_type_id": value} for name, value in _pairs(given, "themes")],
            "locations": [{"full_name": name} for name, _ in _pairs(given, "locations")],
            "locales": [{"language_name": name, "language_id": value} for name, value in _pairs(given, "languages")]
            + [{"currency": name} for name, _ in _pairs(given, "currencies")],
        }
    )


def _pairs(given: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    names = given.get(kind) or {}
    return list(names.items()) if isinstance(names, Mapping) else [(name, name) for name in names]


def _content(mapping: Document, shared: Mapping[str, Any], mine: Mapping[str, Any]) -> Content:
    """The rows of an example: its own laid over the shared ones; a column that is not given is NULL."""
    columns: dict[str, set[str]] = {}
    for column in mapping.columns:
        columns.setdefault(column.owner, set()).add(column.name)
    rows = {
        name: _over(shared.get(name), mine[name]) if name in mine else shared.get(name) for name in {**shared, **mine}
    }
    related: dict[str, Any] = {}
    for relation in mapping.stream.relations:
        given = rows.get(relation.name)
        nulls = dict.fromkeys(columns.get(relation.name, ()), None)
        if isinstance(given, list):
            related[relation.name] = [{**nulls, **row} for row in given]
        else:
            related[relation.name] = [] if relation.many else (None if given is None else {**nulls, **given})
    root = {**dict.fromkeys(columns.get("", ()), None), **(rows.get("root") or {})}
    return Content(key=str(root.get(mapping.stream.key[0])), in_scope=True, root=root, related=related)


def _over(shared: Any, mine: Any) -> Any:
    return {**shared, **mine} if isinstance(shared, Mapping) and isinstance(mine, Mapping) else mine


def _text(value: Mapping[str, Any]) -> list[str]:
    data = orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    return data.decode().splitlines()


def _plain(value: Any) -> Any:
    # 250000 and 250000.00 are the same amount in an example.
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bool():
            return value
        case int() | Decimal():
            return orjson.Fragment(format(Decimal(value).normalize(), "f"))
        case datetime() | date():
            return value.isoformat()
        case _:
            return value
