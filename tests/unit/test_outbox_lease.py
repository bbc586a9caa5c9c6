"""The lease of an outbox on a server: who may write, and until when, by each relay's own clock.

What a server would do is played on a file, so that these rules are tried without one: the file knows the functions that
begin a transaction there. `tests/contract` and `tests/integration` try them on PostgreSQL.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.outbox import lease, own_file, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import DURATION, MARGIN, Lease
from testbed.rig import outboxes, patience, scripted_kiva
from testbed.rig.set_clock import SetClock

LIFE = DURATION.total_seconds()


@dataclass
class PlayedServer:
    """A file that takes itself for a server.

    `begun` is what each transaction was begun with, `missed` how many could not begin while it was away.
    """

    outbox: Outbox
    away: bool = False
    missed: int = 0
    begun: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox.is_file = False
        sa.event.listen(self.outbox.engine, "connect", self._connected)
        self.outbox.glance = self._glance  # type: ignore[method-assign]

    @contextlib.contextmanager
    def _glance(self) -> Iterator[Connection]:
        """A statement of its own: a file has no such thing, and begins and ends a transaction for it."""
        if self.away:
            self.missed += 1
            raise errors.OutboxAway("the outbox does not answer")
        with self.outbox.engine.begin() as cx:
            yield cx

    def _connected(self, connection: sqlite3.Connection, _record: Any) -> None:
        connection.create_function("set_config", 3, self._set)
        connection.create_function("pg_advisory_xact_lock", 1, lambda _number: self.begun.append("alone"))

    def _set(self, name: str, value: str, _here: int) -> str:
        if self.away:
            self.missed += 1
            raise OSError("the server is away")
        self.begun.append(f"{name} {value}")
        return value


@pytest.fixture
def first(tmp_path: Path) -> Iterator[PlayedServer]:
    server = PlayedServer(outboxes.on_file(tmp_path))
    yield server
    server.outbox.close()


@pytest.fixture
def second(first: PlayedServer) -> Iterator[PlayedServer]:
    """The same outbox, opened by another relay."""
    server = PlayedServer(Outbox(str(first.outbox.url)))
    yield server
    server.outbox.close()


@pytest.fixture
def clock() -> SetClock:
    return scripted_kiva.clock()


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the kernel was asked for; it is not told, for its timer would end the tests."""
    asked: list[object] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: asked.append(seconds))
    monkeypatch.setattr(signal, "signal", lambda number, action: asked.append((number, action)))
    return asked


def is_refused(relay: Lease) -> bool:
    try:
        relay.acquire()
    except errors.Stolen:
        return True
    return False


def row(server: PlayedServer) -> tuple[int, bool]:
    with server.outbox.read() as tx:
        held = tx.execute(sa.select(table.lease)).one()
    return held.fence, held.holder is not None


# ---------------------------------------------------------------- who may write


def test_a_holder_that_fell_silent_is_followed_after_its_whole_life(
    first: PlayedServer, second: PlayedServer, clock: SetClock
) -> None:
    holder, standby = Lease(first.outbox, clock=clock), Lease(second.outbox, clock=clock)
    holder.acquire()
    assert is_refused(standby), "the first look only begins to count"
    clock.passes(LIFE - 1)
    holder.renew()
    assert is_refused(standby), "it was renewed: the count begins again"
    clock.passes((DURATION + MARGIN).total_seconds())
    assert is_refused(standby), "it may live until just now"
    clock.passes(0.001)
    assert not is_refused(standby)
    assert (standby.fence, row(first)) == (2, (2, True))
    with pytest.raises(errors.Stolen, match="pid"), first.outbox.begin():
        pytest.fail("the old holder writes")


def test_what_was_given_back_needs_no_waiting(first: PlayedServer, second: PlayedServer, clock: SetClock) -> None:
    holder, standby = Lease(first.outbox, clock=clock), Lease(second.outbox, clock=clock)
    holder.acquire()
    holder.release()
    assert row(first) == (1, False)
    assert not is_refused(standby)
    assert standby.fence == 2


def test_a_relay_that_never_held_it_takes_nothing_from_the_holder(
    first: PlayedServer, second: PlayedServer, clock: SetClock
) -> None:
    holder, other = Lease(first.outbox, clock=clock), Lease(second.outbox, clock=clock)
    holder.acquire()
    assert other.fence == 0
    other.release()
    assert row(first) == (1, True)
    with first.outbox.begin():
        holder.still_held()


