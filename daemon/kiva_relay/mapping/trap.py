"""YAML's own traps, recognised: what an expression becomes when YAML reads it first, and the line to write instead.

A YAML parser stops at its first mistake. Here the offending line is quoted in memory and the file read on, so that
all mistakes are said at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kiva_relay.errors import Mistake
from kiva_relay.mapping import repair, rewrite, tree
from kiva_relay.mapping.tree import MappingTree, MistakeReport

# The longest of the ready-made mappings has 4 kB.
SIZE_LIMIT = 256 * 1024

DEPTH_LIMIT = 50

# A file with more than this many unreadable lines is no mapping. After each it is read anew: of a long file fewer are
# told, for all the reading together is bounded by so many letters, a second or two of work.
REPAIRS = 50
READ_AGAIN = 1024 * 1024

_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def read(file: Path, report: MistakeReport) -> MappingTree | None:
    """The file as a tree; None when nothing of it can be read. Mistakes go into `report`."""
    text = _text(file, report)
    if text is None:
        return None
    report.text = text
    lines = tree.lines(text)
    repair.blanks(lines, report)
    if _deep(lines):
        report.mistakes.append(Mistake(file, 0, 0, file.name, "is nested too deeply"))
        return None
    repair.cut_by_comments(lines, report)
    for _ in range(min(REPAIRS, 1 + READ_AGAIN // (len(text) + 1))):
        try:
            node = YAML(typ="safe", pure=True).compose("\n".join(lines) + "\n")
        except MarkedYAMLError as mistake:
            if not repair.mended(lines, mistake, report):
                return None
            continue
        except YAMLError as mistake:
            report.mistakes.append(Mistake(file, 0, 0, file.name, f"is no YAML: {mistake}"))
            return None
        except RecursionError:
            report.mistakes.append(Mistake(file, 0, 0, file.name, "is nested too deeply"))
            return None
        if node is None:
            report.mistakes.append(Mistake(file, 0, 0, file.name, "the file is empty"))
            return None
        if _anchored("\n".join(lines) + "\n", report):
            return None
        found = tree.of(node)
        _look(found, lines, report)
        _place(found, report)
        return found
    message, remedy = "holds more mistakes than are told at once", "correct these and run it again"
    report.mistakes.append(Mistake(file, 0, 0, file.name, message, remedy))
    return None


def _text(file: Path, report: MistakeReport) -> str | None:
    """What stands in the file; None when it is no text, or longer than any mapping."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
        if len(data) > SIZE_LIMIT:
            report.mistakes.append(
                Mistake(file, 0, 0, file.name, f"is longer than {SIZE_LIMIT // 1024} kB: no mapping")
            )
            return None
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        report.mistakes.append(Mistake(file, 0, 0, file.name, "is not UTF-8", "save the file as UTF-8"))
    except OSError as reason:
        report.mistakes.append(Mistake(file, 0, 0, file.name, f"cannot be read: {reason.strerror}"))
    return None


def _anchored(text: str, report: MistakeReport) -> bool:
    """Whether YAML's anchors are used: with them a few lines can mean a million, or themselves."""
    if "&" not in text:  # parsing costs as much again as reading the file
        return False
    places = [
        (event.start_mark.line + 1, event.start_mark.column + 1)
        for event in YAML(typ="safe", pure=True).parse(text)
        if getattr(event, "anchor", None)
    ]
    message = "an anchor (& or *) is not known in a mapping"
    remedy = "write it out; a text that begins with one of the two stands between quotes"
    report.mistakes += [Mistake(report.file, line, column, "", message, remedy) for line, column in places]
    return bool(places)


def switch(scalar: MappingTree) -> str | None:
    """`true` or `false` for `yes`, `no` and their like, which are words in YAML 1.2; None for anything else."""
    return None if scalar.quoted else _SWITCHES.get(scalar.text.lower())


def _deep(lines: list[str]) -> bool:
    """More open brackets or more indentation than anybody writes: YAML would take minutes over it, or the stack."""
    depth = 0
    for line in lines:
        depth += sum(line.count(opening) for opening in "[{") - sum(line.count(closing) for closing in "]}")
        if depth > DEPTH_LIMIT or line.count("[") > DEPTH_LIMIT or len(line) - len(line.lstrip()) > 2 * DEPTH_LIMIT:
            return True
        if re.match(rf"\s*(?:- ){{{DEPTH_LIMIT}}}", line):
            return True
    return False


def _look(found: MappingTree, lines: list[str], report: MistakeReport) -> None:
    """The traps that YAML does not notice: it reads something else than what was written."""
    for each in found.walk():
        if each.kind != "map":
            continue
        _doubled(each, report)
        if each.flow:
            _split(each, report)
        _commented(each, lines, report)


def _place(found: MappingTree, report: MistakeReport) -> None:
    """Say of each trap where in the document it stands, now that there is a document."""
    paths = {(name.line, name.text): path for path, name in found.places()}
    report.mistakes = [
        dataclasses.replace(each, path=paths.get((each.line, each.path), each.path)) for each in report.mistakes
    ]


def _doubled(each: MappingTree, report: MistakeReport) -> None:
    seen: dict[Any, MappingTree] = {}
    for name, _ in each.entries:
        if name.text in seen:
            remedy = f"the first one stands on line {seen[name.text].line}; delete one of them"
            report.add(name, name.text, "is written twice", remedy=remedy)
        seen[name.text] = name


def _split(each: MappingTree, report: MistakeReport) -> None:
    entries = list(each.entries)
    for number, (name, value) in enumerate(entries):
        # What follows without a value of its own was the rest of this one, behind a comma.
        rest = [
            stray
            for stray, nothing in itertools.takewhile(
                lambda one: one[1].null and not one[1].text, entries[number + 1 :]
            )
        ]
        if value.kind != "scalar" or value.quoted or value.null or not rest:
            continue
        whole = ", ".join([value.text, *(stray.text for stray in rest)])
        line = (
            f"text: {json.dumps(whole, ensure_ascii=False)}"
            if name.text == "text"
            else rewrite.quoted(name.text, whole)
        )
        report.add(value, name.text, "inside { } YAML ends the value at the comma", remedy=line)
        report.broken.add(value.line)


def _commented(each: MappingTree, lines: list[str], report: MistakeReport) -> None:
    for name, value in each.entries:
        if value.kind != "scalar" or value.quoted or value.null or name.text != "text":
            continue
        rest = lines[value.line - 1][value.column - 1 :]
        if "\n" not in value.text and re.match(re.escape(value.text) + r"\s+#", rest):
            whole = rest if not each.flow else rest.rsplit("}", 1)[0]
            remedy = f"if it belongs to the text:   text: {json.dumps(whole.strip(), ensure_ascii=False)}"
            report.add(
                value,
                name.text,
                f'YAML takes all from " #" on for a comment; the text is "{value.text}"',
                remedy=remedy,
                severity="warning",
            )
