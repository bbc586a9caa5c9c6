"""Which tables an administrator's SQL reads: what a role must be allowed to read."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
import sqlglot.errors
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from kiva_relay import errors

_ANYBODYS = ("dual", "information_schema", "pg_catalog")
_SPOKEN = {"postgresql": "postgres", "mariadb": "mysql", "sqlite": "sqlite"}


def tables(sql: str, *, dialect: str) -> list[str]:
    """The tables of a SELECT, each once and as the database calls it: `loan`, `books.ledger`.

    Not those that it makes itself (WITH), nor functions that give rows.

    Args:
        sql: one SELECT; `:parameters` may stand in it.
        dialect: by name, as `Dialect.name`.

    Raises:
        RelayError: it cannot be read.
    """
    try:
        select = sqlglot.parse_one(sql, read=_SPOKEN[dialect])
    except sqlglot.errors.SqlglotError as error:
        raise errors.RelayError(f"It is not understood: {' '.join(sql.split())[:60]} …") from error
    folds = dialect == "postgresql"
    names = {_name(table, folds=folds) for table in _read(select)}
    return sorted(name for name in names if name.partition(".")[0].casefold() not in _ANYBODYS)


def _read(select: exp.Expr) -> Iterator[exp.Table]:
    for scope in traverse_scope(select):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                yield source


def _name(table: exp.Table, *, folds: bool) -> str:
    parts = [part for part in (table.args.get("db"), table.this) if isinstance(part, exp.Identifier)]
    return ".".join(part.name.lower() if folds and not part.quoted else part.name for part in parts)
