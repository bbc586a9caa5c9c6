"""What happens to a MIS whose stream is followed: to its tables, its server, its slot, its role, its publication.

Each is done to the end, and the MIS works on meanwhile and afterwards. What is held open is closed by the next one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from kiva_relay.clock import SystemClock
from kiva_relay.config import loader
from kiva_relay.service import opening
from kiva_relay.source import slot
from testbed.database.postgres import PostgresServer
from testbed.rig import configuration, patience
from testbed.torture.run import Stage

READER = "kiva_relay"
_SCHEDULE = "m_loan_repayment_schedule"


@dataclass
class Broken:
    """A stage of the torture whose MIS is streamed. `till` is held by whoever writes into the MIS."""

    stage: Stage
    server: PostgresServer
    till: threading.Lock = field(default_factory=threading.Lock)
    columns: int = 0
    opened: psycopg.Connection[Any] | None = None
    """In which a large transaction is open."""

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """A statement of an administrator of the MIS; its rows, if it gives some."""
        with psycopg.connect(self.stage.mis, autocommit=True) as admin:
            cursor = admin.execute(text.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def slot(self) -> str:
        """What slot and publication are called."""
        return opening.stream_name(loader.load(self.stage.config, environ={}))

    def set_up(self) -> None:
        """What `watch setup` prints, run by an owner of the tables: again, while the relay holds on to its slot."""
        patience.eventually(self._is_set_up)

    def _is_set_up(self) -> bool:
        settings = loader.load(self.stage.config, environ={})
        streams = [document.stream for document in configuration.documents(settings)]
        mis = opening.open_mis(settings, clock=SystemClock())
        try:
            found = mis.slot(self.slot(), streams)
            for statement in slot.setup(found, streams, mis.dialect):
                self.sql(statement)
        except psycopg.errors.ObjectInUse:
            return False
        finally:
            mis.close()
        return True

    def is_followed(self) -> bool:
        """Whether a relay reads the slot."""
        return self.sql(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.slot()}'") == [(True,)]

    @contextlib.contextmanager
    def without_slot(self) -> Iterator[None]:
        """Nobody reads it, however often somebody begins."""
        free = (
            f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{self.slot()}'"
            " AND active"
        )
        self.sql(f"ALTER ROLE {READER} NOLOGIN")
        try:
            patience.eventually(lambda: not self.sql(free))
            yield
        finally:
            self.sql(f"ALTER ROLE {READER} LOGIN")

    def close(self) -> None:
        """Take back what is open."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def every_position(on: Broken) -> None:
    """A bulk UPDATE of a whole table."""
    with on.till:
        on.stage.branch.raise_all()


def every_schedule(on: Broken) -> None:
    """Another one."""
    with on.till:
        on.stage.branch.correct_all()


def new_column(on: Broken) -> None:
    """With a default: no row is written again."""
    on.columns += 1
    with on.till:
        on.sql(f"ALTER TABLE m_loan ADD COLUMN kr_plain_{on.columns} integer DEFAULT 7")


def new_column_written(on: Broken) -> None:
    """With a default that differs from row to row: the table is rewritten."""
    on.columns += 1
    with on.till:
        on.sql(f"ALTER TABLE m_loan ADD COLUMN kr_drawn_{on.columns} float8 DEFAULT random()")


def vacuum_full(on: Broken) -> None:
    """Of a root table and of one with rows of many roots."""
    with on.till:
        on.sql("VACUUM FULL m_loan_transaction")
        on.sql("VACUUM FULL m_loan")


def refilled(on: Broken) -> None:
    """TRUNCATE, and all of it again, as nightly jobs do."""
    kept = f"CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM {_SCHEDULE};TRUNCATE {_SCHEDULE};"
    again = f"INSERT INTO {_SCHEDULE} OVERRIDING SYSTEM VALUE SELECT * FROM kept"
    with on.till:
        on.stage.branch.correct_all(before=kept + again)


def restarted(on: Broken) -> None:
    """The server is stopped in order, and started."""
    with on.till:
        on.close()
        on.server.restart()
        on.stage.branch.reconnect(psycopg.connect(on.stage.mis, autocommit=True))


def killed(on: Broken) -> None:
    """The server ends as by a power cut."""
    with on.till:
        on.close()
        on.server.kill()
        on.server.start()
        on.stage.branch.reconnect(psycopg.connect(on.stage.mis, autocommit=True))


def slot_given_up(on: Broken) -> None:
    """The relay cannot connect for so long that the server drops what the slot was to keep; then it is made anew."""
    with on.without_slot():
        on.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
        on.sql("SELECT pg_reload_conf()")
        status = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{on.slot()}'"

        def is_lost() -> bool:
            on.sql("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
            on.sql("CHECKPOINT")
            return on.sql(status) == [("lost",)]

        patience.eventually(is_lost)
        on.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'")
        on.sql("SELECT pg_reload_conf()")
    on.set_up()


def right_taken(on: Broken) -> None:
    """The role loses REPLICATION, its connection breaks, and it gets it back."""
    on.sql(f"ALTER ROLE {READER} NOREPLICATION")
    on.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    patience.eventually(lambda: not on.is_followed())
    on.sql(f"ALTER ROLE {READER} REPLICATION")


def slot_taken(on: Broken) -> None:
    """Somebody else reads the slot, and throws away what comes: from then on a part is missing."""
    with on.without_slot():
        on.sql(f"SELECT pg_replication_slot_advance('{on.slot()}', pg_current_wal_insert_lsn())")


def unpublished(on: Broken) -> None:
    """The publication is dropped, and made again: the slot finds none in its past."""
    on.sql(f"DROP PUBLICATION {on.slot()}")
    on.set_up()


def half_published(on: Broken) -> None:
    """A table is taken out of the publication by hand, and another one put in; then it is set up again."""
    with on.till:
        on.sql(f"ALTER PUBLICATION {on.slot()} DROP TABLE m_loan_transaction")
        on.sql("CREATE TABLE IF NOT EXISTS kr_other (id integer PRIMARY KEY)")
        on.sql(f"ALTER PUBLICATION {on.slot()} ADD TABLE kr_other")
    on.set_up()


def broken_off(on: Broken) -> None:
    """All connections of the relay are ended."""
    on.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kiva-relay%'")


def taken_back(on: Broken) -> None:
    """A large transaction is rolled back: it never was."""
    with psycopg.connect(on.stage.mis) as teller:
        on.stage.branch.repay_all(teller)
        teller.rollback()


def held_open(on: Broken) -> None:
    """A large transaction begins, and goes on."""
    on.close()
    on.opened = psycopg.connect(on.stage.mis)
    on.stage.branch.repay_all(on.opened)


def committed_late(on: Broken) -> None:
    """It ends, unless the server ended first."""
    if on.opened is not None:
        on.opened.commit()
        on.stage.branch.changes["transaction"] += len(on.stage.branch.paying)
    on.close()


Mishap = Callable[[Broken], None]

ALONE: tuple[Mishap, ...] = (
    every_position,
    every_schedule,
    new_column,
    new_column_written,
    vacuum_full,
    refilled,
    restarted,
    killed,
    slot_given_up,
    right_taken,
    slot_taken,
    unpublished,
    half_published,
    broken_off,
    taken_back,
)
"""In any order; between some of them a large transaction is open."""

UNDER_A_LARGE_ONE: tuple[Mishap, ...] = (right_taken, broken_off, half_published)
"""What does not wait for the locks of a transaction that is open."""
