"""Where the time goes: capture (read, map, hash, insert) and delivery (claim, commit, send, record), by stages.

The relay's own code runs in this process, and a thread looks at it a thousand times a second: in which of its stages
is it now, waiting included? What is looked for are folders, files and names of functions, so that the figures outlive
a change of the code. The functions in which most of the time was found are named below.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

from benchmarks import limit
from benchmarks.bench import Bench
from benchmarks.figure import OURS
from benchmarks.ours import OurRelay
from kiva_relay import errors
from kiva_relay.config import loader
from kiva_relay.service.relay import Relay
from testbed.rig import configuration

PART, NAMED = "stages", "costs"
_EVERY = 0.001
_PACKAGE = "/kiva_relay/"
_DRAFTS, _BOOK = (600, 40), (3_000, 200)
_LARGEST = 12


class Sampled:
    """Looks at the present thread from another one, while a block runs."""

    def __init__(self, stage: Callable[[list[tuple[str, str]]], str]) -> None:
        self._stage, self._over = stage, threading.Event()
        self._thread_id = threading.get_ident()
        self._looker = threading.Thread(target=self._look, daemon=True)
        self.stages: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._looker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looker.join()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the way to see another thread
            stack = list(_stack(frame))
            self.stages[self._stage(stack)] += 1
            own = next((one for one in stack if _PACKAGE in one[0]), None)
            if own is not None:
                self.functions[f"{own[0].rpartition(_PACKAGE)[2]} {own[1]}"] += 1


def _stack(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """File and function, the innermost first."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


def of_capture(stack: list[tuple[str, str]]) -> str:
    """The stage of capture that a stack is in."""
    for file, name in stack:
        if name in {"commit", "_commit_impl", "do_commit"}:
            return "commit"
        if _PACKAGE not in file:
            continue
        inside = file.rpartition(_PACKAGE)[2]
        if "hash" in name or "fingerprint" in name or "digest" in name:
            return "hash"
        if inside.startswith("source/"):
            return "read"
        if inside.startswith(("mapping/", "resource/")):
            return "map"
        if inside.startswith("outbox/"):
            return "insert"
        if inside.startswith("capture/"):
            return "decide"
    return "the rest"


def of_delivery(stack: list[tuple[str, str]]) -> str:
    """The stage of delivery that a stack is in."""
    names = {name for _, name in stack}
    if names & {"commit", "_commit_impl", "do_commit"}:
        return "commit"
    for file, name in stack:
        inside = file.rpartition(_PACKAGE)[2] if _PACKAGE in file else ""
        if inside == "outbox/witness.py":
            return "witness"
        if inside in {"delivery/client.py", "delivery/wire.py"} or name == "_send":
            return "send"
        if name in {"_claim", "claim", "prepare"}:
            return "claim"
        if name in {"_settle", "settle", "end", "_consequences"}:
            return "record"
        if inside == "delivery/courier.py" and name in {"round", "_situation", "_something_due", "_one"}:
            return "decide whether to send"
    return "the rest"


def measure(bench: Bench) -> None:
    """Both of them."""
    bench.sink.reset()
    folder, bodies = bench.place("stages"), limit.drafts(_DRAFTS[bench.short], 2_000)
    alone = limit.Alone(folder, bench.sink, bench.sink.plain, bodies)
    try:
        with Sampled(of_delivery) as seen:
            alone.deliver()
    finally:
        alone.close()
    _add(bench, "delivery", seen)
    with Sampled(of_capture) as seen:
        _captured(bench, bench.place("stages"), _BOOK[bench.short])
    _add(bench, "capture", seen)


def _captured(bench: Bench, folder: Path, number: int) -> None:
    """Read so many loans of the book into entries, in this thread, and send nothing."""
    relay = OurRelay(folder, bench.url, most=number, max_load=100, kiva=bench.sink.plain)
    relay.hold()
    settings = loader.load(relay.config, environ={"KIVA_SECRET": "none"})
    service = Relay(settings, configuration.documents(settings))
    service.open()
    try:
        with contextlib.suppress(errors.RelayError):  # what is ready is held, and that is said
            service.once()
    finally:
        service.close()
        relay.outbox.close()


def _add(bench: Bench, what: str, seen: Sampled) -> None:
    total = sum(seen.stages.values()) or 1
    for stage, times in seen.stages.most_common():
        bench.figures.add(PART, what, f"{OURS}: {stage}", unit="%", value=100 * times / total)
    for place, times in seen.functions.most_common(_LARGEST):
        bench.figures.add(NAMED, what, place, unit="%", value=100 * times / total)
    told = ", ".join(f"{stage} {100 * times / total:.0f} %" for stage, times in seen.stages.most_common())
    bench.say(f"  {what}: {told}")
    for place, times in seen.functions.most_common(_LARGEST):
        bench.say(f"    {100 * times / total:5.1f} %  {place}")
