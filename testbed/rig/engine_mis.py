"""The MIS of a book that was laid down on PostgreSQL: there, or a copy of it on MariaDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from kiva_relay.source.mis import Mis
from testbed.database import mariadb_found
from testbed.institution import mariadb_book
from testbed.rig import small_mis


@contextlib.contextmanager
def opened(url: str, engine: str) -> Iterator[Mis]:
    """As the relay opens it, in UTC. `url` is of the book on PostgreSQL, `engine` `postgresql` or `mariadb`."""
    with contextlib.ExitStack() as stack:
        where = sa.make_url(url)
        if engine == "mariadb":
            server = mariadb_found.server()
            assert server is not None
            where = sa.make_url(server.mis_url(stack.enter_context(mariadb_book.copied(url, server))))
        bare = where.set(password=None).render_as_string(hide_password=False)
        mis = small_mis.open_mis(bare, password=where.password, timezone="UTC")
        stack.callback(mis.close)
        yield mis
