"""A loop goes on after an error, and its turns are counted by how they ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from kiva_relay import errors, meter
from kiva_relay.clock import SystemClock
from kiva_relay.service.loop import Loop
from kiva_relay.service.progress import Progress
from kiva_relay.service.schedule import Job
from kiva_relay.service.threads import _work
from testbed.rig import patience


class Hurried(SystemClock):
    """Waits for nothing."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.is_set()


def counted(loop: str, ended: str) -> float | None:
    return meter.registry.get_sample_value("kiva_relay_loop_turns_total", {"loop": loop, "ended": ended})


def run(name: str, turns: Iterator[BaseException | None]) -> Loop:
    """Take these turns: what is no error ends well."""
    clock, stop = Hurried(), threading.Event()

    def turn() -> float:
        try:
            one = next(turns)
        except StopIteration:
            stop.set()
            return 0.0
        if one is not None:
            raise one
        return 0.0

    progress = Progress(clock=clock, at=lambda _step: None)
    loop = Loop(name, turn, wake=threading.Event(), stop=stop, clock=clock, progress=progress)
    loop.start()
    patience.eventually(lambda: not loop.running)
    return loop


def test_an_error_that_nobody_foresaw_is_counted_and_the_next_turn_comes() -> None:
    loop = run("one", iter([None, ValueError("?"), None, errors.OutboxAway("away"), None]))
    assert loop.failed is None
    assert (counted("one", "well"), counted("one", "error"), counted("one", "outbox_away")) == (4, 1, 1)


def test_it_goes_on_however_often_it_failed_in_a_row() -> None:
    """After a night of errors the back-off itself raised, and the loop was gone until somebody looked."""
    loop = run("all night", (ValueError("?") if number < 1100 else None for number in range(1101)))
    assert loop.failed is None
    assert (counted("all night", "well"), counted("all night", "error")) == (2, 1100)


def test_a_loop_that_met_no_error_reads_0() -> None:
    run("two", iter([]))
    assert counted("two", "error") == 0


def test_what_no_loop_goes_on_after_ends_it() -> None:
    assert isinstance(run("three", iter([errors.Stolen("another"), None])).failed, errors.Stolen)
    assert counted("three", "well") == 0


def test_work_that_fails_is_tried_again_and_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """While a disk was full, the log said every five seconds that the outbox does not answer."""
    clock, stop, wake = Hurried(), threading.Event(), threading.Event()
    job, tries = Job("heartbeat", clock=clock, wake=wake), iter(range(1, 9))

    def do() -> None:
        if next(tries) < 5:
            raise errors.OutboxAway("the disk is full")
        stop.set()

    job.knock()
    progress = Progress(clock=clock, at=lambda _step: None)
    loop = Loop("four", partial(_work, job, do), wake=wake, stop=stop, clock=clock, progress=progress)
    capsys.readouterr()
    loop.start()
    patience.eventually(lambda: not loop.running)
    assert counted("four", "outbox_away") == 4
    assert capsys.readouterr().err.count("The outbox does not answer") == 1
