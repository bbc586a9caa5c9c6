"""One active relay an outbox: who gets the lease, how long it is held, and what happens to who lost it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.clock import SystemClock
from kiva_relay.outbox import lease, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import Lease
from testbed.rig import outboxes
from testbed.rig.patience import eventually
from testbed.rig.set_clock import SetClock

WHOLE = (lease.DURATION + lease.MARGIN).total_seconds()


@pytest.fixture(autouse=True)
def _timer() -> Iterator[None]:
    """Whatever a test leaves armed must not end the test run; pytest's own timer goes on afterwards."""
    handler = signal.getsignal(signal.SIGALRM)
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, left)


@pytest.fixture
def url(postgres_outbox: str) -> str:
    return postgres_outbox


@contextlib.contextmanager
def opened(url: str, clock: SetClock | None = None) -> Iterator[tuple[Lease, Outbox, SetClock]]:
    clock = clock or SetClock()
    outbox = Outbox(url)
    try:
        yield Lease(outbox, clock=clock), outbox, clock
    finally:
        outbox.close()


def timer() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


def test_a_second_relay_is_refused_until_the_first_gives_it_back(url: str) -> None:
    with opened(url) as (first, _, _), opened(url) as (second, _, _):
        first.acquire()
        with pytest.raises(errors.Stolen, match=r"Another relay is active on this outbox: .* pid "):
            second.acquire()
        first.release()
        second.acquire()
        assert second.fence == first.fence + 1
        second.release()


def test_of_many_that_start_at_once_one_gets_it(url: str) -> None:
    """Also the very first time, when the row is not there yet."""
    got: list[int] = []
    begin = threading.Barrier(4)

    def start() -> None:
        with opened(url) as (mine, _, _):
            begin.wait()
            with contextlib.suppress(errors.Stolen):
                mine.acquire()
                got.append(mine.fence)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=-1)])
def test_clocks_that_differ_do_not_make_two_holders(url: str, ahead: timedelta) -> None:
    with opened(url) as (holder, outbox, clock), opened(url) as (standby, _, other):
        other.is_set(ahead)
        holder.acquire()
        for _ in range(4):
            with pytest.raises(errors.Stolen):
                standby.acquire()
            other.passes(WHOLE * 0.4)
            clock.passes(WHOLE * 0.1)
            holder.renew()
        with outbox.begin():
            pass
        holder.release()


def test_a_standby_takes_over_when_nothing_was_renewed_for_a_lease_and_its_margin(url: str) -> None:
    with opened(url) as (holder, outbox, _), opened(url) as (standby, _, other):
        holder.acquire()
        with pytest.raises(errors.Stolen):
            standby.acquire()
        other.passes(WHOLE - 1)
        with pytest.raises(errors.Stolen):
            standby.acquire()
        other.passes(2)
        standby.acquire()
        with pytest.raises(errors.Stolen), outbox.begin():
            pytest.fail("a relay whose lease is over wrote into the outbox")
        with pytest.raises(errors.Stolen):
            holder.renew()
        standby.release()


def test_standing_by_ends_when_it_is_told_to(url: str) -> None:
    stop, said = threading.Event(), list[str]()

    def told(why: str) -> None:
        said.append(why)
        stop.set()

    with opened(url) as (holder, _, _), opened(url) as (standby, _, _):
        holder.acquire()
        assert not standby.stand_by(stop, waits=told)
        assert "pid" in said[0]
        holder.release()


def test_once_outlasts_a_dead_holder_and_gives_way_to_a_living_one(url: str) -> None:
    with opened(url) as (holder, _, _), opened(url) as (second, _, _):
        holder.acquire()
        second.outlast(threading.Event())  # its clock passes while it waits, and nobody renews
        assert second.fence == holder.fence + 1
        with opened(url) as (third, _, other):
            lives = other.wait

            def wait(event: threading.Event, seconds: float) -> bool:
                second.renew()
                return lives(event, seconds)

            clock = second._clock
            assert isinstance(clock, SetClock)
            clock.passes(1)
            other.wait = wait  # type: ignore[method-assign]
            with pytest.raises(errors.Stolen):
                third.outlast(threading.Event())
        second.release()


# ---------------------------------------------------------------- the timer


def test_the_timer_runs_while_it_is_held_and_not_after(url: str) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # as inherited from whoever started us
    with opened(url) as (mine, _, _):
        mine.acquire()
        assert 0 < timer() <= lease.DURATION.total_seconds()
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        mine.release()
        assert timer() == 0


def test_the_timer_is_armed_before_the_row_is_written(url: str) -> None:
    with opened(url) as (mine, _, _):
        armed: list[float] = []
        take = mine._take

        def timed(tx: sa.Connection) -> None:
            armed.append(timer())
            take(tx)

        mine._take = timed  # type: ignore[method-assign]
        mine.acquire()
        assert armed[0] > 0
        mine.release()


