"""Mending, in memory, a line that YAML cannot read: so that it is explained, and the mistakes behind it are found too.

What ruamel.yaml says of a place is about its own parser; a person needs the line that she has to change, which often
stands above the one at which the parser gave up.
"""

from __future__ import annotations

import json
import re

from ruamel.yaml.error import MarkedYAMLError

from kiva_relay.config import yaml_line
from kiva_relay.config.mistake_report import MistakeReport
from kiva_relay.config.yaml_line import Line
from kiva_relay.errors import Mistake

# Blanks that are letters to YAML: those of a word processor or a web page, and those that nobody sees.
_FOREIGN = "".join(map(chr, [0xA0, 0x1680, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]))
_INDENT = re.compile(rf"[ \t{_FOREIGN}]*")
_BEHIND_COLON = re.compile(rf"^([\s{_FOREIGN}]*(?:-\s+)*[\w.\-]+:) *(?P<blank>[{_FOREIGN}])[ {_FOREIGN}]*(?=\S)")
_DASH = re.compile(r"(?P<indent> *)(?P<dash>[-\u2010-\u2015\u2212])(?= )")
_TIGHT = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+):(?P<value>\S.*)$")
_BARE = re.compile(r"^(?P<head>\s*(?:-\s+)*)(?P<key>[\w.\-]+)\s+(?P<value>\S.*)$")
_CUT = re.compile(r":\s+(?P<words>[^\s,{}\[\]'\"][^,{}\[\]'\"]*\s(?P<hash>#)[^,{}\[\]'\"]*?)(?=\s*[,}\]])")
_STEP = 2


def ahead(lines: list[str], report: MistakeReport) -> None:
    """Mend what YAML would misread without noticing, or blame another line for."""
    texts = yaml_line.texts(lines)
    code = [number for number in range(1, len(lines) + 1) if number not in texts]
    _indentation(lines, code, report)
    _foreign_blanks(lines, code, report)
    _dashes(lines, code, report)
    _cut_by_comments(lines, code, report)


def _indentation(lines: list[str], code: list[int], report: MistakeReport) -> None:
    """Replace tabs and foreign blanks at the beginning of a line by as many blanks as were meant."""
    levels: dict[int, int] = {}
    for number in code:
        line = lines[number - 1]
        indent = _INDENT.match(line)[0]  # type: ignore[index]  # it matches nothing, too
        foreign = next((at for at, letter in enumerate(indent) if letter != " "), None)
        if foreign is None:
            continue
        lines[number - 1] = line[len(indent) :]
        if not line[len(indent) :].strip() or line[len(indent)] == "#":
            continue  # an empty line, or a comment
        tabs = indent.count("\t")
        if tabs and tabs not in levels:
            levels[tabs] = _meant(tabs, lines[: number - 1], lines[number:])
        at = levels.get(tabs, len(indent))
        lines[number - 1] = " " * at + line[len(indent) :]
        message = f"{_called(indent[foreign])}; YAML wants blanks at the beginning of a line"
        remedy = f"begin the line with {at} blanks" if at else "begin the line without it"
        here = yaml_line.key(lines[number - 1])
        report.mistakes.append(Mistake(report.file, number, foreign + 1, here[1] if here else "", message, remedy))
        report.moved.add(number)
        if report.full:
            return


def _foreign_blanks(lines: list[str], code: list[int], report: MistakeReport) -> None:
    """Take away foreign blanks around a value; inside of a text they are letters like others."""
    for number in code:
        line = lines[number - 1]
        code_end = line.rstrip(" " + _FOREIGN)
        behind = _BEHIND_COLON.match(code_end)
        at = (
            behind.start("blank")
            if behind
            else next((n for n in range(len(code_end), len(line)) if line[n] != " "), -1)
        )
        here = yaml_line.read(line)
        if at < 0 or line.lstrip().startswith("#") or (here and here.comment and not behind):
            continue
        lines[number - 1] = _BEHIND_COLON.sub(r"\1 ", code_end)
        where = 'behind the ":"' if behind else "at the end of the line"
        _tell_line(lines, (number, at + 1), f"{_called(line[at])} {where}; to YAML it is a letter of the value", report)
        if report.full:
            return


