"""The institution's database, in PostgreSQL or MariaDB, written as Fineract writes it: a day's rows in one transaction."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import sqlalchemy as sa

from testbed.database import mariadb_found, mariadb_own, postgres
from testbed.institution import book, fineract, mariadb_book
from testbed.institution.institution import Institution, Member

ENGINES = ("postgresql", "mariadb")

USER = 1
"""`m_appuser.id` of whoever writes."""

_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}

_FORGET = (
    (
        "DELETE FROM m_loan_transaction_relation WHERE from_loan_transaction_id IN"
        " (SELECT id FROM m_loan_transaction WHERE loan_id = :loan)"
    ),
    "DELETE FROM m_loan_transaction WHERE loan_id = :loan",
    "DELETE FROM m_loan_repayment_schedule WHERE loan_id = :loan",
    "DELETE FROM m_loan WHERE id = :loan",
)

Row = dict[str, Any]
Server = postgres.PostgresServer | mariadb_own.Server


@dataclass
class Mis:
    """One database; while its `server` is stopped, nobody reaches it. What is added or changed is written by `commit`, all of it or nothing.

    Stamps are those of the database's own clock, as in earnest: which rows are new is told by them. Days are the
    played ones.
    """

    name: str
    url: str
    server: Server
    clients: list[Member]
    groups: list[tuple[int, list[Member]]]
    engine: sa.Engine = field(init=False)
    _next: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _new: dict[str, dict[int, Row]] = field(default_factory=lambda: defaultdict(dict))
    _changed: dict[tuple[str, int], Row] = field(default_factory=dict)
    _gone: list[tuple[str, str, int]] = field(default_factory=list)
    _forgotten: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition("://")
        # The copy in MariaDB has no defaults of columns: what is not given becomes 0 there, as with Fineract's own.
        more = {"connect_args": {"sql_mode": ""}} if scheme == "mariadb" else {}
        self.engine = sa.create_engine(f"{_DRIVERS[scheme]}://{rest}", hide_parameters=True, pool_pre_ping=True, **more)

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()

    def add(self, table: str, row: Row) -> int:
        """Add a row; its id."""
        self._next[table] += 1
        number = self._next[table]
        self._new[table][number] = {"id": number, **row, **_stamps(table, new=True)}
        return number

    def change(self, table: str, number: int, row: Row) -> None:
        """Change some columns of a row."""
        changed = row | _stamps(table, new=False)
        if number in self._new[table]:
            self._new[table][number] |= changed
        else:
            self._changed.setdefault((table, number), {}).update(changed)

    def delete(self, table: str, column: str, value: int) -> None:
        """Delete the rows with that value; nothing tells of it afterwards. After all that is added and changed."""
        self._gone.append((table, column, value))

    def forget(self, loan: int) -> None:
        """Delete a loan with all that hangs on it, as somebody does in the database itself."""
        self._forgotten.append(loan)

    def commit(self) -> None:
        """Write what was added, changed and deleted since the last time."""
        with self.engine.begin() as tx:
            for table in (
                "glim_accounts",
                "m_loan",
                "m_loan_repayment_schedule",
                "m_loan_transaction",
                "m_loan_transaction_relation",
            ):
                for rows in _alike(self._new[table].values()):
                    tx.execute(sa.insert(_table(table, rows[0])), rows)
            changes: dict[tuple[str, tuple[str, ...]], list[Row]] = defaultdict(list)
            for (table, number), row in self._changed.items():
                changes[table, tuple(sorted(row))].append(
                    {f"new_{name}": value for name, value in row.items()} | {"number": number}
                )
            for (table, columns), rows in changes.items():
                into = _table(table, ["id", *columns])
                values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in columns}
                tx.execute(sa.update(into).where(into.c.id == sa.bindparam("number")).values(values), rows)
            for loan in self._forgotten:
                for statement in _FORGET:
                    tx.execute(sa.text(statement), {"loan": loan})
            for table, column, value in self._gone:
                into = _table(table, [column])
                tx.execute(sa.delete(into).where(into.c[column] == value))
        self._new.clear()
        self._changed.clear()
        self._gone.clear()
        self._forgotten.clear()

    def ask(self, statement: str, **values: Any) -> list[Row]:
        """The rows that a SELECT gives."""
        with self.engine.connect() as tx:
            return [dict(row) for row in tx.execute(sa.text(statement), values).mappings()]


@contextlib.contextmanager
def mis(engine: str, folder: Path, *, clients: int, today: date, seed: int) -> Iterator[Mis]:
    """A database without loans: offices, officers, clients and groups, as of `today`."""
    with postgres.start(folder / "postgresql") as book_server, contextlib.ExitStack() as stack:
        server: Server = book_server
        url = book_server.create_database("mis")
        with psycopg.connect(url) as connection:
            fineract.create(connection)
            institution = Institution(Random(seed), Path(tempfile.mkdtemp(dir=folder)), today)
            institution.organise()
            institution.admit(clients)
            book.copy(connection, institution.rows)
        if engine == "mariadb":
            maria = stack.enter_context(mariadb_own.start(folder / "mariadb", "--innodb-flush-log-at-trx-commit=2"))
            server, there = maria, mariadb_found.at(maria.url())
            with contextlib.closing(there.connect()) as admin, admin.cursor() as cursor:
                cursor.execute("CREATE DATABASE mis CHARACTER SET utf8mb4")  # it goes with its server
            mariadb_book.copy(url, there, "mis")
            url = there.mis_url("mis")
        made = Mis(engine, url, server, institution.clients, institution.groups)
        stack.callback(made.close)
        yield made


def _alike(rows: Sequence[Row] | Any) -> list[list[Row]]:
    """Rows in heaps that have the same columns."""
    heaps: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        heaps[tuple(sorted(row))].append(row)
    return list(heaps.values())


def _table(name: str, columns: Any) -> Any:
    return sa.table(name, *(sa.column(column) for column in columns))


def _stamps(table: str, *, new: bool) -> Row:
    if table == "glim_accounts":
        return {}
    now = datetime.now(UTC)
    changed = {"last_modified_by": USER, "last_modified_on_utc": now}
    return {"created_by": USER, "created_on_utc": now, **changed} if new else changed
