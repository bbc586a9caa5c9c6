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
_OTHER_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class MappingTree:
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
    entries: tuple[tuple[MappingTree, MappingTree], ...] = ()
    items: tuple[MappingTree, ...] = ()

    @property
    def null(self) -> bool:
        """Nothing stands there, or `null`."""
        return self.kind == "scalar" and self.type == "null"

    def get(self, key: str) -> MappingTree | None:
        """The value of a key; None without it."""
        return next((value for name, value in self.entries if name.text == key), None)

    def walk(self) -> Iterator[MappingTree]:
        """This value and all below it."""
        yield self
        for name, value in self.entries:
            yield from name.walk()
            yield from value.walk()
        for item in self.items:
            yield from item.walk()

    def places(self, at: str = "") -> Iterator[tuple[str, MappingTree]]:
        """Every key with its place in the document: `fields.entreps[0].gender`."""
        for name, value in self.entries:
            path = f"{at}.{name.text}" if at else name.text
            yield path, name
            yield from value.places(path)
        for number, item in enumerate(self.items):
            yield from item.places(f"{at}[{number}]")


def lines(text: str) -> list[str]:
    """The lines as an editor counts them; what only YAML and Python take for the end of a line is a blank."""
    found = [_OTHER_ENDS.sub(" ", line) for line in re.split(r"\r\n|\r|\n", text)]
    return found[:-1] if found[-1] == "" else found


@dataclass
class MistakeReport:
    """The mistakes of one file, gathered while it is read; `text` is what stood in it.

    `broken` are the lines whose value is not what was written, `moved` those that begin elsewhere than written.
    """

    file: Path
    text: str = ""
    mistakes: list[Mistake] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)

    def add(
        self,
        at: MappingTree | None,
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

    def quoted(self) -> list[Mistake]:
        """The mistakes, each with its line as it stands in the file; those of a code table are not in it."""
        written = lines(self.text)
        return [each.quoting(written) if each.file == self.file else each for each in self.mistakes]


def of(node: Any) -> MappingTree:
    """The tree of a node of ruamel.yaml's composer."""
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    match node:
        case MappingNode():
            entries = tuple((of(key), of(value)) for key, value in node.value)
            return MappingTree("map", line, column, flow=bool(node.flow_style), entries=entries)
        case SequenceNode():
            items = tuple(of(item) for item in node.value)
            return MappingTree("list", line, column, flow=bool(node.flow_style), items=items)
        case ScalarNode():
            quoted = node.style in ("'", '"')
            kind = str(node.tag).removeprefix(_TAG)
            return MappingTree("scalar", line, column, type=kind, text=str(node.value), quoted=quoted)
        case _:
            raise TypeError(f"YAML gave a {type(node).__name__}")


def plain(tree: MappingTree) -> Any:
    """The value as Python's: numbers with a point are Decimal, moments aware when they say their zone."""
    if tree.kind == "map":
        return {_key(name): plain(value) for name, value in tree.entries}
    if tree.kind == "list":
        return [plain(item) for item in tree.items]
    return _scalar(tree)


def _key(tree: MappingTree) -> Any:
    return plain(tree) if tree.kind == "scalar" else tree.text


def _scalar(tree: MappingTree) -> Any:
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
