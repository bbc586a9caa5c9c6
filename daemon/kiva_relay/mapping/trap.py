"""YAML's own traps, recognised: what an expression becomes when YAML reads it first, and the line to write instead.

A YAML parser stops at its first mistake. Here the offending line is quoted in memory and the file read on, so that
all mistakes are said at once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kiva_relay.errors import Mistake
from kiva_relay.mapping import tree
from kiva_relay.mapping.tree import Report, Tree

# A file with more than this many unreadable lines is no mapping.
REPAIRS = 50

_LINE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):\s+(?P<value>.*\S)\s*$")
_CHOOSE = re.compile(r"^(?P<source>[^|]+?)\s*\|\s*choose\(\s*\{(?P<codes>[^}]*)\}\s*(?:,(?P<otherwise>[^)]*))?\)$")
_EXPRESSION = re.compile(r"[|~()\[\]{}'\"]|\b(?:or|and|if|else)\b|[-+]\s")
_WORDS = re.compile(r"^[^|~()\[\]{}]+$")
_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def read(file: Path, report: Report) -> Tree | None:
    """The file as a tree; None when nothing of it can be read. Mistakes go into `report`."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        report.mistakes.append(Mistake(file, 0, 0, file.name, "is not UTF-8", "save the file as UTF-8"))
        return None
    lines = _without_tabs(text.splitlines(), report)
    for _ in range(REPAIRS):
        try:
            node = YAML(typ="safe", pure=True).compose("\n".join(lines) + "\n")
        except MarkedYAMLError as mistake:
            if not _mended(lines, mistake, report):
                return None
            continue
        except YAMLError as mistake:
            report.mistakes.append(Mistake(file, 0, 0, file.name, f"is no YAML: {mistake}"))
            return None
        if node is None:
            report.mistakes.append(Mistake(file, 0, 0, file.name, "the file is empty"))
            return None
        found = tree.of(node)
        _look(found, lines, report)
        return found
    return None


def quoted(key: str, value: str) -> str:
    """The line with its value between quotes that YAML takes away again."""
    if '"' not in value:
        return f'{key}: "{value}"'
    return f"{key}: '" + value.replace("'", "''") + "'"


def words(key: str, text: str) -> str:
    """The line that sends these very words."""
    return f"{key}: {{text: {json.dumps(text, ensure_ascii=False)}}}"


def switch(scalar: Tree) -> str | None:
    """`true` or `false` for `yes`, `no` and their like, which are words in YAML 1.2; None for anything else."""
    return None if scalar.quoted else _SWITCHES.get(scalar.text.lower())


def looks_like_words(text: str) -> bool:
    """Whether a text that is no expression was meant to be sent as it is."""
    return bool(_WORDS.match(text.strip("'\""))) and not re.search(r"\s[-+]\s|\b(?:or|and|if|else)\b", text)


def _without_tabs(lines: list[str], report: Report) -> list[str]:
    clean = []
    for number, line in enumerate(lines, start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent:
            column = indent.index("\t") + 1
            message = "a tab; YAML wants blanks at the beginning of a line"
            report.mistakes.append(Mistake(report.file, number, column, "", message, "replace each tab by two blanks"))
            line = indent.replace("\t", "  ") + line.lstrip()  # noqa: PLW2901 - the mended line goes on
        clean.append(line)
    return clean


def _mended(lines: list[str], mistake: MarkedYAMLError, report: Report) -> bool:
    """Quote the line that YAML could not read, in memory; False when it cannot be found."""
    for mark in (mistake.problem_mark, mistake.context_mark):
        number = mark.line if mark is not None else -1
        match = _LINE.match(lines[number]) if 0 <= number < len(lines) else None
        if match and number + 1 not in report.broken:
            message, remedy = _explained(str(mistake.problem), match["key"], match["value"])
            column = (mark.column if mark is mistake.problem_mark else match.start("value")) + 1
            report.mistakes.append(Mistake(report.file, number + 1, column, match["key"], message, remedy))
            report.broken.add(number + 1)
            lines[number] = f'{match["head"]}{match["key"]}: "?"'
            return True
    mark = mistake.problem_mark or mistake.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    remedy = "correct this and run it again: there may be more mistakes behind it"
    report.mistakes.append(Mistake(report.file, line, column, "", f"is no YAML: {mistake.problem}", remedy))
    return False


def _explained(problem: str, key: str, value: str) -> tuple[str, str]:
    if "mapping values are not allowed" in problem or re.search(r":\s", value):
        return 'YAML sees a second ":" here', _with_colon(key, value)
    if value[0] in "'\"" and value.count(value[0]) % 2 == 0:
        return "the value begins between quotes and goes on behind them", quoted(key, value)
    if value[0] in "'\"":
        return "the quotes are not closed", f"{key}: {value}{value[0]}"
    if value[0] in "{[":
        return (
            f"the brackets are not closed ({problem})",
            "close them on the same line, or quote what is inside",
        )
    return f"YAML cannot read this ({problem})", quoted(key, value)


def _with_colon(key: str, value: str) -> str:
    chosen = _CHOOSE.match(value)
    if chosen:
        codes = ", ".join(part.replace("'", "").replace('"', "").strip() for part in chosen["codes"].split(","))
        otherwise = (chosen["otherwise"] or "refuse").split("=")[-1].strip().strip("'\"")
        return f"{key}: {{from: {chosen['source']}, choose: {{{codes}}}, else: {otherwise}}}"
    if value[0] == "{":
        return "put the text with the colon between double quotes"
    return quoted(key, value) if _EXPRESSION.search(value) else words(key, value.strip("'\""))


def _look(found: Tree, lines: list[str], report: Report) -> None:
    """The traps that YAML does not notice: it reads something else than what was written."""
    for each in found.walk():
        if each.kind != "map":
            continue
        _doubled(each, report)
        if each.flow:
            _split(each, report)
        _commented(each, lines, report)


def _doubled(each: Tree, report: Report) -> None:
    seen: dict[Any, Tree] = {}
    for name, _ in each.entries:
        if name.text in seen:
            remedy = f"the first one stands on line {seen[name.text].line}; delete one of them"
            report.add(name, name.text, "is written twice", remedy=remedy)
        seen[name.text] = name


def _split(each: Tree, report: Report) -> None:
    for (name, value), (stray, nothing) in zip(each.entries, each.entries[1:], strict=False):
        opened = value.text.count("(") > value.text.count(")")
        if value.kind == "scalar" and not value.quoted and opened and nothing.null:
            remedy = quoted(name.text, f"{value.text}, {stray.text}")
            report.add(value, name.text, "inside { } YAML ends the value at the comma", remedy=remedy)
            report.broken.add(stray.line)


def _commented(each: Tree, lines: list[str], report: Report) -> None:
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
