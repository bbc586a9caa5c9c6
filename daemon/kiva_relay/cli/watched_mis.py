"""The MIS as `watch setup` and `watch drop` see it: what it has of a stream, and running the SQL that changes it."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg

from kiva_relay import errors
from kiva_relay.cli import frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.service import opening
from kiva_relay.source import replication, slot
from kiva_relay.source.mis import Mis
from kiva_relay.source.stream import Stream

_LOCK_WITHIN = "5s"
"""A table that is in use is not waited for: a lock that waits would hold up everybody behind it."""
_ENDS_WITHIN = "60s"
_LETS_GO_WITHIN = timedelta(seconds=30)
_LOOKS_EVERY = 0.5


@dataclass(frozen=True)
class WatchedMis:
    """The MIS, what it has of a stream, and for which mappings."""

    mis: Mis
    facts: slot.SlotFacts
    streams: list[Stream]

    def setup(self) -> list[str]:
        """The SQL for what is missing."""
        return slot.setup(self.facts, self.streams, self.mis.dialect)

    def drop(self) -> list[str]:
        """The SQL that takes all of it away."""
        return slot.drop(self.facts, self.mis.dialect)

    def silent(self) -> dict[str, tuple[str, ...]]:
        """Tables whose deleted and moved rows the stream would not tell well enough."""
        return slot.silent(self.facts, self.streams)

    def untold(self) -> dict[str, str]:
        """Tables that stay polled, and why."""
        return slot.untold(self.facts, self.streams)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[WatchedMis]:
    """Look at the MIS.

    Raises:
        UsageError: it is no PostgreSQL.
    """
    if not settings.mis.url.startswith("postgresql:"):
        raise errors.UsageError(
            f"Only PostgreSQL has a stream to follow; mis.url begins with {settings.mis.url.partition(':')[0]}://.",
            hint="Nothing has to be set up: mis.watch: auto",
        )
    streams = [mapping.stream for mapping in mappings.load(settings)]
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        yield WatchedMis(mis, mis.slot(opening.stream_name(settings), streams), streams)
    finally:
        mis.close()


def run(settings: Settings, statements: Sequence[str], *, admin: str | None, command: str) -> None:
    """Run what a command prints, one statement after the other, as mis.url or as somebody who may.

    A slot that the relay still reads is waited for.

    Raises:
        RelayError: one was refused; those before it are done.
    """
    password = settings.mis.password
    url = opening.mis_url(settings, admin or "")
    secret = None if admin or password is None else password.reveal()
    done = 0
    try:
        with psycopg.connect(replication.connection(url, secret), autocommit=True) as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [_LOCK_WITHIN])
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [_ENDS_WITHIN])
            for statement in statements:
                _execute(connection, statement, patience=settings.mis.poll_every + _LETS_GO_WITHIN)
                done += 1
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = statements[done] if done < len(statements) else "the connection"
        raise errors.RelayError(
            f"The MIS refused after {errors.counted(done, 'statement')}: {said}. It was: {what}",
            hint=_who_may(error, statements, command),
        ) from error


def _execute(connection: psycopg.Connection[Any], statement: str, *, patience: timedelta) -> None:
    clock = SystemClock()
    deadline, never = clock.monotonic() + patience.total_seconds(), threading.Event()
    while True:
        try:
            connection.execute(statement.encode())
        except psycopg.errors.ObjectInUse:
            if clock.monotonic() > deadline:
                raise
            with frame.working("waiting for the relay to let go of the slot"):
                clock.wait(never, _LOOKS_EVERY)
        else:
            return


def _who_may(error: psycopg.Error, statements: Sequence[str], command: str) -> str:
    if isinstance(error, psycopg.errors.ObjectInUse):
        return "Somebody else reads the slot: SELECT active_pid FROM pg_replication_slots;"
    who = "SUPERUSER" if slot.needs(statements) == "a superuser" else "OWNER"
    return (
        f"PGPASSWORD=… {command} --apply --admin postgresql://{who}@HOST/DATABASE\n"
        f"or give what it prints to who may: {command}"
    )
