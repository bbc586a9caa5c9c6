"""A YAML file as a tree that knows where everything stands, and what was written to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from kiva_relay.errors import Mistake

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Tree:
    """One value of the file. `line` and `column` count from 1.

    A scalar keeps its `text` as written and whether it was `quoted`; `type` is what YAML takes it for (`str`, `int`,
    `float`, `bool`, `null`, `timestamp`). A map keeps its entries in order, doubled keys too.
    """

    kind: Literal["scalar", "map", "list"]
    line: int
    column: int
    type: str = "str"
    text: str = ""
    quoted: bool = False
    flow: bool = False
    entries: tuple[tuple[Tree, Tree], ...] = ()
    items: tuple[Tree, ...] = ()

    @property
    def null(self) -> bool:
        """Nothing stands there, or `null`."""
        return self.kind == "scalar" and self.type == "null"

    def get(self, key: str) -> Tree | None:
        """The value of a key; None without it."""
        return next((value for name, value in self.entries if name.text == key), None)

    def walk(self) -> Iterator[Tree]:
        """This value and all below it."""
        yield self
        for name, value in self.entries:
            yield from name.walk()
            yield from value.walk()
        for item in self.items:
            yield from item.walk()


@dataclass
class Report:
    """The mistakes of one file, gathered while it is read; `text` is what stood in it."""

    file: Path
    text: str = ""
    mistakes: list[Mistake] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)

    def add(
        self,
        at: Tree | None,
        path: str,
        message: str,
        *,
        remedy: str = "",
        offset: int = 0,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Note a mistake; `offset` is how many letters behind the beginning of the value it is."""
        line, column = (at.line, at.column + offset) if at else (0, 0)
        self.mistakes.append(Mistake(self.file, line, column, path, message, remedy, severity))


def of(node: Any) -> Tree:
    """The tree of a node of ruamel.yaml's composer."""
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    match node:
        case MappingNode():
            entries = tuple((of(key), of(value)) for key, value in node.value)
            return Tree("map", line, column, flow=bool(node.flow_style), entries=entries)
        case SequenceNode():
            items = tuple(of(item) for item in node.value)
            return Tree("list", line, column, flow=bool(node.flow_style), items=items)
        case ScalarNode():
            quoted = node.style in ("'", '"')
            kind = str(node.tag).removeprefix(_TAG)
            return Tree("scalar", line, column, type=kind, text=str(node.value), quoted=quoted)
        case _:
            raise TypeError(f"YAML gave a {type(node).__name__}")


def plain(tree: Tree) -> Any:
    """The value as Python's: numbers with a point are Decimal, moments aware when they say their zone."""
    if tree.kind == "map":
        return {_key(name): plain(value) for name, value in tree.entries}
    if tree.kind == "list":
        return [plain(item) for item in tree.items]
    return _scalar(tree)


def _key(tree: Tree) -> Any:
    return plain(tree) if tree.kind == "scalar" else tree.text


def _scalar(tree: Tree) -> Any:
    """What YAML takes it for, as Python's; what cannot be that after all (30 February, infinity) stays its text."""
    text = tree.text
    try:
        match tree.type:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if re.match(r"[-+]?0[box]", text) else int(text)
            case "float":
                number = Decimal(text.replace("_", ""))
                return number if number.is_finite() else text
            case "timestamp":
                return _moment(text)
            case _:
                return text
    except (ValueError, ArithmeticError):
        return text


def _moment(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