def test_a_transaction_begins_alone_and_is_ended_when_its_process_sleeps(first: PlayedServer, clock: SetClock) -> None:
    with first.outbox.begin():
        pass
    assert first.begun == ["idle_in_transaction_session_timeout 60000", "alone"]
    first.begun.clear()
    Lease(first.outbox, clock=clock).acquire()
    assert first.begun == [f"idle_in_transaction_session_timeout {LIFE:.0f}000"], "the lease waits for no writer"


def test_nobody_takes_over_in_the_middle_of_a_transaction(first: PlayedServer, clock: SetClock) -> None:
    asked: list[str] = []

    def note(_connection: Any, statement: Any, *_rest: Any) -> None:
        if isinstance(statement, sa.Select):
            asked.append(str(statement.compile(dialect=postgresql.dialect())))  # type: ignore[no-untyped-call]

    Lease(first.outbox, clock=clock).acquire()
    sa.event.listen(first.outbox.engine, "before_execute", note)
    with first.outbox.begin():
        pass
    assert asked[-1].endswith("FOR KEY SHARE"), "the row is kept as it is, and may be renewed"


# ---------------------------------------------------------------- waiting for it


def test_a_standby_says_what_it_waits_for_until_the_lease_is_its_own(
    first: PlayedServer, second: PlayedServer, clock: SetClock
) -> None:
    holder, said = Lease(first.outbox, clock=clock), list[str]()
    holder.acquire()
    second.away = True

    def told(words: str) -> None:
        said.append(words)
        second.away = False

    assert Lease(second.outbox, clock=clock).stand_by(threading.Event(), waits=told) is True
    assert "does not answer" in said[0]
    assert "Another relay is active" in said[1]
    assert row(first) == (2, True)


def test_a_standby_stops_when_it_is_told_to(first: PlayedServer, second: PlayedServer, clock: SetClock) -> None:
    Lease(first.outbox, clock=clock).acquire()
    stop, said = threading.Event(), list[str]()

    def told(words: str) -> None:
        said.append(words)
        stop.set()

    assert Lease(second.outbox, clock=clock).stand_by(stop, waits=told) is False
    assert len(said) == 1
    assert row(first) == (1, True)


class _Watched(SetClock):
    """Calls a function before each wait, and counts them."""

    def __init__(self, before: Any) -> None:
        super().__init__(scripted_kiva.clock().now())
        self.waits, self._before = 0, before

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits += 1
        self._before()
        if self.waits == 99:
            event.set()
        return super().wait(event, seconds)


def test_a_holder_that_ended_without_a_word_is_outlasted(first: PlayedServer, second: PlayedServer) -> None:
    clock = _Watched(before=lambda: None)
    Lease(first.outbox, clock=clock).acquire()
    Lease(second.outbox, clock=clock).outlast(threading.Event())
    assert row(first) == (2, True)
    assert clock.waits * LIFE / 12 > LIFE, "not before its life was over"


def test_a_holder_that_lives_is_not_waited_for(first: PlayedServer, second: PlayedServer, clock: SetClock) -> None:
    holder = Lease(first.outbox, clock=clock)
    holder.acquire()

    def renews() -> None:
        clock.passes(1)
        holder.renew()

    other = _Watched(before=renews)
    with pytest.raises(errors.Stolen):
        Lease(second.outbox, clock=other).outlast(threading.Event())
    assert other.waits == 1
    assert row(first) == (1, True)


def test_nobody_is_outlasted_who_cannot_be_or_when_it_is_time_to_stop(
    first: PlayedServer, second: PlayedServer, clock: SetClock
) -> None:
    holder, other = Lease(first.outbox, clock=clock), _Watched(before=lambda: None)
    holder.acquire()
    told = threading.Event()
    told.set()
    with pytest.raises(errors.Stolen):
        Lease(second.outbox, clock=other).outlast(told)
    first.outbox.is_file = second.outbox.is_file = True
    mine = Lease(first.outbox, clock=clock)
    mine.acquire()
    with pytest.raises(errors.Stolen):
        Lease(second.outbox, clock=other).outlast(threading.Event())
    assert other.waits == 0
    mine.release()


# ---------------------------------------------------------------- the end of a lease


