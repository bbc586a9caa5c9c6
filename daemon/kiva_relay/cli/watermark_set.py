"""`kiva-relay watermark set`: read the MIS again, from the beginning. A person's act, as after it was restored."""

from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, words
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import act, binding, hold, meta, watermark
from kiva_relay.service import opening

Mapping = Annotated[str | None, typer.Option("--mapping", metavar="NAME", help="Only this mapping; else all of them.")]


def command(
    config: frame.Config = None, *, mapping: Mapping = None, note: frame.Note = "", yes: frame.Yes = False
) -> int:
    """Begin a new generation: every row is read again and compared. What Kiva has is not sent a second time.

    Also how to say that a MIS moved or restored to another server is the one that the outbox belongs to.
    """
    note = words.why_is_said(note)
    settings = frame.load(config)
    identity = _identity(settings)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            marks, known, before = watermark.watermarks(tx), watermark.counted(tx), meta.MIS.get(tx)
        chosen = _chosen(sorted(marks), mapping)
        other = before is not None and identity.partition("#")[0] != before
        if other and mapping is not None:
            raise errors.UsageError(
                "Another MIS than before concerns all mappings: leave --mapping out. Nothing was changed."
            )
        frame.header(settings)
        if other:
            frame.say(f"This is another MIS than before:   {before}   now   {identity.partition('#')[0]}")
            frame.say("If it is not the same institution's book, stop here: outbox.url needs a new outbox.")
        for name in chosen:
            rows = errors.counted(known.get(name, 0), "row")
            frame.say(f"  {name}   {rows} known, generation {marks[name].generation} → {marks[name].generation + 1}")
        frame.say("Everything is read and compared again; what did not change is not sent again.")
        if not frame.agreed("Read it again from the beginning?", yes=yes):
            frame.say("Nothing was changed.")
            return 0
        now = frame.now()
        with outbox.begin() as tx:
            bound = binding.rebind_mis(tx, identity)
            for name in chosen:
                watermark.begin_again(tx, name, now=now)
            if bound is not None:
                hold.put(tx, hold.ALL, "mis_went_back", now=now, params={"was": bound, "is": identity})
            about = {"mappings": chosen, "was": bound}
            act.record(tx, by=frame.person(), verb="watermark set", about=about, note=note, now=now)
    frame.say("Recorded with your name and note. It is read from the beginning, within seconds if the relay runs.")
    if bound is not None:
        frame.say("Nothing is sent until somebody has looked:   kiva-relay status")
    return 0


def _identity(settings: Settings) -> str:
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        return mis.identity()
    finally:
        mis.close()


def _chosen(names: list[str], mapping: str | None) -> list[str]:
    if mapping is None:
        return names
    if mapping in names:
        return [mapping]
    near = errors.nearest(mapping, names, limit=1)
    raise errors.UsageError(
        f"There is no mapping {mapping} that was ever read. Nothing was changed.",
        hint=f"Did you mean: {near[0]}" if near else "kiva-relay watermark show",
    )
