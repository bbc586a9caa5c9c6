"""YAML as data that still knows where it was written: each key and value has its line and column.

Scalars become what YAML 1.2 says, except that a whole number keeps its digits (`Whole`) and a fraction is a
`Decimal`. Tabs, double keys and broken lines are collected as mistakes instead of ending the reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kiva_relay.config.mismatch import Whole
from kiva_relay.errors import Mistake

# From the top of a document to one value in it: keys, and numbers in lists.
Steps = tuple[str | int, ...]

_REMEDIES = (
    (
        "mapping values are not allowed",
        'a value that holds ": " must stand in quotes; or the lines are not aligned',
    ),
    ("expected <block end>", "keys that belong together begin in the same column"),
    ("could not find expected ':'", "a key is followed by a colon and a space"),
    ("cannot start any token", 'a value that begins with @, `, % or a tab must stand in quotes: "…"'),
    ("found unexpected end of stream", "a quotation mark or a bracket is not closed"),
    ("expected ',' or '}'", "a brace is not closed, or a comma is missing"),
    ("expected ',' or ']'", "a bracket is not closed, or a comma is missing"),
    ("unknown escape character", "inside \"…\" a backslash is written twice; or use '…'"),
    ("but found another document", "only one document: take out the line ---"),
)


@dataclass(frozen=True)
class Origin:
    """Where something was written; line and column count from 1, and are 0 outside of files."""

    file: Path
    line: int = 0
    column: int = 0


@dataclass
class ConfigTree:
    """What a file holds; `keys` and `values` tell where, by path: `("kiva", "columns")`."""

    file: Path
    data: Any = None
    keys: dict[Steps, Origin] = field(default_factory=dict)
    values: dict[Steps, Origin] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def origin(self, path: Steps, *, key: bool = False) -> Origin:
        """Where a path was written; of what was not, where the nearest thing around it begins."""
        if path in (self.keys if key else self.values):
            return (self.keys if key else self.values)[path]
        while path := path[:-1]:
            if path in self.keys or path in self.values:
                return self.keys.get(path) or self.values[path]
        return Origin(self.file, 1, 1)

    def place(self, path: Steps, value: object, origin: Origin) -> None:
        """Lay a value over what is there; a scalar that stands in the way stays: it is a mistake anyway."""
        here = self.data
        for part in path[:-1]:
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
            if not isinstance(here, dict):
                return
        here[path[-1]] = value
        for known in (self.keys, self.values):
            for old in [old for old in known if old[: len(path)] == path]:
                del known[old]
            known[path] = origin


def read(text: str, file: Path) -> ConfigTree:
    """Read one YAML document; `data` is None when a broken line leaves nothing to look at."""
    tree = ConfigTree(file)
    text = _without_tabs(text, tree)
    try:
        node = YAML(pure=True).compose(text)
    except MarkedYAMLError as error:
        tree.mistakes.append(_broken(error, file))
        return tree
    except YAMLError as error:
        tree.mistakes.append(Mistake(file, 1, 1, "YAML", str(error).splitlines()[0]))
        return tree
    tree.data = {} if node is None else _plain(node, (), tree, ())
    return tree


def scalar(text: str) -> Any:
    """One value as it may stand in a YAML file: `5`, `true`, `[a, b]`; what is no YAML stays text."""
    tree = read(text, Path())
    return text if tree.mistakes else (tree.data or text if tree.data == {} else tree.data)


def _plain(node: Node, path: Steps, tree: ConfigTree, around: tuple[int, ...]) -> Any:
    tree.values[path] = _at(node, tree.file)
    if id(node) in around:
        tree.mistakes.append(_mistake(tree, path, "holds itself, by an alias", "write it out"))
        return None
    around = (*around, id(node))
    match node:
        case MappingNode():
            return _mapping(node, path, tree, around)
        case SequenceNode():
            return [_plain(item, (*path, at), tree, around) for at, item in enumerate(node.value)]
        case ScalarNode():
            return _scalar(node)
    raise TypeError(node)


def _mapping(node: MappingNode, path: Steps, tree: ConfigTree, around: tuple[int, ...]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, ScalarNode) else "?"
        inner = (*path, name)
        if name in data:
            first = tree.keys[inner].line
            place = _at(key, tree.file)
            tree.mistakes.append(
                Mistake(
                    tree.file,
                    place.line,
                    place.column,
                    dotted(inner),
                    f"stands twice: in line {first}, too",
                    "take one out",
                )
            )
            continue
        tree.keys[inner] = _at(key, tree.file)
        data[name] = _plain(value, inner, tree, around)
        if data[name] is None:  # of nothing, the parser says that it stands where the next thing begins
            tree.values[inner] = tree.keys[inner]
    return data


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    try:
        match str(node.tag).rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return Whole(_integer(text.replace("_", "")), text)
            case "float" if re.fullmatch(r"[-+]?[\d_]*\.?[\d_]*", text):
                return Decimal(text.replace("_", ""))
            case "timestamp":
                return date.fromisoformat(text)
    except ValueError:
        pass  # `2026-11-31`, `0o9`: it only looks like one, and stays text
    return text


def _integer(digits: str) -> int:
    return int(digits, 0) if re.match(r"[-+]?0[xob]", digits) else int(digits)


def _without_tabs(text: str, tree: ConfigTree) -> str:
    """The text with a guess in place of each tab that indents, so that the rest can be looked at, too."""
    lines: list[str] = []
    before = ""
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.lstrip(" \t")
        blank = line[: len(line) - len(content)]
        if "\t" in blank and content and not content.startswith("#"):
            at = blank.index("\t") + 1
            remedy = "indent with spaces, two for each level"
            tree.mistakes.append(Mistake(tree.file, number, at, "YAML", "a tab indents this line", remedy))
            opens = before.partition(" #")[0].rstrip().endswith(":")
            line = " " * (_indent(before) + 2 * opens) + content  # noqa: PLW2901 - this is the guess
        lines.append(line)
        before = line if content and not content.startswith("#") else before
    return "\n".join(lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _broken(error: MarkedYAMLError, file: Path) -> Mistake:
    problem = str(error.problem or error)
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in problem), "")
    # what is not closed is noticed at the end of the file; where it was opened is what a person looks for
    opened = error.context_mark if "closed" in remedy else None
    mark = opened or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Mistake(file, line, column, "YAML", f"this is not YAML: {problem}", remedy)


def _mistake(tree: ConfigTree, path: Steps, message: str, remedy: str) -> Mistake:
    place = tree.origin(path)
    return Mistake(tree.file, place.line, place.column, dotted(path), message, remedy)


def _at(node: Node, file: Path) -> Origin:
    return Origin(file, node.start_mark.line + 1, node.start_mark.column + 1)


def dotted(path: Iterable[str | int]) -> str:
    """A path as people read it: `kiva.timeout.read`, `mappings[2]` (the second)."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