def test_the_kernel_ends_a_process_that_outlives_its_lease(
    first: PlayedServer, clock: SetClock, kernel: list[object]
) -> None:
    mine = Lease(first.outbox, clock=clock)
    mine.acquire()
    default = (signal.SIGALRM, signal.SIG_DFL)
    assert kernel == [default, LIFE], "an inherited handler would leave it without an end"
    clock.passes(LIFE - 1)
    mine.still_held()
    mine.renew()
    clock.passes(LIFE - 1)
    mine.still_held()
    clock.passes(1)
    with pytest.raises(errors.Stolen, match="has ended"):
        mine.still_held()
    mine.release()
    assert kernel == [default, LIFE, default, LIFE, 0]


def test_a_renewal_that_was_not_written_moves_no_end(
    first: PlayedServer, clock: SetClock, kernel: list[object]
) -> None:
    mine = Lease(first.outbox, clock=clock)
    mine.acquire()
    kernel.clear()
    clock.passes(LIFE - 1)
    first.away = True
    with pytest.raises(errors.Unreachable):
        mine.renew()
    assert kernel == []
    clock.passes(1)
    with pytest.raises(errors.Stolen):
        mine.still_held()


def test_what_was_not_got_has_no_end(
    first: PlayedServer, second: PlayedServer, clock: SetClock, kernel: list[object]
) -> None:
    Lease(first.outbox, clock=clock).acquire()
    refused = Lease(second.outbox, clock=clock)
    kernel.clear()
    assert is_refused(refused)
    assert kernel[-1] == 0, "the timer that ran while it was asked is stopped"
    clock.passes(LIFE)
    refused.still_held()


def test_one_long_transaction_needs_no_timer(first: PlayedServer, clock: SetClock, kernel: list[object]) -> None:
    mine = Lease(first.outbox, clock=clock)
    mine.acquire(timed=False)
    clock.passes(LIFE)
    mine.still_held()
    assert kernel == []


# ---------------------------------------------------------------- a thread that renews it


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread renews at once, and again and again."""
    monkeypatch.setattr(lease, "renew_every", lambda: timedelta(milliseconds=1))


@pytest.mark.usefixtures("often")
def test_it_is_renewed_by_a_thread_also_after_the_server_was_away(
    first: PlayedServer, clock: SetClock, kernel: list[object]
) -> None:
    mine, lost = Lease(first.outbox, clock=clock), list[errors.RelayError]()
    mine.acquire()
    kernel.clear()
    first.away = True
    mine.keep(lost=lost.append)
    patience.eventually(lambda: first.missed > 1, every=0.001)
    first.away = False
    patience.eventually(lambda: len(kernel) > 1, every=0.001)
    assert set(kernel) == {LIFE}, "only the main thread may say what a signal does"
    assert keepers()
    mine.keep_no_more()
    assert (keepers(), lost) == ([], [])


@pytest.mark.usefixtures("often")
def test_the_thread_says_that_the_lease_was_lost_and_may_end_all(
    first: PlayedServer, second: PlayedServer, clock: SetClock
) -> None:
    mine, said = Lease(first.outbox, clock=clock), list[str]()
    mine.acquire()

    def lost(error: errors.RelayError) -> None:
        mine.keep_no_more()
        said.append(str(error))

    with second.outbox.begin() as tx:
        tx.execute(sa.update(table.lease).values(fence=9, holder="the other"))
    mine.keep(lost=lost)
    patience.eventually(lambda: said and not keepers(), every=0.001)
    assert "the other" in said[0]
    assert len(said) == 1


def keepers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "lease"]


# ---------------------------------------------------------------- the lock of a file


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, errors.OutboxAway), (errno.EIO, errors.OutboxAway), (errno.EACCES, errors.UsageError)],
)
def test_a_lock_that_cannot_be_made_is_tried_again_when_it_is_the_machine_that_fails(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch, number: int, told: type[errors.RelayError]
) -> None:
    outbox = outboxes.on_file(tmp_path)

    def fails(path: Path, _flags: int, *, mode: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(own_file, "opened", fails)
    with pytest.raises(errors.RelayError, match=os.strerror(number)) as said:
        Lease(outbox, clock=clock).acquire()
    outbox.close()
    assert type(said.value) is told
    assert str(tmp_path) in (said.value.hint or "")
