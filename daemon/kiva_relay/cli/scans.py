"""What `backfill` and `sweep` share: asking for a scan of the MIS, and showing how far it is."""

import threading
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from kiva_relay import errors, log
from kiva_relay.cli import comparison, frame, hold_words, mapping_stopped, mappings, nameless_words, scan_words, words
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, heartbeat, hold, scan, watermark
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.scan import ScanProgress
from kiva_relay.service import relay

_LOOKS_EVERY = 0.3

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
                stopped = _follow(outbox, began)
        else:
            stopped = _do_it_here(settings, began)
    except KeyboardInterrupt:
        frame.say("It continues while the relay runs.     kiva-relay status")
        return 130
    mapping_stopped.say(stopped)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        nameless = nameless_words.known(tx, began)
        holds = [one for one in hold.in_force(tx) if one.what.removeprefix(hold.STREAM) in began]
    nameless_words.say(nameless)
    for one in holds:
        text = hold_words.sentence(one, settings, now=frame.now())
        frame.verdict("HELD", "\n".join([text, *hold_words.known(one)[:1], words.to_type("More", "kiva-relay status")]))
    return 1 if stopped or nameless or holds else 0


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


def _follow(outbox: Outbox, began: Mapping[str, int]) -> dict[str, str]:
    """Look at what the running relay does, until it is done; the mappings that it does not read, and why."""
    clock, never = SystemClock(), threading.Event()
    stopped: dict[str, str] = {}
    for name, number in began.items():
        with comparison.progress(name, 0) as advance:
            while True:
                with outbox.read() as tx:
                    mark, progress, beat = watermark.watermarks(tx)[name], scan.of(tx, name), heartbeat.read(tx)
                if progress is not None and progress.number == number:
                    advance(progress.done, progress.total)
                if mark.scan is None or mark.scan_number != number:
                    break
                if beat is not None and name in beat.stopped_streams:
                    stopped[name] = beat.stopped_streams[name]
                    break
                clock.wait(never, _LOOKS_EVERY)
        _say(name, progress)
    return stopped


def _do_it_here(settings: Settings, began: Mapping[str, int]) -> dict[str, str]:
    """No relay is running: this process reads the MIS, and sends nothing. The mappings that it could not read."""
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
        stopped = reader.capture_loop.capture().stopped
    finally:
        reader.close()
    for name, progress in ended.items():
        _say(name, progress)
    return {name: why for name, why in stopped.items() if name in began}


def _say(name: str, progress: ScanProgress | None) -> None:
    if progress is not None:
        frame.say(f"  {name:<26} {scan_words.result(progress)}")