def test_who_did_not_get_it_has_no_timer(url: str) -> None:
    with opened(url) as (second, outbox, _):
        with outbox.begin() as tx:
            values = {"id": 1, "fence": 7, "holder": "another", "expires_at": outboxes.NOW}
            tx.execute(sa.insert(table.lease).values(**values))
        with pytest.raises(errors.Stolen):
            second.acquire()
        assert timer() == 0


def test_a_renewal_counts_from_before_it_was_asked(url: str) -> None:
    with opened(url) as (mine, outbox, clock):
        mine.acquire()
        sa.event.listen(outbox.engine, "before_cursor_execute", lambda *_: clock.passes(12))
        mine.renew()
        assert timer() <= lease.DURATION.total_seconds() - 12
        mine.release()


def test_a_renewal_that_failed_leaves_the_timer_as_it_was(url: str) -> None:
    with opened(url) as (mine, outbox, clock):
        mine.acquire()
        clock.passes(20)
        before = timer()

        def away(*_: object) -> None:
            raise errors.OutboxAway("the server is away")

        sa.event.listen(outbox.engine, "before_cursor_execute", away)
        with pytest.raises(errors.OutboxAway):
            mine.renew()
        sa.event.remove(outbox.engine, "before_cursor_execute", away)
        assert 0 < timer() <= before
        clock.passes(11)
        with pytest.raises(errors.Stolen):
            mine.still_held()
        mine.release()


def test_a_renewal_of_what_another_relay_took_over_says_so_and_leaves_its_row(url: str) -> None:
    with opened(url) as (mine, _, clock), opened(url) as (standby, theirs, other):
        mine.acquire()
        with pytest.raises(errors.Stolen):
            standby.acquire()
        other.passes(WHOLE + 1)
        standby.acquire()

        def expires() -> object:
            with theirs.glance() as cx:
                return cx.execute(sa.select(table.lease.c.expires_at)).scalar_one()

        before = expires()
        clock.passes(5)
        with pytest.raises(errors.Stolen, match="pid"):
            mine.renew()
        assert expires() == before
        standby.release()


def test_a_renewal_is_one_statement(url: str) -> None:
    """It was five, each of which woke the relay up, and a transaction that could be stopped in its middle."""
    with opened(url) as (mine, outbox, _):
        mine.acquire()
        asked: list[str] = []
        sa.event.listen(outbox.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        mine.renew()
        assert [sql.split()[0] for sql in asked] == ["UPDATE"]
        mine.release()


def test_it_is_kept_by_a_thread_of_its_own_while_the_others_work(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "DURATION", timedelta(seconds=0.6))
    outbox = Outbox(url)
    mine = Lease(outbox, clock=SystemClock())
    mine.acquire()
    mine.keep(lost=lambda _error: None)

    def expires() -> object:
        with outbox.read() as tx:
            return tx.execute(sa.select(table.lease.c.expires_at)).scalar_one()

    first = expires()
    with outbox.begin():  # a long transaction of a writer's holds no renewal up
        eventually(lambda: expires() != first, within=5)
    mine.release()
    outbox.close()


# ---------------------------------------------------------------- a writer in the middle


def test_nobody_takes_over_in_the_middle_of_a_transaction(url: str) -> None:
    with opened(url) as (holder, outbox, _), opened(url) as (standby, _, other):
        holder.acquire()
        with pytest.raises(errors.Stolen):
            standby.acquire()
        other.passes(WHOLE + 1)
        with outbox.begin():
            with pytest.raises(errors.Stolen, match="writing at this moment"):
                standby.acquire()
        standby.acquire()
        standby.release()


def test_who_is_stopped_in_the_middle_of_a_transaction_loses_it(url: str) -> None:
    with opened(url) as (holder, outbox, _), opened(url) as (standby, _, other):
        holder.acquire()
        outbox.stopped_after = timedelta(seconds=0.3)
        with pytest.raises(errors.Stolen):
            standby.acquire()
        other.passes(WHOLE + 1)

        def taken() -> bool:
            with contextlib.suppress(errors.Stolen):
                standby.acquire()
                return True
            return False

        with pytest.raises(errors.OutboxAway), outbox.begin() as tx:  # noqa: PT012 - both belong to the transaction
            eventually(taken, within=10)
            signal.setitimer(signal.ITIMER_REAL, 0)
            tx.execute(sa.update(table.meta).values(value="late"))
        standby.release()


# ---------------------------------------------------------------- a file


def test_a_file_is_locked_by_one_process(tmp_path: Path) -> None:
    outbox = outboxes.on_file(tmp_path)
    first, second = Lease(outbox, clock=SetClock()), Lease(outbox, clock=SetClock())
    first.acquire()
    assert timer() >= 0
    with pytest.raises(errors.Stolen, match="pid"):
        second.stand_by(threading.Event(), waits=pytest.fail)
    first.release()
    second.acquire()
    second.release()
    outbox.close()
