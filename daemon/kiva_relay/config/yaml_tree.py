"""A YAML file as a tree that knows where everything stands, and what was written to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from kiva_relay.frozen import dataclass

_TAG = "tag:yaml.org,2002:"
_OTHER_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class YamlTree:
    """One value of the file. `line` and `column` count from 1.

    A scalar keeps its `text` as written and whether it was `quoted`; `type` is what YAML 1.2 takes it for (`str`,
    `int`, `float`, `bool`, `null`, `timestamp`). A map keeps its entries in order, and a key that is written twice.
    """

    kind: Literal["scalar", "map", "list"]
    line: int
    column: int
    type: str = "str"
    text: str = ""
    quoted: bool = False
    flow: bool = False
    entries: tuple[tuple[YamlTree, YamlTree], ...] = ()
    items: tuple[YamlTree, ...] = ()

    @property
    def null(self) -> bool:
        """Nothing stands there, or `null`."""
        return self.kind == "scalar" and self.type == "null"

    def get(self, key: str) -> YamlTree | None:
        """The value of a key; None without it."""
        return next((value for name, value in self.entries if name.text == key), None)

    def maps(self, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], YamlTree]]:
        """This value and all below it that are maps, each with the keys that lead to it."""
        if self.kind == "map":
            yield at, self
        for name, value in self.entries:
            yield from value.maps((*at, name.text))
        for item in self.items:
            yield from item.maps(at)

    def places(self, at: str = "") -> Iterator[tuple[str, YamlTree]]:
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


def of(node: Any) -> YamlTree:
    """The tree of a node of ruamel.yaml's composer."""
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    match node:
        case MappingNode():
            entries = tuple((of(key), of(value)) for key, value in node.value)
            return YamlTree("map", line, column, flow=bool(node.flow_style), entries=entries)
        case SequenceNode():
            items = tuple(of(item) for item in node.value)
            return YamlTree("list", line, column, flow=bool(node.flow_style), items=items)
        case ScalarNode():
            quoted = node.style in ("'", '"')
            kind = str(node.tag).removeprefix(_TAG)
            return YamlTree("scalar", line, column, type=kind, text=str(node.value), quoted=quoted)
        case _:
            raise TypeError(f"YAML gave a {type(node).__name__}")


def plain(tree: YamlTree) -> Any:
    """The value as Python's: numbers with a point are Decimal, moments aware when they say their zone."""
    if tree.kind == "map":
        return {_key(name): plain(value) for name, value in tree.entries}
    if tree.kind == "list":
        return [plain(item) for item in tree.items]
    return _scalar(tree)


def _key(tree: YamlTree) -> Any:
    return plain(tree) if tree.kind == "scalar" else tree.text


def _scalar(tree: YamlTree) -> Any:
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
