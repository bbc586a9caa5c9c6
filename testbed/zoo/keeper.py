"""Who keeps the animals: a fresh database on each engine, and the ways in which it is watched."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from kiva_relay.source import dialect_mariadb
from testbed.database import mariadb_found
from testbed.database.postgres import PostgresServer
from testbed.rig import small_mis
from testbed.zoo import mariadb, postgresql, sqlite
from testbed.zoo.visit import Refused, Visit, visit

POSTGRESQL = ("xmin", "horizon", "replication")
MARIADB = ("compare", "horizon")
SQLITE = ("compare",)

_numbers = itertools.count(1)


@dataclass
class Keeper:
    """A connection that commits each statement. `url` is for mis.url."""

    url: str
    connection: Any

    def run(self, sql: str) -> None:
        """A statement.

        Raises:
            Refused: the server does not take it.
        """
        try:
            self.connection.cursor().execute(sql)
        except (psycopg.Error, pymysql.Error, sqlite3.Error) as error:
            raise Refused((str(error).splitlines() or [type(error).__name__])[0]) from None

    def rows(self, sql: str) -> list[Any]:
        """What a statement gives."""
        cursor = self.connection.cursor()
        cursor.execute(sql)
        return [*cursor.fetchall()]

    def prepare(self, statements: Sequence[str]) -> None:
        """Run those that the server takes."""
        for statement in statements:
            with contextlib.suppress(Refused):
                self.run(statement)


@contextlib.contextmanager
def of_postgresql(server: PostgresServer) -> Iterator[Keeper]:
    """A database of a PostgreSQL with wal_level = logical."""
    with (
        server.database(f"zoo_{next(_numbers)}") as url,
        contextlib.closing(psycopg.connect(url, autocommit=True)) as connection,
    ):
        keeper = Keeper(url, connection)
        keeper.prepare(postgresql.PREPARED)
        try:
            yield keeper
        finally:
            keeper.prepare([f"SELECT pg_drop_replication_slot('{postgresql.SLOT}')"])


@contextlib.contextmanager
def of_mariadb(server: mariadb_found.Server) -> Iterator[Keeper]:
    """A database of a MariaDB or MySQL, and another one beside it."""
    with server.database() as name, contextlib.closing(server.connect(name)) as connection:
        keeper = Keeper(server.mis_url(name), connection)
        keeper.run(f"CREATE DATABASE `{mariadb.BESIDE}`")
        try:
            yield keeper
        finally:
            keeper.run(f"DROP DATABASE `{mariadb.BESIDE}`")


@contextlib.contextmanager
def of_sqlite(folder: Path) -> Iterator[Keeper]:
    """A file."""
    file = folder / "zoo.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield Keeper(f"sqlite:///{file}", connection)


def watched(keeper: Keeper, way: str) -> Visit:
    """A visit by one way of watching."""
    stamped = way == "horizon"
    scheme = keeper.url.partition(":")[0]
    animals = {"postgresql": postgresql.animals, "sqlite": sqlite.animals}.get(scheme, mariadb.animals)()
    small = dialect_mariadb._SMALL
    dialect_mariadb._SMALL = -1 if stamped else small
    try:
        mis = small_mis.open_mis(keeper.url, watch="horizon" if stamped else "auto")
        with contextlib.closing(mis):
            return visit(keeper, mis, animals, stamped=stamped, follow=way == "replication")
    finally:
        dialect_mariadb._SMALL = small
