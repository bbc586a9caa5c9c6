"""The outbox on a PostgreSQL server: its connections, and which server answers at the other end.

`outbox.url` may name several: a primary and its standbys. Whoever is told that a commit is durable is told so by one of
them; after a failover another one answers, and may know less.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine

from kiva_relay import errors
from kiva_relay.config import secret

_RESTS_SINCE = "relay_rests_since"
_STAYS = 1.0
_SAYS_WHEN_IT_ENDS = 30.0
"""Seconds for which a server's connection that was used is taken to be there, and for which one that ended has surely
been heard of: only a way there that forgets connections ends them without a word, and none forgets so soon.
"""

# A machine that lost its power ends no connection. What waits for it is told so within the lease.
_NOTICES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

# Of a server without statistics a statement of a millisecond may look dear enough to be compiled, or to be worth a
# second process: each takes longer than all of it.
_SESSION = "-c synchronous_commit=on -c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0"

# The timeline on which the server writes now: what its control file says follows at the next checkpoint.
_WHICH = """
SELECT concat(c.system_identifier, '/', CASE WHEN pg_is_in_recovery() THEN p.timeline_id
              ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END)
FROM   pg_control_system() c, pg_control_checkpoint() p
"""


def engine(url: sa.URL, password: secret.Secret | None, *, schema: str, met: Callable[[str], None]) -> Engine:
    """An engine for the server of an outbox. `met` is told with each connection which server it leads to.

    `schema`: its own there, "" where it has none.

    Raises:
        UsageError: it is no PostgreSQL.
    """
    if url.get_backend_name() != "postgresql":
        raise errors.UsageError(
            f"outbox.url: expected sqlite:///FILE or postgresql://…, found {url.get_backend_name()}://…",
            hint="outbox: {url: sqlite:////var/lib/kiva-relay/outbox.db}",
        )
    url = url.set(drivername="postgresql+psycopg")
    if password is not None:
        url = url.set(password=password.reveal())
    made = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        pool_use_lifo=True,  # as few connections as are used at once: each has a process and prepared statements there
        connect_args={
            "application_name": "kiva-relay outbox",
            "connect_timeout": 5,
            **_NOTICES,
            "options": f"-c search_path={schema} {_SESSION}" if schema else _SESSION,
        },
    )

    @event.listens_for(made, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        from kiva_relay.outbox import nul  # noqa: PLC0415 - psycopg is needed only here

        connection.adapters.register_dumper(str, nul.WithoutNul)
        try:
            met(_which(connection))
        except BaseException:
            connection.close()
            raise

    @event.listens_for(made, "checkout")
    def _look_after(connection: Any, record: Any, _proxy: Any) -> None:
        """Whoever gets a connection that has rested sees first whether it is still there."""
        rested = time.monotonic() - record.info.get(_RESTS_SINCE, float("-inf"))
        if rested < _STAYS:
            return
        try:
            if rested >= _SAYS_WHEN_IT_ENDS or not _is_silent(connection):
                made.dialect.do_ping(connection)
        except made.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError from error

    @event.listens_for(made, "checkin")
    def _let_rest(_connection: Any, record: Any) -> None:
        record.info[_RESTS_SINCE] = time.monotonic()

    return made


def _is_silent(connection: Any) -> bool:
    """Has the server said nothing since it was asked last? One that ends the session says so, or closes it."""
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return not heard.poll(0)


def _which(connection: Any) -> str:
    """System identifier and timeline; "" where this role may not know them."""
    import psycopg  # noqa: PLC0415 - only for an outbox on a server

    connection.autocommit = True  # the question alone, without a transaction around it
    try:
        row = connection.execute(_WHICH).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        row = None
    connection.autocommit = False
    return str(row[0]) if row else ""
