"""What is doubled and what is lost: when answers are lost, and when a sender is killed while a request is in flight.

Of so many drafts the sink takes each and gives no answer to 1 % of the calls; or it kills the sender with -9 at three
calls that it has taken and not answered, and the sender is started again as its supervisor would.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from functools import partial

from benchmarks import sent
from benchmarks.bench import Bench, correctness
from benchmarks.contender import Peer
from benchmarks.environment import NAMES
from benchmarks.figure import OURS
from benchmarks.served import Took

PART = "faults"
LOST, KILLED = "1 % of the answers lost", "three kills, -9"
PEERS = ("script", "dlt", "drt", "debezium")
_NUMBER, _SHORT = 2_000, 100
_KILLS = 3
_TRIES = 8
"""A killed sender is started so often at most."""

_PATIENT = 120.0
"""Seconds without a call: a Java that starts on a busy machine needs some of them."""

_RESTARTED_AFTER = 1.0
"""Seconds: a server needs a moment to find out that a sender is gone."""


def measure(bench: Bench) -> None:
    """Each of them, once: what is counted does not depend on the machine."""
    number = _SHORT if bench.short else _NUMBER
    lose = lost_calls(2 * number)  # what comes again can be lost again
    kill = {number * one // (_KILLS + 1) for one in range(1, _KILLS + 1)}
    bench.sink.reset(lose=lose)
    _lost_ours(bench, number)
    for name in bench.present(*PEERS):
        bench.sink.reset(lose=lose)
        _lost_peer(bench, name, number)
    bench.sink.reset(kill=kill)
    _killed_ours(bench, number)
    for name in bench.present(*PEERS):
        bench.sink.reset(kill=kill)
        _killed_peer(bench, name, number)


def lost_calls(number: int) -> set[int]:
    """One of each hundred calls: never three in a row, at which a relay holds, and at which a script would give up."""
    dice = random.Random(20)
    return {block + dice.randrange(5, 95) for block in range(0, number, 100)}


def _add(bench: Bench, case: str, who: str, took: Took, number: int, *, seconds: float, **more: int) -> None:
    right = correctness(took, number)
    bench.figures.add(PART, case, who, unit="seconds", value=seconds, **right, sent=number, **more)
    tail = "".join(f"  {value} {name.replace('_', ' ')}" for name, value in more.items())
    counted = f"{right['duplicates']} duplicates  {right['lost']} lost"
    bench.say(f"  {case:<28}{who:<44}{seconds:>10,.1f} seconds   {counted}{tail}")


def _over(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _lost_ours(bench: Bench, number: int) -> None:
    with sent.relay_with_ready(bench, number) as relay:
        relay.release()
        began = time.monotonic()
        took = sent.until(bench.sink, number)
        relay.waits_until(lambda: not relay.states()["sending"])
        doubts = relay.states()["in_doubt"]
    _add(bench, LOST, OURS, took, number, seconds=took.last - began, in_doubt=doubts)


def _lost_peer(bench: Bench, name: str, number: int) -> None:
    sent.clean(bench.url)
    one = Peer(name, bench.place(name), bench.url, bench.sink.plain, NUMBER=number)
    one.start()
    try:
        process = one.process
        assert process is not None
        took = sent.until(bench.sink, number, over=lambda: process.poll() is not None)
        if name != "debezium":
            one.wait()
        took = bench.sink.took()
    finally:
        one.end()
    _add(bench, LOST, NAMES[name], took, number, seconds=took.last - took.first)


def _killed_ours(bench: Bench, number: int) -> None:
    with sent.relay_with_ready(bench, number) as relay:
        bench.sink.plan(pid=relay.pid)
        relay.release()
        began, kills = time.monotonic(), 0
        for _ in range(_KILLS):
            process = relay.process
            assert process is not None
            took = sent.until(bench.sink, number, over=partial(_over, process))
            if process.poll() is None:
                break
            kills += 1
            relay.start()
            bench.sink.plan(pid=relay.pid)
        took = sent.until(bench.sink, number)
        doubts = relay.states()["in_doubt"]
    _add(bench, KILLED, OURS, took, number, seconds=took.last - began, in_doubt=doubts, kills=kills)


def _killed_peer(bench: Bench, name: str, number: int) -> None:
    sent.clean(bench.url)
    one = Peer(name, bench.place(name), bench.url, bench.sink.plain, NUMBER=number)
    began, kills = time.monotonic(), 0
    try:
        for _ in range(_TRIES):
            bench.sink.plan(pid=one.start())
            process = one.process
            assert process is not None
            sent.until(bench.sink, number, over=partial(_over, process), stalled=_PATIENT)
            if name != "debezium" and process.poll() is None:
                one.wait()
            code = process.poll()
            one.end()
            kills += code == -signal.SIGKILL
            if kills == _KILLS and code != -signal.SIGKILL:
                break
            time.sleep(_RESTARTED_AFTER)
        took = bench.sink.took()
    finally:
        one.end()
    _add(bench, KILLED, NAMES[name], took, number, seconds=took.last - began, kills=kills)
