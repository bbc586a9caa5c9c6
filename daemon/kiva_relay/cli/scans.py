"""What `backfill` and `sweep` share: asking for a scan of the MIS, and showing how far it is."""

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated

import typer

from kiva_relay import errors, log
from kiva_relay.cli import comparison, figure, frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, heartbeat, scan, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.service import relay

_LOOKS_EVERY = 0.3
_A_SECOND = timedelta(seconds=1)

Chosen = Annotated[str | None, typer.Option("--mapping", metavar="NAME", help="Only this mapping; else all of them.")]


def chosen(settings: Settings, mapping: str | None) -> list[str]:
    """The mappings to scan.

    Raises:
        UsageError: there is none of this name.
    """
    names = sorted(document.name for document in mappings.load(settings))
    if mapping is None or mapping in names:
        return names if mapping is None else [mapping]
    near = errors.nearest(mapping, names, limit=1)
    raise errors.UsageError(
        f"There is no mapping {mapping}. Nothing was changed.",
        hint=f"Did you mean: {near[0]}" if near else "kiva-relay mapping list",
    )


def go(settings: Settings, kind: str, names: Sequence[str], *, note: str) -> int:
    """Begin a scan (or join one that is under way), and show how far it is, to its end."""
    with frame.outbox(settings) as outbox:
        began = _begin(outbox, kind, names, note=note)
        with outbox.read() as tx:
            alive = heartbeat.is_running(tx, frame.now())
    try:
        if alive:
            with frame.outbox(settings) as outbox:
                _follow(outbox, began)
        else:
            _do_it_here(settings, began)
    except KeyboardInterrupt:
        frame.say("It continues while the relay runs.     kiva-relay status")
        return 130
    return 0


def _begin(outbox: Outbox, kind: str, names: Sequence[str], *, note: str) -> dict[str, int]:
    """The scans' numbers, by mapping. One that is under way is joined."""
    now, began = frame.now(), {}
    with outbox.begin() as tx:
        for name in names:
            mark = watermark.watermarks(tx).get(name)
            if mark is None:  # never read: its backfill begins by itself
                watermark.begin(tx, name)
            elif mark.scan is None or (kind == "backfill" != mark.scan):
                watermark.start_scan(tx, name, kind, now=now)
            began[name] = watermark.watermarks(tx)[name].scan_number
        act.record(tx, by=frame.person(), verb=kind, about=list(names), note=note, now=now)
    return began


def _follow(outbox: Outbox, began: Mapping[str, int]) -> None:
    """Look at what the running relay does, until it is done."""
    clock, never = SystemClock(), threading.Event()
    for name, number in began.items():
        with comparison.progress(name, 0) as advance:
            while True:
                with outbox.read() as tx:
                    mark, progress = watermark.watermarks(tx)[name], scan.of(tx, name)
                if progress is not None and progress.number == number:
                    advance(progress.done, progress.total)
                if mark.scan is None or mark.scan_number != number:
                    break
                clock.wait(never, _LOOKS_EVERY)
        _say(name, progress)


def _do_it_here(settings: Settings, began: Mapping[str, int]) -> None:
    """No relay is running: this process reads the MIS, and sends nothing."""
    log.configure(settings.log.format)
    reader = relay.Relay(settings, mappings.load(settings))
    reader.open()
    try:
        with comparison.progress("reading", 0) as advance:
            for _ in reader.scan():
                with reader.outbox.read() as tx:
                    scans = [one for one in (scan.of(tx, name) for name in began) if one is not None]
                advance(sum(one.done for one in scans), sum(one.total for one in scans))
        with reader.outbox.read() as tx:
            ended = {name: scan.of(tx, name) for name in began}
    finally:
        reader.close()
    for name, progress in ended.items():
        _say(name, progress)


def _say(name: str, progress: ScanProgress | None) -> None:
    if progress is not None:
        frame.say(f"  {name:<26} {result(progress)}")


def result(progress: ScanProgress) -> str:
    """A scan in words: what was read, how fast, what was found."""
    span = (progress.at or progress.since) - progress.since
    parts = [f"{errors.counted(progress.done, 'row')} read in {figure.length(max(span, _A_SECOND))}"]
    if span >= _A_SECOND:
        parts[0] += f" ({progress.rate:,.0f} a second)"
    parts.append(f"{progress.found:,} new or different" if progress.found else "nothing new or different")
    if progress.gone:
        parts.append(f"{progress.gone:,} of them gone")
    if progress.missed:
        parts.append(f"{progress.missed:,} of them missed by polling")
    return ", ".join(parts)


def under_way(progress: ScanProgress) -> str:
    """A scan that is not at its end: rows, rate, time left."""
    if not progress.total:
        return "its rows are being counted"
    shown = f"{progress.done:,} of {progress.total:,} rows"
    left = progress.left
    if left is None or progress.done >= progress.total:
        return shown
    return f"{shown}, {progress.rate:,.0f} a second, about {figure.length(max(left, _A_SECOND))} left"
