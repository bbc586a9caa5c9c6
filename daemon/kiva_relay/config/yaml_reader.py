"""The one reader of YAML files: settings, mappings, examples. A tree, and every mistake at once.

A YAML parser stops at its first mistake. Here the line is mended in memory and the file read on. What people really
get wrong has a remedy of its own, which works when it is followed: a blank that is not a space (a tab, a non-breaking
one), a dash for a hyphen, a missing blank behind the colon, a second colon, a ` #` inside a value, quotes or brackets
that are not closed, lines that are not aligned, a second document, a key written twice, typographic quotes.
Everything else gets the parser's own words and the line.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import itertools
import re
import shlex
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode

from kiva_relay.config import yaml_line, yaml_repair, yaml_tree
from kiva_relay.config.mistake_report import LIMIT, MistakeReport
from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.errors import Mistake

# The longest of the ready-made mappings has 4 kB, the complete config.yaml 11 kB.
SIZE_LIMIT = 256 * 1024
DEPTH_LIMIT = 50
NODE_LIMIT = 20_000

# The file is read again after each line that was mended. How many of a long one are is bounded by the letters read in
# all: a second or two of work.
READ_AGAIN = 1024 * 1024

_TIGHT = re.compile(r"(?P<key>[\w\-]+):(?P<value>[^\s/].*)")


class _Excess(YAMLError):
    """More than anybody writes."""


class _Bounded(Composer):
    """ruamel.yaml's composer, which stops at `DEPTH_LIMIT` and `NODE_LIMIT` and follows no alias.

    With aliases a few lines can mean a million, or themselves. `anchors` collects where one is used.
    """

    def __init__(self, anchors: list[tuple[int, int]], loader: Any = None) -> None:
        super().__init__(loader)
        self.anchors_used = anchors
        self.nodes = 0
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        self.nodes += 1
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise _Excess("is nested too deeply")
        if self.nodes > NODE_LIMIT:
            raise _Excess(f"holds more than {NODE_LIMIT:,} values")
        if event.anchor:
            self.anchors_used.append((event.start_mark.line + 1, event.start_mark.column + 1))
            event.anchor = event.anchor if isinstance(event, AliasEvent) else None  # used twice, ruamel warns of it
        if isinstance(event, AliasEvent):
            self.parser.get_event()
            node = ScalarNode("tag:yaml.org,2002:str", "", event.start_mark, event.end_mark)
        else:
            node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(file: Path, report: MistakeReport) -> YamlTree | None:
    """The file as a tree, of an empty one a null; None when nothing of it can be read.

    Mistakes go into `report`, and the file's text.
    """
    text = _text(file, report)
    if text is None:
        return None
    report.text = text
    lines = yaml_tree.lines(text)
    # Looking for the end of a key, YAML reads on through a thousand brackets, and each costs as much as those before.
    if any(len(yaml_line.brackets(line)) > DEPTH_LIMIT for line in lines):
        report.whole("is nested too deeply")
        return None
    yaml_repair.ahead(lines, report)
    for _ in range(min(4 * LIMIT, 1 + READ_AGAIN // (len(text) + 1))):
        if report.full:
            break
        try:
            return _tree(lines, report)
        except MarkedYAMLError as mistake:
            if not yaml_repair.mended(lines, mistake, report):
                report.hide()
                return None
        except _Excess as excess:
            report.whole(str(excess))
            return None
        except YAMLError as mistake:  # a letter that no YAML file may hold, as U+0007
            at = text.count("\n", 0, getattr(mistake, "position", 0)) + 1
            remedy = "take this letter out; most editors do not show it"
            message = f"is no YAML: {getattr(mistake, 'reason', mistake)}"
            report.mistakes.append(Mistake(file, at, 1, "", message, remedy))
            return None
    report.whole("holds more mistakes than are said at once", "correct these and run it again")
    return None


def _tree(lines: list[str], report: MistakeReport) -> YamlTree | None:
    """The lines as a tree; raises what ruamel.yaml says of them."""
    anchors: list[tuple[int, int]] = []
    node = _composed("\n".join(lines) + "\n", anchors)
    if node is None:
        return YamlTree("scalar", 1, 1, type="null")
    if anchors:
        message = "an anchor (& or *) is not known here"
        remedy = "write it out; a text that begins with one of the two stands between quotes"
        report.mistakes += [Mistake(report.file, *place, "", message, remedy) for place in anchors[:LIMIT]]
        return None
    found = yaml_tree.of(node)
    report.hide()
    _look(found, report)
    _place(found, report)
    return found


def scalar(text: str) -> YamlTree | None:
    """One value as it may stand in a file: `5`, `true`, `[a, b]`; None for what is no YAML."""
    anchors: list[tuple[int, int]] = []
    try:
        node = _composed(text, anchors)
    except YAMLError:
        return None
    return None if node is None or anchors else yaml_tree.of(node)


def _composed(text: str, anchors: list[tuple[int, int]]) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = functools.partial(_Bounded, anchors)  # type: ignore[assignment]  # it is only called
    return yaml.compose(text)


def _text(file: Path, report: MistakeReport) -> str | None:
    """What stands in the file; None when it is no text, or longer than anybody writes."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError as reason:
        name = shlex.quote(str(file))
        away = f"a file is expected: mv {name} {name}.away" if isinstance(reason, IsADirectoryError) else ""
        report.whole(f"cannot be read: {reason.strerror}", away)
        return None
    if len(data) > SIZE_LIMIT:
        report.whole(f"is longer than {SIZE_LIMIT // 1024} kB")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        message = f"expected text in UTF-8, found the byte {data[error.start]:#04x}"
        name, copy = shlex.quote(str(file)), shlex.quote(f"{file}.utf-8")
        remedy = f"iconv -f {_encoding(data)} -t utf-8 {name} > {copy} && cp {copy} {name} && rm {copy}"
        report.mistakes.append(Mistake(file, line, column, "encoding", message, remedy))
        return None