def _dashes(lines: list[str], code: list[int], report: MistakeReport) -> None:
    """A dash in front of a list's item, which a word processor made of the hyphen."""
    lists: list[int] = []
    opens = False
    for number in code:
        line = lines[number - 1]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        lists = [level for level in lists if level <= yaml_line.indent(line)]
        item = _DASH.match(line)
        level = len(item["indent"]) if item else -1
        if item and item["dash"] != "-" and (opens or level in lists):
            lines[number - 1] = f"{item['indent']}-{line[item.end() :]}"
            message = f"a dash (U+{ord(item['dash']):04X}); an item of a list begins with a hyphen"
            key = "".join(yaml_line.around(lines, number)[-1:])
            report.mistakes.append(Mistake(report.file, number, item.end(), key, message, lines[number - 1].strip()))
        if item and (item["dash"] == "-" or opens) and level not in lists:
            lists.append(level)
        if report.full:
            return
        opens = lines[number - 1].partition(" #")[0].rstrip().endswith(":")


def _cut_by_comments(lines: list[str], code: list[int], report: MistakeReport) -> None:
    """`{text: a # b}`: the bracket is closed by a comment, and YAML would blame the line below."""
    for number in code:
        here = yaml_line.read(lines[number - 1])
        if here is None or here.value[0] not in "{[" or not here.comment or not yaml_line.brackets(here.value):
            continue
        whole = lines[number - 1][here.start :].rstrip()
        cut = _CUT.search(whole)
        if not cut or yaml_line.brackets(whole):
            continue
        words = json.dumps(cut["words"], ensure_ascii=False)
        instead = f"{here.key}: {whole[: cut.start('words')]}{words}{whole[cut.end('words') :]}"
        message = 'YAML takes all from " #" on for a comment, the bracket too'
        column = here.start + cut.start("hash") + 1
        _tell(lines, (number, column), message, instead, report, comment=False)
        _replace(lines, number, here, report)


def mended(lines: list[str], mistake: MarkedYAMLError, report: MistakeReport) -> bool:
    """Explain what YAML could not read, and let it read on; False when the line cannot be found."""
    problem, context = str(mistake.problem), str(mistake.context)
    at, since = _place(mistake.problem_mark), _place(mistake.context_mark)
    # In this order: the line at which YAML gave up is often not the one that is wrong.
    return (
        _tab(lines, *at, report)
        or ("another document" in problem and _second(lines, at[0], report))
        or ("flow" in context and _bracket(lines, *since, report))
        or (("found '}'" in problem or "found ']'" in problem) and _too_many(lines, *at, report))
        or ("simple key" in context and _no_key(lines, *since, report))
        or ("quoted scalar" in context and _open_quotes(lines, since[0], since[0], report))
        or ("found '<scalar>'" in problem and _open_quotes(lines, since[0], at[0] - 1, report))
        or ("found '<scalar>'" in problem and _below_a_comment(lines, *at, report))
        or ("mapping values" in problem and _first_key(lines, at[0], report))
        or _shifted(lines, *at, problem, report)
        or _value(lines, *at, problem, report)
        or ("flow" in context and _value(lines, *since, problem, report))
        or _unknown(*at, problem, report)
    )


def _place(mark: object) -> tuple[int, int]:
    """Line and column, from 1; 0 and 0 for none."""
    line, column = getattr(mark, "line", -1), getattr(mark, "column", -1)
    return line + 1, column + 1


def _called(letter: str) -> str:
    return "a tab" if letter == "\t" else f"a blank that is not a space (U+{ord(letter):04X})"


