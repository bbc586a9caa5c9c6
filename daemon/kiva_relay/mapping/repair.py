"""Mending, in memory, a line that YAML cannot read: so that it is explained, and the mistakes behind it are found too.

What ruamel.yaml says of a place is about its own parser; a person needs the line that she has to change, which often
stands above the one at which the parser gave up.
"""

from __future__ import annotations

import json
import re

from ruamel.yaml.error import MarkedYAMLError

from kiva_relay.errors import Mistake
from kiva_relay.mapping import rewrite
from kiva_relay.mapping.tree import MistakeReport

_LINE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):\s+(?P<value>.*\S)\s*$")
_KEY = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):(?:\s|$)")
_TIGHT = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):(?P<value>\S.*)$")
_BARE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+)\s+(?P<value>\S.*)$")
_CUT = re.compile(r":\s+(?P<words>[^\s,{}\[\]'\"][^,{}\[\]'\"]*\s(?P<hash>#)[^,{}\[\]'\"]*?)(?=\s*[,}\]])")
_STEP = 2


def blanks(lines: list[str], report: MistakeReport) -> None:
    """Replace tabs and other blanks that are none, at the beginning of lines, by as many blanks as were meant."""
    levels: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        indent = line[: len(line) - len(line.lstrip())]
        foreign = next((at for at, letter in enumerate(indent) if letter != " "), None)
        if foreign is None or not line.strip():
            continue
        tabs = indent.count("\t")
        at = len(indent)
        if tabs:
            at = levels.setdefault(tabs, _meant(tabs, lines[: number - 1], lines[number:]))
        what = "a tab" if indent[foreign] == "\t" else f"a blank that is none (U+{ord(indent[foreign]):04X})"
        message = f"{what}; YAML wants blanks at the beginning of a line"
        told = f"begin the line with {at} blanks" if at else "begin the line without it"
        report.mistakes.append(Mistake(report.file, number, foreign + 1, "", message, told))
        report.moved.add(number)
        lines[number - 1] = " " * at + line.lstrip()


def cut_by_comments(lines: list[str], report: MistakeReport) -> None:
    """`{text: a # b}`: the bracket is closed by a comment, and YAML would blame the line below."""
    for number, line in enumerate(lines, start=1):
        match = _LINE.match(line)
        cut = match and _CUT.search(match["value"])
        if not match or not cut or match["value"][0] not in "{[":
            continue
        if not rewrite.brackets(match["value"][: cut.start("hash")]) or rewrite.brackets(match["value"]):
            continue
        whole = f"{match['value'][: cut.start('words')]}{json.dumps(cut['words'], ensure_ascii=False)}"
        instead = f"{match['key']}: {whole}{match['value'][cut.end('words') :]}"
        column = match.start("value") + cut.start("hash") + 1
        message = 'YAML takes all from " #" on for a comment, the bracket too'
        _replace(lines, number, match, report)
        _tell(report, (number, column), match["key"], message, instead)


def mended(lines: list[str], mistake: MarkedYAMLError, report: MistakeReport) -> bool:
    """Explain what YAML could not read, and let it read on; False when the line cannot be found."""
    problem, context = str(mistake.problem), str(mistake.context)
    at, since = _place(mistake.problem_mark), _place(mistake.context_mark)
    # In this order: the line at which YAML gave up is often not the one that is wrong.
    return (
        ("flow" in context and _bracket(lines, *since, report))
        or (("found '}'" in problem or "found ']'" in problem) and _too_many(lines, *at, report))
        or ("simple key" in context and _no_key(lines, *since, report))
        or ("quoted scalar" in context and _open_quotes(lines, since[0], since[0], report))
        or ("found '<scalar>'" in problem and _open_quotes(lines, since[0], at[0] - 1, report))
        or ("found '<scalar>'" in problem and _below_a_comment(lines, *at, report))
        or _shifted(lines, *at, problem, report)
        or _value(lines, *at, problem, report)
        or ("flow" in context and _value(lines, *since, problem, report))
        or _unknown(*at, problem, report)
    )


def _place(mark: object) -> tuple[int, int]:
    """Line and column, from 1; 0 and 0 for none."""
    line, column = getattr(mark, "line", -1), getattr(mark, "column", -1)
    return line + 1, column + 1


