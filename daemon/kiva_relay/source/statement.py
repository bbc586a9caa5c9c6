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

_SIZES = (1, 4, 16, 64, 256, CHUNK)
"""How long the lists are: of each length there would be one more statement in the DBA's pg_stat_statements."""

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


# What a read-only transaction lets through although it reaches further: other sessions, files and programs of the
# server, its settings, locks of others, and text that is run as SQL. Looked for in all of the text, in its quotes
# too, for a reader of SQL that a quote fools must not be what it hangs on.
_REACHES = re.compile(
    r"""\b(?:
      pg_(?:terminate_backend|cancel_backend|reload_conf|rotate_logfile|switch_wal|promote|create_restore_point|notify
           |backup_start|backup_stop|start_backup|stop_backup|wal_replay_pause|wal_replay_resume|export_snapshot
           |read_file|read_binary_file|read_server_files|file_\w+|ls_\w*dir|stat_file|stat_reset\w*|log_\w+
           |(?:try_)?advisory_\w+|\w*slot\w*|replication_origin_\w+|logical_emit_message|import_system_collations)
    | set_config | lo_\w+ | loread | lowrite | dblink\w* | query_to_xml\w* | cursor_to_xml\w* | ts_stat | crosstab\w*
    | connectby | nextval | setval
    | load_file | sys_exec | sys_eval | get_lock | release_lock | release_all_locks
    | master_\w*wait | source_pos_wait | wait_for_executed_gtid_set
    | load_extension | fts3_tokenizer | writefile
    )\b(?=(?:\s|"|`|/\*.*?\*/|--[^\n]*\n)*\()
    | \b(?:outfile|dumpfile)(?=(?:\s|/\*.*?\*/)*['"])
    | \bu&" | /\*m?! | \bfor\s+(?:no\s+key\s+|key\s+)?(?:update|share)\b(?=\s*(?:\Z|[);]|--|/\*|of\b|nowait|skip|wait))
    | \block\s+in\s+share\s+mode\b | \binto\s+@
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)

# In front of the first word no quote can stand that would hide it.
_BEGINS = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|VALUES|TABLE)\b", re.DOTALL | re.IGNORECASE)


def refuse(sql: str) -> None:
    """Refuse by name what reaches further than a read-only transaction holds.

    Raises:
        UsageError: naming it.
    """
    if (found := _REACHES.search(sql)) is not None:
        named = " ".join(found.group().split())
        raise errors.UsageError(
            f"The SQL uses {named}, which reaches further than reading.",
            hint="A mapping reads tables and views, with functions that only compute. Make a view of what it needs.",
        )


def whole(sql: str) -> str:
    """An administrator's statement that stands alone, without parameters.

    Raises:
        UsageError: it is no SELECT.
    """
    if not _BEGINS.match(sql):
        raise errors.UsageError("The SQL has to begin with SELECT or WITH.")
    return fragment(sql, known=())


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
    refuse(sql)
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


def plain(sql: str) -> str:
    """A quoted name as it stands in what `bind` takes: a colon in it is no parameter's, as in the column "paid :on"."""
    return sql.replace(":", r"\:")


def bind(sql: str, values: Mapping[str, object], lists: Mapping[str, Sequence[object]] | None = None) -> sa.TextClause:
    """A statement with its values bound untyped, so that the database reads each in its column's own type."""
    sql = _TOKEN.sub(_name, sql)
    used = {match["name"] for match in _BOUND.finditer(sql)}
    bound = [sa.bindparam(name, value, type_=NullType()) for name, value in values.items() if name in used]
    bound += [
        sa.bindparam(name, list(members), type_=NullType(), expanding=True) for name, members in (lists or {}).items()
    ]
    return sa.text(sql).bindparams(*bound)


def _name(match: re.Match[str]) -> str:
    """A token; a colon in a quoted name (`a :b`, as spreadsheets have it) is no parameter."""
    found = match.group()
    return _COLON.sub(r"\\:", found) if found[0] in '"`' else found


_COLON = re.compile(r"(?<!\\):")

# What sa.text() takes for a parameter.
_BOUND = re.compile(r"(?<![:\w\\]):(?P<name>\w+)(?!:)")


def chunks(values: Iterable[tuple[object, ...]], *, width: int = 1) -> Iterator[list[tuple[object, ...]]]:
    """Value tuples in lists that one statement takes."""
    rest = iter(values)
    while chunk := list(islice(rest, max(1, CHUNK // width))):
        yield chunk


def within(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> tuple[str, list[object]]:
    """`(a, b) IN :kr_values`, and what to bind to it: the rows, the last one repeated up to one of a few lengths."""
    most = max(len(rows), CHUNK // len(columns))
    size = min(next((one for one in _SIZES if one >= len(rows)), most), most)
    rows = [*rows, *([rows[-1]] * (size - len(rows)))]
    if len(columns) == 1:
        return f"{columns[0]} IN :kr_values", [row[0] for row in rows]
    return f"({', '.join(columns)}) IN :kr_values", list(rows)
