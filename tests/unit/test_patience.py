from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from testbed.rig import patience

if TYPE_CHECKING:
    from collections.abc import Callable


class Machine:
    """One whose hour and load are what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.busy = 0.0, 1.0
        monkeypatch.setattr(patience, "slowness", lambda: 2.0)
        monkeypatch.setattr(patience, "busyness", lambda: self.busy)
        monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_seconds_grow_with_the_machine_and_with_what_it_does(machine: Machine) -> None:
    assert patience.seconds(10) == 20
    machine.busy = 15
    assert patience.seconds(10) == 300
    machine.busy = 1_000
    assert patience.seconds(10) == 600


def test_a_deadline_counts_slowly_while_the_machine_is_busy(machine: Machine) -> None:
    deadline = patience.Deadline(10)
    machine.now = 19
    assert not deadline.over
    machine.busy, machine.now = 10, 28  # 9 s, of which each counts a twentieth
    assert not deadline.over
    machine.busy, machine.now = 1, 29
    assert deadline.over


def test_what_never_comes_is_not_waited_for(machine: Machine) -> None:
    def ask() -> str:
        machine.now += 1
        return ""

    with pytest.raises(AssertionError, match="no true answer within 3 s of a quick machine; the last one was ''"):
        patience.eventually(ask, within=3, every=0)
    assert machine.now == 7


def test_what_comes_is_answered() -> None:
    answers: Callable[[], int] = iter([0, 0, 7]).__next__
    assert patience.eventually(answers, every=0) == 7


def test_a_process_that_does_not_end_is_named_and_ended() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command) as process, pytest.raises(AssertionError, match=r"did not end within 0\.01 s"):
        patience.ended(process, within=0.01)
    assert process.returncode == -9


def test_a_thread_that_does_not_end_is_named() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="the slow one")
    thread.start()
    with pytest.raises(AssertionError, match="the slow one did not end"):
        patience.joined(thread, within=0.01)
    over.set()
    patience.joined(thread)
    assert not thread.is_alive()


def test_this_machine_is_measured() -> None:
    assert patience.slowness() >= 1
    assert 1 <= patience.factor() <= 60
