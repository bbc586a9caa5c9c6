"""What was written, as data, and where: the file, the environment and the command line in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

from kiva_relay.config import yaml_line, yaml_tree
from kiva_relay.config.mismatch import Whole
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.frozen import dataclass

# From the top of a document to one value in it: keys, and numbers in lists.
Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where something was written; line and column count from 1, and are 0 outside of files."""

    file: Path
    line: int = 0
    column: int = 0


@dataclass
class Written:
    """Settings as they were written; `keys` and `values` tell where, by path: `("kiva", "columns")`."""

    file: Path
    data: Any = None
    keys: dict[Steps, Origin] = field(default_factory=dict)
    values: dict[Steps, Origin] = field(default_factory=dict)

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


def of(tree: YamlTree, report: MistakeReport) -> Written:
    """What a file holds; of a key that is written twice, the first value."""
    written = Written(report.file)
    written.data = {} if tree.null else _data(tree, (), written, report)
    return written


def plain(tree: YamlTree) -> Any:
    """A value as Python's, as it is given outside of the file."""
    return _data(tree, (), Written(Path()), MistakeReport(Path()))


def dotted(path: Iterable[str | int]) -> str:
    """A path as people read it: `kiva.timeout.read`, `mappings[2]` (the second)."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _data(tree: YamlTree, path: Steps, written: Written, report: MistakeReport) -> Any:
    written.values[path] = Origin(report.file, tree.line, tree.column)
    if tree.kind == "list":
        return [_data(item, (*path, at), written, report) for at, item in enumerate(tree.items)]
    if tree.kind == "scalar":
        return _typographic(tree, path, report) or _scalar(tree)
    data: dict[str, Any] = {}
    for name, value in tree.entries:
        inner = (*path, name.text)
        if name.text in data:
            continue
        written.keys[inner] = Origin(report.file, name.line, name.column)
        data[name.text] = _data(value, inner, written, report)
        if data[name.text] is None:  # of nothing, the parser says that it stands where the next thing begins
            written.values[inner] = written.keys[inner]
    return data


def _scalar(tree: YamlTree) -> Any:
    """A whole number keeps its digits (`Whole`), a fraction is a `Decimal`."""
    value = yaml_tree.plain(tree)
    return Whole(value, tree.text) if type(value) is int else value


def _typographic(tree: YamlTree, path: Steps, report: MistakeReport) -> str:
    """A value between the quotes of a word processor, without them; empty for any other."""
    text = tree.text
    if tree.quoted or len(text) < 2 or not {text[0], text[-1]} <= set(yaml_line.TYPOGRAPHIC):  # noqa: PLR2004 - two quotes
        return ""
    inside = text.strip(yaml_line.TYPOGRAPHIC).strip()
    keys = tuple(part for part in path if isinstance(part, str))
    remedy = report.writing.shown(keys, inside, yaml_line.quoted(keys, inside))
    report.add(tree, dotted(path), "these quotes are letters to YAML, and a part of the value", remedy=remedy)
    return inside
