"""One line of a YAML file as people write it: its parts, and how it is written so that YAML reads what was meant."""

from __future__ import annotations

import json
import re

from kiva_relay.frozen import dataclass

TYPOGRAPHIC = "“”„«»‘’"  # noqa: RUF001 - these are meant
"""Quotes of a word processor: to YAML they are letters."""

_LINE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):\s+(?P<value>.*)$")
_KEY = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):(?:\s|$)")
_BLOCK = re.compile(r"(?::|^\s*-)\s+[|>][-+\d]*\s*(?:#.*)?$")
_SECOND_COLON = re.compile(
    r"(?P<key>[\w\-]+:\s+)(?P<words>[^\s,{}\[\]'\"][^,{}\[\]'\"]*:\s[^,{}\[\]'\"]*?)(?=\s*[,}\]])"
)
_CLOSING = {"{": "}", "[": "]"}
_BLANKS = re.compile(r"[ \t]+")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"")


@dataclass(frozen=True)
class Line:
    """`head` (blanks and hyphens), `key`, `value`, and the `comment` behind it; `start` is where the value begins."""

    head: str
    key: str
    value: str
    comment: str
    start: int


def read(line: str) -> Line | None:
    """The parts of `key: value`; None for anything else."""
    match = _LINE.match(line.rstrip())
    if match is None:
        return None
    value, comment = match["value"], ""
    bare = "".join("x" * len(part) if at % 2 else part for at, part in enumerate(_parts(value)))
    if hash_ := re.search(r"(?:^|\s)#", bare):
        value, comment = value[: hash_.start()].rstrip(), value[hash_.start() :].lstrip()
    return Line(match["head"], match["key"], value, comment, match.start("value")) if value else None


def key(line: str) -> tuple[int, str] | None:
    """How far in the key of a line begins, and the key; None for a line without one."""
    match = _KEY.match(line)
    return match and (match.end("head"), match["key"])


def indent(line: str) -> int:
    """How many blanks a line begins with."""
    return len(line) - len(line.lstrip(" "))


def around(lines: list[str], number: int) -> tuple[str, ...]:
    """The keys that line `number` (from 1) stands below, the outermost first, and its own."""
    found: list[tuple[int, str]] = []
    for line in lines[:number]:
        here = key(line)
        if here:
            found = [each for each in found if each[0] < here[0]] + [here]
    return tuple(name for _, name in found)


def texts(lines: list[str]) -> set[int]:
    """The numbers of the lines inside a text of several lines: behind `|` or `>`, or between quotes."""
    found: set[int] = set()
    block: int | None = None
    for number, line in enumerate(lines, start=1):
        if number in found:
            continue
        if block is not None and (not line.strip() or indent(line) > block):
            found.add(number)
            continue
        named = key(line)
        block = (named[0] if named else indent(line)) if _BLOCK.search(line) else None
        here = read(line)
        if here and here.value[0] in "'\"" and without_quoted(here.value).startswith(here.value[0]):
            end = next((n for n, below in enumerate(lines[number:], number + 1) if here.value[0] in below), number)
            found |= set(range(number + 1, end + 1))
    return found


def quoted(keys: tuple[str, ...], value: str) -> str:
    """The line with its value between quotes that YAML takes away again."""
    if '"' not in value and "\\" not in value:
        return f'{keys[-1]}: "{value}"'
    return f"{keys[-1]}: '" + value.replace("'", "''") + "'"


def inside(key: str, value: str) -> str:
    """The line for a value in brackets, in which YAML sees a colon too many."""
    whole = _SECOND_COLON.sub(lambda part: part["key"] + json.dumps(part["words"], ensure_ascii=False), value)
    return f"{key}: {whole}" if whole != value else "put the text with the colon between double quotes"


def closed(text: str) -> str:
    """The text with the brackets that it lacks at its end."""
    return text.rstrip().rstrip(",") + "".join(_CLOSING[bracket] for bracket in reversed(brackets(text)))


def brackets(text: str) -> list[str]:
    """The brackets that are open at the end of the text; those between quotes do not count."""
    found: list[str] = []
    for letter in without_quoted(text):
        if letter in _CLOSING:
            found.append(letter)
        elif found and letter == _CLOSING[found[-1]]:
            found.pop()
    return found


def without_quoted(text: str) -> str:
    """The text without what stands between quotes."""
    return "".join(_parts(text)[::2])


def without_tabs(line: str) -> str:
    """The line with a blank for each tab; those between quotes stay."""
    parts = enumerate(_parts(line))
    return "".join(part if at % 2 else _BLANKS.sub(_blank, part) for at, part in parts).rstrip()


def _blank(blanks: re.Match[str]) -> str:
    return " " if "\t" in blanks[0] else blanks[0]


def _parts(text: str) -> list[str]:
    """The text in parts: outside of quotes, between quotes, outside … Quotes that are not closed are letters."""
    parts: list[str] = []
    begin = at = 0
    marks = "'\""
    while at < len(text):
        quoted = _QUOTED.match(text, at) if text[at] in marks else None
        if quoted:
            parts += [text[begin:at], quoted[0]]
            begin = at = quoted.end()
            continue
        marks = marks.replace(text[at], "")  # without this, each one that is not closed would be looked for to the end
        at += 1
    return [*parts, text[begin:]]
