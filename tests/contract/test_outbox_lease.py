"""Who may write an outbox, by a clock that is set; the kernel's timer is played, for it would end the test."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kiva_relay import errors
from kiva_relay.outbox import lease, table
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.lease import DURATION, MARGIN, Lease
from testbed.rig import scripted_kiva
from testbed.rig.set_clock import SetClock


@pytest.fixture
def clock() -> SetClock:
    return scripted_kiva.clock()


@pytest.fixture(autouse=True)
def timer(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the kernel was asked for, in seconds."""
    asked: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: asked.append(seconds))
    monkeypatch.setattr(signal, "signal", lambda *_args: None)
    return asked


def row(outbox: Outbox) -> tuple[int, bool]:
    with outbox.read() as tx:
        held = tx.execute(sa.select(table.lease)).one()
    return held.fence, held.holder is not None


def another(outbox: Outbox) -> Outbox:
    """The same database, opened by another process."""
    return Outbox(outbox.url.render_as_string(hide_password=False))


def test_the_fence_grows_with_each_holder(outbox: Outbox, clock: SetClock) -> None:
    for fence in (1, 2):
        mine = Lease(outbox, clock=clock)
        mine.acquire()
        assert (mine.fence, row(outbox)) == (fence, (fence, True))
        mine.still_held()
        mine.release()
        assert row(outbox) == (fence, False)
        assert outbox.guard is None


def test_a_second_one_is_refused_and_named(outbox: Outbox, clock: SetClock) -> None:
    mine, there = Lease(outbox, clock=clock), another(outbox)
    mine.acquire()
    with pytest.raises(errors.Stolen, match="pid") as refused:
        Lease(there, clock=clock).acquire()
    assert refused.value.hint is not None
    assert row(outbox) == (1, True)
    mine.release()
    there.close()


def test_whoever_was_overtaken_writes_nothing(outbox: Outbox, clock: SetClock) -> None:
    mine = Lease(outbox, clock=clock)
    mine.acquire()
    there = another(outbox)
    with there.begin() as tx:
        tx.execute(sa.update(table.lease).values(fence=9, holder="the other"))
    with pytest.raises(errors.Stolen, match="the other"), outbox.begin():
        pass
    outbox.guard = None
    with there.begin() as tx:
        tx.execute(sa.update(table.lease).values(fence=mine.fence))
    mine.release()
    there.close()


def test_a_server_takes_over_when_the_row_was_quiet_for_long_enough(outbox: Outbox, clock: SetClock) -> None:
    if outbox.is_file:
        return
    mine, there = Lease(outbox, clock=clock), another(outbox)
    mine.acquire()
    standby = Lease(there, clock=clock)

    def refused() -> bool:
        try:
            standby.acquire()
        except errors.Stolen:
            return True
        return False

    long = (DURATION + MARGIN).total_seconds()
    assert refused(), "the first look begins to count"
    clock.passes(long)
    assert refused()
    clock.passes(0.001)
    assert not refused()
    assert standby.fence == 2
    with pytest.raises(errors.Stolen), outbox.begin():
        pass
    standby.release()
    there.close()


def test_a_renewal_counts_from_before_it_was_asked(outbox: Outbox, clock: SetClock, timer: list[float]) -> None:
    mine = Lease(outbox, clock=clock)
    mine.acquire()
    clock.passes(DURATION.total_seconds() - 0.5)
    mine.still_held()
    mine.renew()
    clock.passes(DURATION.total_seconds() - 0.5)
    mine.still_held()
    clock.passes(0.5)
    if outbox.is_file:
        mine.still_held()
        assert timer == []
    else:
        with pytest.raises(errors.Stolen):
            mine.still_held()
        assert timer == [DURATION.total_seconds()] * 2
    outbox.guard = None
    mine.release()


def test_a_standby_waits_until_it_is_told_to_stop(outbox: Outbox, clock: SetClock) -> None:
    mine, there = Lease(outbox, clock=clock), another(outbox)
    mine.acquire()
    stop, said = threading.Event(), list[str]()

    def told(words: str) -> None:
        said.append(words)
        if len(said) == 2:
            stop.set()

    if outbox.is_file:
        with pytest.raises(errors.Stolen):
            Lease(there, clock=clock).stand_by(stop, waits=told)
    else:
        assert Lease(there, clock=clock).stand_by(stop, waits=told) is False
        assert len(said) == 2
    mine.release()
    next_one = Lease(there, clock=clock)
    assert next_one.stand_by(threading.Event(), waits=said.append) is True
    next_one.release()
    there.close()


def test_it_is_renewed_three_times_in_its_life() -> None:
    assert lease.renew_every() == DURATION / 3
    assert timedelta(0) < MARGIN < DURATION