def _tab(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """A tab where YAML wants a blank: behind a colon or a hyphen, or behind the value."""
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if line[column - 1 : column] != "\t":
        return False
    before = line[: column - 1].rstrip()
    lines[number - 1] = yaml_line.without_tabs(line)
    if lines[number - 1] == line or number in report.moved:  # between apostrophes that are no quotes
        lines[number - 1] = f"{before} {line[column:].lstrip()}".rstrip()
        if number in report.moved:
            return True
    report.moved.add(number)
    where = 'behind the ":"' if before.endswith(":") else "in this line"
    return _tell_line(lines, (number, column), f"a tab {where}; YAML wants a blank", report)


def _second(lines: list[str], number: int, report: MistakeReport) -> bool:
    lines[number - 1] = ""
    message = "a second document begins here; the relay reads one"
    report.mistakes.append(Mistake(report.file, number, 1, "", message, "delete this line"))
    return True


def _bracket(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`{a: b` without its end."""
    here = _free(lines, number, report)
    if here is None or here.value[0] not in "{[" or not yaml_line.brackets(here.value):
        return False
    following = lines[number] if number < len(lines) else ""
    if not yaml_line.key(following) and following.strip():
        return False  # it goes on in the next line
    opened = " and ".join(yaml_line.brackets(here.value))
    instead = f"{here.key}: {yaml_line.closed(here.value)}"
    _tell(lines, (number, column), f"{opened} is opened and not closed", instead, report)
    return _replace(lines, number, here, report)


def _too_many(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`{a: b}}`."""
    if _free(lines, number, report) is None:
        return False
    line = lines[number - 1]
    lines[number - 1] = line[: column - 1] + line[column:]
    return _tell_line(lines, (number, column), f"{line[column - 1]} closes nothing", report)


def _first_key(lines: list[str], number: int, report: MistakeReport) -> bool:
    """`key:value` as the first line of a section: YAML takes it for a text, and blames the next line."""
    above = [n for n in range(1, number) if lines[n - 1].strip() and not lines[n - 1].lstrip().startswith("#")][-2:]
    opener, first = [lines[n - 1] for n in above] if len(above) > 1 else ("", "")
    if not opener.partition(" #")[0].rstrip().endswith(":") or yaml_line.key(first) or above[1] in report.broken:
        return False
    return yaml_line.indent(first) == yaml_line.indent(lines[number - 1]) and _no_key(
        lines, above[1], yaml_line.indent(first) + 1, report
    )


def _no_key(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """`key:value`, `key value`, or a line that was cut."""
    line = lines[number - 1]
    for shape, message in ((_TIGHT, 'a blank is missing behind the ":"'), (_BARE, 'a ":" is missing behind the name')):
        match = shape.match(line)
        if match and number not in report.broken:
            lines[number - 1] = f"{match['head']}{match['key']}: {match['value']}"
            report.broken.add(number)
            return _tell_line(lines, (number, column), message, report)
    cut = "" if report.writing.hides((), line) else line.strip()
    lines[number - 1] = ""
    report.broken.add(number)
    message = 'is no "name: value"; was the file cut here?'
    report.mistakes.append(Mistake(report.file, number, column, cut, message, "complete the line, or delete it"))
    return True


def _open_quotes(lines: list[str], first: int, last: int, report: MistakeReport) -> bool:
    """A value whose quotes end lines below, at the next quotes that somebody wrote."""
    for number in range(max(first, 1), min(last, len(lines)) + 1):
        here = _free(lines, number, report)
        rest = yaml_line.without_quoted(here.value) if here else ""
        quotes = re.search(r"(?:^|[\s{\[,(|~])(['\"])", rest)
        if not here or not quotes or _goes_on(lines, number, quotes[1]):
            continue
        value = here.value
        instead = f"{here.key}: {value}{quotes[1]}" if value[0] == quotes[1] else f"close the {quotes[1]} on this line"
        column = here.start + value.rfind(quotes[1]) + 1
        _tell(lines, (number, column), "the quotes are not closed", instead, report)
        return _replace(lines, number, here, report)
    return False


def _goes_on(lines: list[str], number: int, quote: str) -> bool:
    """Whether the next line goes on with a text that was begun, and is no line of its own."""
    following = lines[number] if number < len(lines) else ""
    return bool(following.strip()) and not yaml_line.key(following) and quote in following


def _below_a_comment(lines: list[str], number: int, column: int, report: MistakeReport) -> bool:
    """A text of several lines that ends at the ` #` of the line above."""
    above = lines[number - 2] if number > 1 else ""
    if " #" not in above or yaml_line.key(lines[number - 1]):
        return False
    lines[number - 1] = ""
    report.broken.add(number)
    key = lines[number - 2].split(":")[0].strip()
    message = "the text of the line above ended at its comment, so this line belongs to nothing"
    remedy = "take the comment out of the text"
    report.mistakes.append(Mistake(report.file, number, column, key, message, remedy))
    return True


def _shifted(lines: list[str], number: int, column: int, problem: str, report: MistakeReport) -> bool:
    """A line that begins too far to the left or to the right."""
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    here = yaml_line.key(line)
    first_colon = here is not None and column == here[0] + len(here[1]) + 1 and "mapping values" in problem
    if here is None or not (first_colon or "but found '<block" in problem or "but found '?'" in problem):
        return False
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
    remedy = f"begin the line with {right} blanks" if right else "begin at the left edge"
    report.mistakes.append(Mistake(report.file, number, there + 1, here[1], message, remedy))
    return True


def _value(lines: list[str], number: int, column: int, problem: str, report: MistakeReport) -> bool:
    """A value that YAML takes for something else."""
    here = _free(lines, number, report)
    if here is None:
        return False
    message, instead = _explained(problem, yaml_line.around(lines, number), here.value, report)
    _tell(lines, (number, column), message, instead, report)
    return _replace(lines, number, here, report)


def _explained(problem: str, keys: tuple[str, ...], value: str, report: MistakeReport) -> tuple[str, str]:
    if "mapping values are not allowed" in problem or "but got ':'" in problem:
        instead = yaml_line.inside(keys[-1], value) if value[0] == "{" else report.writing.line(keys, value)
        return 'YAML sees a second ":" here', instead
    if value[0] in "'\"" and value.count(value[0]) % 2 == 0:
        return "the value begins between quotes and goes on behind them", yaml_line.quoted(keys, value)
    if value[0] in "{[":
        return f"YAML cannot read this ({problem})", "put a text inside of it between double quotes"
    return f"YAML cannot read this ({problem})", report.writing.line(keys, value)


def _unknown(number: int, column: int, problem: str, report: MistakeReport) -> bool:
    remedy = "correct this and run it again: there may be more mistakes behind it"
    report.mistakes.append(Mistake(report.file, number, column, "", f"is no YAML: {problem}", remedy))
    return False


def _free(lines: list[str], number: int, report: MistakeReport) -> Line | None:
    """The line as `key: value`; None for another line, or one that was replaced already."""
    if not 0 < number <= len(lines) or number in report.broken:
        return None
    return yaml_line.read(lines[number - 1])


def _replace(lines: list[str], number: int, here: Line, report: MistakeReport) -> bool:
    report.broken.add(number)
    lines[number - 1] = f'{here.head}{here.key}: "?"'
    return True


def _bare(line: str) -> str:
    """A line as a remedy shows it: without the blanks and the hyphen in front of it."""
    return re.sub(r"^\s*(?:-\s+)*", "", line).rstrip()


def _tell_line(lines: list[str], at: tuple[int, int], message: str, report: MistakeReport) -> bool:
    """A mistake whose remedy is the line as it was mended."""
    return _tell(lines, at, message, _bare(lines[at[0] - 1]), report)


def _tell(
    lines: list[str],
    at: tuple[int, int],
    message: str,
    instead: str,
    report: MistakeReport,
    *,
    comment: bool = True,
) -> bool:
    """A mistake, and the line to write; of a value that may be a secret, only how it is written."""
    keys = yaml_line.around(lines, at[0])
    here = yaml_line.read(lines[at[0] - 1])
    if here and comment and not instead.endswith(here.comment):
        instead = f"{instead}  {here.comment}"
    instead = report.writing.shown(keys, here.value, instead) if here else instead
    report.mistakes.append(Mistake(report.file, *at, keys[-1] if keys else "", message, instead))
    return True


def _levels(above: list[str]) -> list[int]:
    """How far in the lines begin that a line below these may belong to, the outermost first."""
    found: list[int] = []
    for line in above:
        here = yaml_line.key(line)
        if here is not None:
            found = [level for level in found if level < here[0]] + [here[0]]
    return found


def _meant(tabs: int, above: list[str], below: list[str]) -> int:
    """How far in a line begins that stands between these: inside the one above, or beside the next one."""
    levels = _levels(above)
    last = next((line for line in reversed(above) if line.strip() and not line.lstrip().startswith("#")), "")
    if not levels or last.rstrip().endswith(":"):
        return levels[-1] + _STEP if levels else 0
    keys = (line for line in below if yaml_line.key(line) and not line[yaml_line.indent(line)].isspace())
    following = next(map(yaml_line.indent, keys), 0)
    beside = tabs == 1 and following > 0 and following in levels
    return following if beside else levels[min(tabs, len(levels) - 1)]
