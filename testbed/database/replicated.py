"""A PostgreSQL and its streaming standby, which is promoted when the primary has ended; then a new standby is made.

The standby is what `pg_basebackup` makes of the primary. `synchronous` is whether a commit waits for it. `cut` lets the
standby fall behind for certain: what is committed from then on, it lacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from testbed.database import postgres
from testbed.rig import patience

_SETTINGS = {"wal_level": "replica", "max_wal_senders": "8", "wal_keep_size": "256MB"}
_SOON = {"wal_retrieve_retry_interval": "200ms"}  # else a promotion waits for five seconds now and then
_NAME = "standby"
_SLOTS = {"sync_replication_slots": "on", "hot_standby_feedback": "on"}


class Replicated:
    """A primary, and a standby of it while there is one. The servers are numbered as they are made."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str], slots: bool = False) -> None:
        self._folder, self._number, self._slots = folder, 0, slots
        settings = {**settings, **(_SLOTS if slots else {})}
        self._settings = {**_SETTINGS, **_SOON, **settings}
        self._made: list[postgres.PostgresServer] = []
        self.primary = self._server()
        self.standby: postgres.PostgresServer | None = None
        self._ended: postgres.PostgresServer | None = None

    def start(self) -> None:
        """Make the primary, and start it."""
        self.primary.initialise()
        self.primary.start()

    def attach(self, *, synchronous: bool) -> None:
        """Make a standby of the primary, and wait until it follows. Commits wait for it from then on, or do not.

        It takes the place of the primary that has ended, its port too: as a machine that comes back does.
        """
        standby = self._server(like=self.primary)
        if self._ended is not None:
            standby.port = self._ended.port
            self._ended.close()
            self._made.remove(self._ended)
            self._ended = None
        data = standby.make_room()
        url = self.primary.url()
        named = ["-C", "-S", f"{_NAME}_{self._number}"] if self._slots else []
        standby.run(
            "pg_basebackup", *named, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-D", str(data), "-d", url
        )
        standby.start()
        self.standby = standby
        patience.eventually(self.follows)
        self.wait_for_it(synchronous=synchronous)

    def wait_for_it(self, *, synchronous: bool) -> None:
        """Whether a commit waits for the standby."""
        names = f"ANY 1 ({_NAME}_{self._number})" if synchronous else ""
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.sql("SELECT pg_reload_conf()")
        state = "quorum,sync" if synchronous else "async"
        patience.eventually(lambda: self.sql("SELECT sync_state FROM pg_stat_replication")[0][0] in state.split(","))

    def follows(self) -> bool:
        """Does the standby stream?"""
        return self.sql("SELECT state FROM pg_stat_replication") == [("streaming",)]

    def cut(self) -> None:
        """The standby gets nothing more, for as long as it is one."""
        assert self.standby is not None
        with psycopg.connect(self.standby.url(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET primary_conninfo = ''")
            admin.execute("SELECT pg_reload_conf()")
            patience.eventually(lambda: admin.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone() is None)

    def has_all(self) -> bool:
        """Has the standby everything that was committed?"""
        (place,) = self.sql("SELECT pg_current_wal_flush_lsn()")[0]
        return self.sql(f"SELECT flush_lsn >= '{place}' FROM pg_stat_replication") == [(True,)]

    def fail_over(self) -> None:
        """Kill the primary, and promote the standby: it is the primary when this returns."""
        assert self.standby is not None
        self.primary.kill()
        self.promote()

    def promote(self) -> None:
        """The standby becomes the primary, whatever became of the one before."""
        assert self.standby is not None
        with psycopg.connect(self.standby.url(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            admin.execute("SELECT pg_reload_conf()")
            admin.execute("SELECT pg_promote(true, 60)")
        self._ended, self.primary, self.standby = self.primary, self.standby, None

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """A statement of an administrator on the primary; its rows, if it gives some."""
        with psycopg.connect(self.primary.url(), autocommit=True) as admin:
            cursor = admin.execute(text.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def url(self, dbname: str) -> str:
        """As it stands in outbox.url, whichever of the two is the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in sorted(one.port for one in self._made))
        secret = self.primary.password
        return f"postgresql://{postgres.ROLE}:{secret}@{hosts}/{dbname}?target_session_attrs=read-write"

    def close(self) -> None:
        """End all of them, and remove their data."""
        for one in self._made:
            one.close()

    def _server(self, *, like: postgres.PostgresServer | None = None) -> postgres.PostgresServer:
        self._number += 1
        settings = {**self._settings, "cluster_name": f"{_NAME}_{self._number}"}
        made = postgres.PostgresServer(self._folder / f"postgres-{self._number}", settings=settings)
        if like is not None:
            made.password = like.password
        self._made.append(made)
        return made


@contextlib.contextmanager
def started(
    folder: Path, *, synchronous: bool = False, settings: Mapping[str, str] | None = None, slots: bool = False
) -> Iterator[Replicated]:
    """A primary with a standby that follows it; both end at the end.

    Args:
        folder: of their logs.
        synchronous: whether a commit waits for the standby.
        settings: parameters of postgresql.conf of each server.
        slots: does the standby keep the primary's failover slots in step? From PostgreSQL 17 on.
    """
    made = Replicated(folder.absolute(), settings=settings or {}, slots=slots)
    try:
        made.start()
        made.attach(synchronous=synchronous)
        yield made
    finally:
        made.close()
