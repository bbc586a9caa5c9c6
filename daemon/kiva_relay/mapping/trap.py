"""YAML's own traps, recognised: what an expression becomes when YAML reads it first, and the line to write instead.

A YAML parser stops at its first mistake. Here the offending line is quoted in memory and the file read on, so that
all mistakes are said at once.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kiva_relay.errors import Mistake
from kiva_relay.mapping import tree
from kiva_relay.mapping.tree import Report, Tree

# The longest of the ready-made mappings has 4 kB.
SIZE_LIMIT = 256 * 1024

DEPTH_LIMIT = 50

# A file with more than this many unreadable lines is no mapping.
REPAIRS = 50

_LINE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):\s+(?P<value>.*\S)\s*$")
_CHOOSE = re.compile(r"^(?P<source>[^|]+?)\s*\|\s*choose\(\s*\{(?P<codes>[^}]*)\}\s*(?:,(?P<otherwise>[^)]*))?\)$")
_EXPRESSION = re.compile(r"[|~()\[\]{}'\"]|\b(?:or|and|if|else)\b|[-+]\s")
_CUT = re.compile(r":\s+(?P<words>[^\s,{}\[\]'\"][^,{}\[\]'\"]*\s(?P<hash>#)[^,{}\[\]'\"]*?)(?=\s*[,}\]])")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_WORDS = re.compile(r"^[^|~()\[\]{}]+$")
_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def read(file: Path, report: Report) -> Tree | None:
    """The file as a tree; None when nothing of it can be read. Mistakes go into `report`."""
    text = _text(file, report)
    if text is None:
        return None
    report.text = text
    lines = _without_tabs(text.splitlines(), report)
    if _deep(lines):
        report.mistakes.append(Mistake(file, 0, 0, file.name, "is nested too deeply"))
        return None
    _cut_by_comments(lines, report)
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
        return found
    return None


def _text(file: Path, report: Report) -> str | None:
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


def _anchored(text: str, report: Report) -> bool:
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
    return bool(_WORDS.match(text.strip("'\""))) and not re.search(r"\s[-+*/]\s|\b(?:or|and|if|else)\b", text)


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


def _cut_by_comments(lines: list[str], report: Report) -> None:
    """`{text: a # b}`: the bracket is closed by a comment, and YAML would blame the line below."""
    for number, line in enumerate(lines, start=1):
        match = _LINE.match(line)
        cut = match and _CUT.search(match["value"])
        if not match or not cut or match["value"][0] not in "{[":
            continue
        before = _QUOTED.sub("", match["value"][: cut.start("hash")])
        if _open(before) <= 0 or _open(_QUOTED.sub("", match["value"])) != 0:
            continue
        whole = f"{match['value'][: cut.start('words')]}{json.dumps(cut['words'], ensure_ascii=False)}"
        remedy = f"{match['key']}: {whole}{match['value'][cut.end('words') :]}"
        message = 'YAML takes all from " #" on for a comment, the bracket too'
        column = match.start("value") + cut.start("hash") + 1
        report.mistakes.append(Mistake(report.file, number, column, match["key"], message, remedy))
        report.broken.add(number)
        lines[number - 1] = f'{match["head"]}{match["key"]}: "?"'


def _open(text: str) -> int:
    return sum(text.count(each) for each in "{[") - sum(text.count(each) for each in "}]")


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
        line = f"text: {json.dumps(whole, ensure_ascii=False)}" if name.text == "text" else quoted(name.text, whole)
        report.add(value, name.text, "inside { } YAML ends the value at the comma", remedy=line)
        report.broken.add(value.line)


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