def _bracket(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`{a: b` without its end."""
    match = _free(lines, number, report)
    if match is None or match["value"][0] not in "{[" or not rewrite.brackets(match["value"]):
        return False
    following = lines[number] if number < len(lines) else ""
    if not _KEY.match(following) and following.strip():
        return False  # it goes on in the next line
    opened = " and ".join(rewrite.brackets(match["value"]))
    instead = f"{match['key']}: {rewrite.closed(match['value'])}"
    _replace(lines, number, match, report)
    return _tell(report, (number, column), match["key"], f"{opened} is opened and not closed", instead)


def _too_many(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`{a: b}}`."""
    match = _free(lines, number, report)
    if match is None:
        return False
    line = lines[number - 1]
    without = line[: column - 1] + line[column:]
    bracket = line[column - 1]
    lines[number - 1] = without
    return _tell(
        report, (number, column), match["key"], f"{bracket} closes nothing", without.strip().removeprefix("- ")
    )


def _no_key(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`key:value`, `key value`, or a line that was cut."""
    line = lines[number - 1]
    for shape, message in ((_TIGHT, 'a blank is missing behind the ":"'), (_BARE, 'a ":" is missing behind the name')):
        match = shape.match(line)
        if match and number not in report.broken:
            lines[number - 1] = f"{match['head']}{match['key']}: {match['value']}"
            report.broken.add(number)
            return _tell(report, (number, column), match["key"], message, f"{match['key']}: {match['value'].strip()}")
    lines[number - 1] = ""
    message = 'is no "name: value"; was the file cut here?'
    return _tell(report, (number, column), line.strip(), message, "complete the line, or delete it")


def _open_quotes(lines: list[str], first: int, last: int, report: MistakeReport) -> bool:
    """A value whose quotes end lines below, at the next quotes that somebody wrote."""
    for number in range(max(first, 1), min(last, len(lines)) + 1):
        match = _free(lines, number, report)
        rest = rewrite.without_quoted(match["value"]) if match else ""
        quotes = re.search(r"(?:^|[\s{\[,(|~])(['\"])", rest)
        if not match or not quotes or _goes_on(lines, number, quotes[1]):
            continue
        value = match["value"]
        instead = (
            f"{match['key']}: {value}{quotes[1]}" if value[0] == quotes[1] else f"close the {quotes[1]} on this line"
        )
        column = match.start("value") + value.rfind(quotes[1]) + 1
        _replace(lines, number, match, report)
        return _tell(report, (number, column), match["key"], "the quotes are not closed", instead)
    return False


def _goes_on(lines: list[str], number: int, quote: str) -> bool:
    """Whether the next line goes on with a text that was begun, and is no line of its own."""
    following = lines[number] if number < len(lines) else ""
    return bool(following.strip()) and not _KEY.match(following) and quote in following


def _below_a_comment(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """A text of several lines that ends at the ` #` of the line above."""
    above = lines[number - 2] if number > 1 else ""
    if " #" not in above or _KEY.match(lines[number - 1]):
        return False
    lines[number - 1] = ""
    key = lines[number - 2].split(":")[0].strip()
    message = "the text of the line above ended at its comment, so this line belongs to nothing"
    return _tell(report, (number, column), key, message, "take the comment out of the text")


def _shifted(lines: list[str], number: int, column: int, problem: str, report: MistakeReport) -> bool:
    """A line that begins too far to the left or to the right."""
    match = _KEY.match(lines[number - 1]) if 0 < number <= len(lines) else None
    first_colon = match is not None and column == match.end("key") + 1 and "mapping values" in problem
    if match is None or not (first_colon or "but found '<block" in problem or "but found '?'" in problem):
        return False
    line = lines[number - 1]
    there = len(line) - len(line.lstrip())
    levels = [level for level in _levels(lines[: number - 1]) if level != there] or [0]
    right = min(levels, key=lambda level: (abs(level - there), -level))
    lines[number - 1] = " " * right + line.lstrip()
    if number in report.moved:  # said already, and once more it is moved in silence
        again = number not in report.broken
        report.broken.add(number)
        return again
    if number - 1 in report.moved:  # so is the line above: it is one mistake
        report.moved.add(number)
        return True
    report.moved.add(number)
    message = f"begins {there} blanks in; the lines that it belongs to begin {right} blanks in"
    instead = f"begin the line with {right} blanks" if right else "begin at the left edge"
    return _tell(report, (number, there + 1), match["key"], message, instead)


def _value(lines: list[str], number: int, column: int, problem: str, report: MistakeReport) -> bool:
    """A value that YAML takes for something else."""
    match = _free(lines, number, report)
    if match is None:
        return False
    message, instead = _explained(problem, match["key"], match["value"])
    _replace(lines, number, match, report)
    return _tell(report, (number, column), match["key"], message, instead)


def _explained(problem: str, key: str, value: str) -> tuple[str, str]:
    if "mapping values are not allowed" in problem or "but got ':'" in problem:
        return 'YAML sees a second ":" here', rewrite.with_colon(key, value)
    if value[0] in "'\"" and value.count(value[0]) % 2 == 0:
        return "the value begins between quotes and goes on behind them", rewrite.quoted(key, value)
    if value[0] in "{[":
        return f"YAML cannot read this ({problem})", "put a text inside of it between double quotes"
    return f"YAML cannot read this ({problem})", rewrite.meant(key, value)


def _unknown(number: int, column: int, problem: str, report: MistakeReport) -> bool:
    instead = "correct this and run it again: there may be more mistakes behind it"
    _tell(report, (number, column), "", f"is no YAML: {problem}", instead)
    return False


def _free(lines: list[str], number: int, report: MistakeReport) -> re.Match[str] | None:
    """The line as `key: value`; None when it is none, or was replaced already."""
    if not 0 < number <= len(lines) or number in report.broken:
        return None
    return _LINE.match(lines[number - 1])


def _replace(lines: list[str], number: int, match: re.Match[str], report: MistakeReport) -> None:
    report.broken.add(number)
    lines[number - 1] = f'{match["head"]}{match["key"]}: "?"'


def _tell(report: MistakeReport, at: tuple[int, int], key: str, message: str, instead: str) -> bool:
    report.mistakes.append(Mistake(report.file, *at, key, message, instead))
    return True


def _levels(above: list[str]) -> list[int]:
    """How far in the lines begin that a line below these may belong to, the outermost first."""
    found: list[int] = []
    for line in above:
        match = _KEY.match(line)
        if match is None:
            continue
        indent = match.end("head")
        found = [level for level in found if level < indent] + [indent]
    return found


def _meant(tabs: int, above: list[str], below: list[str]) -> int:
    """How far in a line begins that stands between these: inside the one above, or beside the next one."""
    levels = _levels(above)
    last = next((line for line in reversed(above) if line.strip() and not line.lstrip().startswith("#")), "")
    if not levels or last.rstrip().endswith(":"):
        return levels[-1] + _STEP if levels else 0
    following = next((len(line) - len(line.lstrip()) for line in below if _KEY.match(line)), -1)
    return following if tabs == 1 and following in levels else levels[min(tabs, len(levels) - 1)]
