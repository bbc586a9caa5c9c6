"""The MariaDB or MySQL server that this machine has for tests, if there is one."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import sqlalchemy as sa

VARIABLE = "KIVA_RELAY_TEST_MARIADB"
"""Names the server, as mariadb://root:secret@host:port, or mysql://…. Databases are made in it, and dropped."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A server that answered."""

    url: sa.URL
    version: str

    def connect(self, database: str | None = None, **more: Any) -> pymysql.Connection[Any]:
        """A connection that commits each statement by itself, unless it begins a transaction."""
        url = self.url
        return pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=more.pop("user", url.username),
            password=more.pop("password", url.password) or "",
            database=database,
            autocommit=True,
            **more,
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The name of a fresh database."""
        name = f"kiva_relay_test_{os.getpid()}_{next(_numbers)}"
        with contextlib.closing(self.connect()) as admin, admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            try:
                yield name
            finally:
                cursor.execute("SET lock_wait_timeout = 5")
                cursor.execute(f"DROP DATABASE {name}")

    def mis_url(self, database: str) -> str:
        """As it stands in mis.url."""
        return self.url.set(database=database).render_as_string(hide_password=False)


def at(url: str) -> Server:
    """The one that answers there."""
    made = sa.make_url(url)
    with contextlib.closing(Server(made, "").connect(connect_timeout=3)) as cx, cx.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        return Server(made, str(cursor.fetchone()[0]))


@functools.cache
def server() -> Server | None:
    """The one that the environment names, which must answer; else one on this machine that lets root in."""
    named = os.environ.get(VARIABLE)
    try:
        return at(named or "mariadb://root@127.0.0.1:3306")
    except pymysql.err.OperationalError:
        if named:
            raise
        return None


def told() -> str:
    """For the header of a test run."""
    found = server()
    return f"{found.version} at {found.url.host}" if found else f"none found ({VARIABLE} can name one)"
