"""SQL of ours around SQL of an administrator's: parameters found, everything else left as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.types import NullType

from kiva_relay import errors

CHUNK = 1000
"""Values in one IN list. Larger lists make one statement slow to plan instead of many quick ones."""

# Everything in which a colon is no parameter, then the parameter itself. The order decides.
_TOKEN = re.compile(
    r"""
      (?<!\w)[eE]'(?:[^'\\]|\\.|'')*'          # E'it\'s', PostgreSQL
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | `[^`]*`                           # MariaDB's names
    | --[^\n]*
    | /\*.*?\*/
    | (\$\w*\$).*?\1                    # $$dollar quotes$$
    | ::                                # a cast
    | (?<!\w):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


def names(sql: str) -> list[str]:
    """The `:parameters` that a piece of SQL uses, each once."""
    found = (match["name"] for match in _TOKEN.finditer(sql))
    return list(dict.fromkeys(name for name in found if name))


def fragment(sql: str, *, known: Iterable[str] | None = None) -> str:
    """An administrator's SQL as a piece of a larger text(): all its colons but those of parameters are escaped.

    Args:
        sql: an expression or one SELECT.
        known: the parameters that exist; None leaves them unchecked.
    """
    allowed = None if known is None else set(known)

    def shield(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match.group().replace(":", r"\:")
        if allowed is not None and name not in allowed:
            meant = errors.nearest(name, allowed)
            raise errors.UsageError(
                f"The SQL uses :{name}, and no parameter is called so"
                + (f"; did you mean :{meant[0]}?" if meant else ".")
            )
        return match.group()

    pieces: list[str] = []
    end = 0
    for match in _TOKEN.finditer(sql):
        pieces += (sql[end : match.start()].replace(":", r"\:"), shield(match))
        end = match.end()
    pieces.append(sql[end:].replace(":", r"\:"))
    # The line break ends a comment that would swallow what we write behind it.
    return "".join(pieces).strip().rstrip(";") + "\n"


def bind(sql: str, values: Mapping[str, object], lists: Mapping[str, Sequence[object]] | None = None) -> sa.TextClause:
    """A statement with its values bound untyped, so that the database reads each in its column's own type."""
    used = {match["name"] for match in _BOUND.finditer(sql)}
    bound = [sa.bindparam(name, value, type_=NullType()) for name, value in values.items() if name in used]
    bound += [
        sa.bindparam(name, list(members), type_=NullType(), expanding=True) for name, members in (lists or {}).items()
    ]
    return sa.text(sql).bindparams(*bound)


# What sa.text() takes for a parameter.
_BOUND = re.compile(r"(?<![:\w\\]):(?P<name>\w+)(?!:)")


def chunks(values: Iterable[tuple[object, ...]], *, width: int = 1) -> Iterator[list[tuple[object, ...]]]:
    """Value tuples in lists that one statement takes."""
    rest = iter(values)
    while chunk := list(islice(rest, max(1, CHUNK // width))):
        yield chunk


def within(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> tuple[str, list[object]]:
    """`(a, b) IN :kr_values`, and what to bind to it."""
    if len(columns) == 1:
        return f"{columns[0]} IN :kr_values", [row[0] for row in rows]
    return f"({', '.join(columns)}) IN :kr_values", list(rows)
