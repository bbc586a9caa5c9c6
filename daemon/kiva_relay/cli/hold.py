"""`kiva-relay hold WHAT`: the brake for a person. What is held is captured and kept, not sent."""

from typing import Annotated

import typer

from kiva_relay.cli import frame, hold_words, words
from kiva_relay.outbox import act, hold, listing

What = Annotated[str, typer.Argument(metavar="WHAT", help="all, loan_draft, repayment, journal, or stream:MAPPING")]


def command(what: What, config: frame.Config = None, *, note: frame.Note = "", as_json: frame.AsJson = False) -> int:
    """Stop sending something. The MIS is still being read, nothing is lost; `release` sends what was held."""
    note = words.why_is_said(note)
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox, outbox.begin() as tx:
        now, person = frame.now(), frame.person()
        chosen = hold_words.target(what, listing.streams(tx))
        fresh = hold.put(tx, chosen, "asked", now=now, by=person, note=note)
        if fresh:
            act.record(tx, by=person, verb="hold", about={"what": chosen}, note=note, now=now)
        kept = next(one for one in listing.kept_back(tx) if (one.hold.what, one.hold.reason) == (chosen, "asked"))
    if as_json:
        frame.print_json({"held": chosen, "fresh": fresh, "since": kept.hold.since, "ready": kept.ready})
        return 0
    frame.header(settings)
    name = words.capital(hold_words.named(chosen))
    frame.verdict(
        "HELD",
        f"{name}: {'held' if fresh else 'already held'}. Nothing is lost.\n"
        f"Ready, and kept back: {words.counted(kept.ready)}. A request that is under way is still completed.\n"
        "The MIS is still being read. None of it is sent until somebody releases it:\n"
        f"{hold_words.release(chosen)}",
    )
    return 0
