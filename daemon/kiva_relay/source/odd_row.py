"""A page with a value that cannot be read, in parts: the odd row, and the odd column of it, are found by halving."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from kiva_relay.source import failure, halves, value
from kiva_relay.source import stream as streams
from kiva_relay.source.reader import Content, Row
from kiva_relay.source.stream import ROOT, Stream

Ask = Callable[[Stream, Sequence[str], Mapping[str, Sequence[str]]], list[Content]]
"""Reads keys of a stream in a snapshot of their own; by relation, these columns only. Raises OddValue."""


def apart(stream: Stream, keys: Sequence[str], ask: Ask, columns_of: Callable[[str], Sequence[str]]) -> list[Content]:
    """The content of each key; what cannot be read in it is `value.NOT_READ`, or the content says that it is unread.

    Args:
        stream: whose page could not be read.
        keys: of the page.
        ask: reads.
        columns_of: the columns that are read of the root, or of a relation.
    """
    if len(keys) == 1:
        return [_one(stream, keys[0], ask, columns_of)]
    found: list[Content] = []
    for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
        try:
            found += ask(stream, half, {})
        except failure.OddValue:
            found += apart(stream, half, ask, columns_of)
    return found


def is_no_row(contents: Sequence[Content]) -> bool:
    """Whether it is the mapping or the MIS rather than some rows: of many in scope none could be read whole."""
    in_scope = [one for one in contents if one.in_scope]
    return len(in_scope) >= halves.ALL_OF and all(_is_odd(one) for one in in_scope)


def _is_odd(content: Content) -> bool:
    groups = [rows if isinstance(rows, list) else [rows or {}] for rows in (content.root, *content.related.values())]
    return bool(content.unread) or any(one is value.NOT_READ for rows in groups for row in rows for one in row.values())


def _one(stream: Stream, key: str, ask: Ask, columns_of: Callable[[str], Sequence[str]]) -> Content:
    """One root: each of its tables in turn is read without the columns in which something is odd."""
    without: dict[str, list[str]] = {}
    read: dict[str, Sequence[str]] = {}
    while True:
        try:
            (content,) = ask(stream, [key], read)
            return _marked(content, without)
        except failure.OddValue as odd:
            needed = streams.needed(stream, odd.of)
            every = [*columns_of(odd.of)]
            # Bits that are read apart may still fail together; then nobody knows the column.
            bad = [] if odd.of in without else _bad(functools.partial(ask, stream, [key]), odd.of, read, every, needed)
            if not bad:
                return _unread(stream, key, odd.of, ask)
            without[odd.of] = bad
            read[odd.of] = [one for one in every if one not in bad]


def _bad(
    ask: Callable[[Mapping[str, Sequence[str]]], list[Content]],
    of: str,
    read: Mapping[str, Sequence[str]],
    columns: Sequence[str],
    needed: Sequence[str],
) -> list[str]:
    """Those of the columns that cannot be read, but for the needed ones, which are read with each."""
    columns = [one for one in columns if one not in needed]
    try:
        ask({**read, of: [*needed, *columns]})
    except failure.OddValue as odd:
        if odd.of == of:
            half = len(columns) // 2
            parts = (columns[:half], columns[half:]) if half else ()
            return [one for some in parts for one in _bad(ask, of, read, some, needed)] if half else columns
    return []


def _unread(stream: Stream, key: str, of: str, ask: Ask) -> Content:
    """A root of which a part stays unread: is it there at all, and in scope?"""
    try:
        (content,) = ask(dataclasses.replace(stream, relations=()), [key], {ROOT: stream.key})
    except failure.OddValue:
        return Content(key, in_scope=True, root={}, unread=of)
    if not content.in_scope:
        return content
    return dataclasses.replace(content, root={}, related={}, unread=of)


def _marked(content: Content, without: Mapping[str, Sequence[str]]) -> Content:
    """The content, with what was left out standing as not read."""
    if content.root is None:
        return content

    def marked(of: str, row: Row) -> Row:
        return {**row, **dict.fromkeys(without.get(of, ()), value.NOT_READ)}

    related = {
        name: [marked(name, one) for one in rows] if isinstance(rows, list) else rows and marked(name, rows)
        for name, rows in content.related.items()
    }
    return dataclasses.replace(content, root=marked(ROOT, content.root), related=related)
