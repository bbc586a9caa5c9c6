"""A mapping as one YAML file, with what it extends: it loads again to the same fingerprint.

Above each part that differs from the last base stands a comment with the file and line that it came from.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from kiva_relay.config.yaml_tree import YamlTree
from kiva_relay.mapping.extends import Resolved
from kiva_relay.mapping.origin import Sources

_WIDTH = 116
_FLOW_WIDTH = 160
_STEP = "  "
# What YAML reads as it stands: on a line of its own, and between brackets, where a comma and others end it.
_PLAIN = re.compile(r"(?!.*(?::\s|\s#|:$|\s$))[A-Za-z_(][\x20-\x7e]*")
_PLAIN_INLINE = re.compile(r"[^\W\d][\w.]*(?:(?: |[()/<>=+~|'.-])+[\w.()]+)*")
# YAML 1.1 and other readers of the file take these for something else.
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def text(resolved: Resolved) -> str:
    """The whole mapping; a file that extends nothing is as it was written."""
    sources = resolved.sources
    if len(sources.files) == 1:
        return sources.files[0].text
    first, *_, last = sources.files
    lines = [
        f"# {first.called} with what it extends. Without a comment above it a part is as in {last.called}.",
        *(f"# Taken out: {path} ({_where(sources, line)})" for path, line in sorted(resolved.taken_out)),
        *_map(resolved.tree, sources, "", said=False),
    ]
    return "\n".join(lines) + "\n"


def _where(sources: Sources, line: int) -> str:
    source, number = sources.find(line)
    return f"{source.called}:{number}"


def _map(found: YamlTree, sources: Sources, indent: str, *, said: bool) -> Iterator[str]:
    """The entries of a map, one below the other; `said`: a comment further out says already where all of it is from."""
    for name, value in found.entries:
        key = _key(name)
        flow = _flow(value, len(indent) + len(key))
        comments = [] if said else list(_comments(name, value, sources, flow=flow is not None))
        yield from (f"{indent}# {comment}" for comment in comments)
        yield from _entry(f"{indent}{key}:", value, flow, sources, indent + _STEP, said=said or bool(comments))


def _entry(head: str, value: YamlTree, flow: str | None, sources: Sources, indent: str, *, said: bool) -> Iterator[str]:
    if flow is not None:
        yield f"{head} {flow}".rstrip()
    elif value.kind == "map":
        yield head
        yield from _map(value, sources, indent, said=said)
    elif value.kind == "list":
        yield head
        yield from _list(value, sources, indent, said=said)
    else:
        first, *rest = _block(value.text)
        yield f"{head} {first}"
        yield from (f"{indent}{line}".rstrip() if not line else f"{indent}{line}" for line in rest)


def _list(found: YamlTree, sources: Sources, indent: str, *, said: bool) -> Iterator[str]:
    for item in found.items:
        flow = _flow(item, len(indent))
        if flow is not None and not said:
            yield from (f"{indent}# {comment}" for comment in _comments(item, item, sources, flow=True))
        if flow is not None or item.kind == "scalar":
            yield f"{indent}- {flow if flow is not None else _quoted(item.text)}".rstrip()
        elif item.kind == "list":
            yield f"{indent}-"
            yield from _list(item, sources, indent + _STEP, said=said)
        else:
            lines = list(_map(item, sources, indent + _STEP, said=said))
            first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
            yield from (f"{indent}{line.lstrip()}" for line in lines[:first])
            yield f"{indent}- {lines[first][len(indent) + len(_STEP) :]}"
            yield from lines[first + 1 :]


def _comments(name: YamlTree, value: YamlTree, sources: Sources, *, flow: bool) -> Iterator[str]:
    """Where a part is from that is not as in the last base. Parts of a part say so themselves, unless on one line."""
    lines = [each.line for each in _leaves(value)]
    last = sources.files[-1]
    files = {sources.find(line)[0] for line in lines}
    if files == {last}:
        return
    if len(files) == 1:
        yield _where(sources, min(name.line, *lines) if sources.find(name.line)[0] in files else min(lines))
    elif flow:
        for path, part in _paths(value):
            if sources.find(part.line)[0] != last:
                yield f"{path}: {_where(sources, part.line)}"


def _leaves(value: YamlTree) -> Iterator[YamlTree]:
    return (each for _, each in _paths(value))


def _paths(value: YamlTree, path: str = "") -> Iterator[tuple[str, YamlTree]]:
    """What holds nothing further, with its place inside the value."""
    if not value.entries and not value.items:
        yield path, value
    for name, inner in value.entries:
        yield from _paths(inner, f"{path}.{name.text}" if path else name.text)
    for number, item in enumerate(value.items):
        yield from _paths(item, f"{path}[{number}]")


def _flow(value: YamlTree, before: int) -> str | None:
    """The value on the line of its key; None when it needs lines of its own."""
    if value.kind == "scalar":
        written = _scalar(value)
        return written if before + len(written) <= _WIDTH or value.type != "str" or " " not in value.text else None
    if not value.entries and not value.items:
        return "{}" if value.kind == "map" else "[]"
    # Behind a colon on a line of its own nothing can stand; between brackets the checker takes it for a mistake.
    if any(each.null and not each.text for each in _leaves(value)):
        return None
    written = _inline(value)
    return written if value.flow and before + len(written) <= _FLOW_WIDTH else None


def _inline(value: YamlTree) -> str:
    if value.kind == "map":
        return "{" + ", ".join(f"{_key(name)}: {_inline(inner)}" for name, inner in value.entries) + "}"
    if value.kind == "list":
        return "[" + ", ".join(_inline(item) for item in value.items) + "]"
    return _scalar(value, inline=True)


def _key(name: YamlTree) -> str:
    return _scalar(name, inline=True) if name.kind == "scalar" else _inline(name)


def _scalar(value: YamlTree, *, inline: bool = False) -> str:
    """On one line, and read as what it was: a number stays a number, a text a text."""
    if value.type != "str":
        return value.text
    read_as_it_stands = (_PLAIN_INLINE if inline else _PLAIN).fullmatch(value.text) is not None
    plain = read_as_it_stands and not value.quoted and value.text.casefold() not in _WORDS
    return value.text if plain else _quoted(value.text)


def _quoted(text: str) -> str:
    """Between double quotes; what cannot be seen is written as its number."""
    shown = "".join(_visible(each) for each in text)
    return f'"{shown}"'


def _visible(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return {"\n": "\\n", "\t": "\\t"}.get(letter, f"\\U{ord(letter):08x}")


def _block(text: str) -> list[str]:
    """A long text on several lines: folded where it has no lines of its own, else as it stands."""
    words = text.split(" ")
    if "\n" not in text and all(words) and text.isprintable():
        return [">-", *textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]
    lines = text.removesuffix("\n").split("\n")
    readable = all(line.isprintable() and line.rstrip() == line for line in lines)
    if readable and lines[0] and lines[0] == lines[0].lstrip() and lines[-1]:
        return ["|" if text.endswith("\n") else "|-", *lines]
    return [_quoted(text)]