def _encoding(data: bytes) -> str:
    """What the editor most likely saved the file in."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        data.decode("windows-1252")
    except UnicodeDecodeError:
        return "latin1"
    return "windows-1252"


def _look(found: YamlTree, report: MistakeReport) -> None:
    """What YAML does not notice: it reads something else than was written."""
    for path, each in found.maps():
        _doubled(path, each, report)
        if each.flow:
            _tight(path, each, report)
            _split(path, each, report)


def _place(found: YamlTree, report: MistakeReport) -> None:
    """Say of each mistake where in the document it is, now that there is a document."""
    paths = {(name.line, name.text): path for path, name in found.places()}
    report.mistakes = [
        dataclasses.replace(each, path=paths.get((each.line, each.path), each.path)) for each in report.mistakes
    ]


def _doubled(path: tuple[str, ...], each: YamlTree, report: MistakeReport) -> None:
    seen: dict[str, YamlTree] = {}
    for name, _ in each.entries:
        if name.text in seen:
            remedy = f"the first one stands on line {seen[name.text].line}; delete one of them"
            report.add(name, report.writing.named((*path, name.text)), "is written twice", remedy=remedy)
        seen[name.text] = name


def _tight(path: tuple[str, ...], each: YamlTree, report: MistakeReport) -> None:
    """`{since:all}` is one key without a value."""
    for name, value in each.entries:
        match = _TIGHT.fullmatch(name.text)
        if match and not name.quoted and value.null and not value.text:
            keys = (*path, match["key"])
            instead = report.writing.shown(keys, match["value"], f"{match['key']}: {match['value']}")
            report.add(
                name, report.writing.named((*path, name.text)), 'a blank is missing behind the ":"', remedy=instead
            )
            report.broken.add(name.line)


def _split(path: tuple[str, ...], each: YamlTree, report: MistakeReport) -> None:
    """`{text: a, b}` is `a`, and a key `b` without a value."""
    entries = list(each.entries)
    for number, (name, value) in enumerate(entries):
        # What follows without a value of its own was the rest of this one, behind a comma.
        rest = [
            stray
            for stray, nothing in itertools.takewhile(
                lambda one: one[1].null and not one[1].text and not _TIGHT.fullmatch(one[0].text), entries[number + 1 :]
            )
        ]
        if value.kind != "scalar" or value.quoted or value.null or not rest:
            continue
        whole = ", ".join([value.text, *(stray.text for stray in rest)])
        keys = (*path, name.text)
        instead = report.writing.shown(keys, whole, report.writing.line(keys, whole))
        report.add(value, report.writing.named(keys), "inside { } YAML ends the value at the comma", remedy=instead)
        report.broken.add(value.line)
