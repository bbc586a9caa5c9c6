"""`kiva-relay outbox recover`: takes what a witness knows and the outbox lacks, and shows what stays open.

After a backup was restored; or, by a copy of its file, what another machine of a pair sent, which is dead.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from kiva_relay import errors
from kiva_relay.cli import frame, hold_words, words
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import hold, listing, store
from kiva_relay.outbox.database import Outbox
from kiva_relay.outbox.listing import Filter
from kiva_relay.outbox.state import State
from kiva_relay.service import telling
from kiva_relay.service.relay import Relay

_SHOWN = 20


Other = Annotated[
    Path | None,
    typer.Option("--witness", metavar="FILE", help="A copy of the witness of another machine, which will not run."),
]


def command(config: frame.Config = None, *, witness: Other = None, as_json: frame.AsJson = False) -> int:
    """Compare the outbox with its witness, take what is missing, show what a person has to decide.

    The relay does the same at each start; while it runs, this only shows. Nothing is sent by it. With `--witness` it
    takes what another machine sent, also while the relay runs; that machine does it by itself when it stands by.
    """
    settings = frame.load(config)
    runs = _recover(settings) if witness is None else _another_tells(settings, witness)
    with frame.outbox(settings) as outbox:
        return _show(outbox, settings, runs=runs, as_json=as_json)


def _another_tells(settings: Settings, file: Path) -> bool:
    """Put down what another machine's witness knows; true: it is done, whether a relay runs or not."""
    with frame.outbox(settings) as outbox:
        telling.tell_for(outbox, settings, file, clock=SystemClock())
    return True


def _recover(settings: Settings) -> bool:
    """Do what a start does, without sending; true when a relay runs, which has done it.

    Only for files that are there: what root would make here could not be used by the service.
    """
    file = settings.outbox.file
    if not settings.outbox.witness.exists() or (file is not None and not file.exists()):
        return False
    relay = Relay(settings, [])
    try:
        relay.open()
    except errors.Stolen:
        return True
    relay.close()
    if file is not None and os.geteuid() == 0:
        owner = file.stat()
        os.chown(file.with_name(f"{file.name}.lock"), owner.st_uid, owner.st_gid)
    return False


def _show(outbox: Outbox, settings: Settings, *, runs: bool, as_json: bool) -> int:
    with outbox.read() as tx:
        doubts = listing.entries(tx, Filter(states={State.IN_DOUBT}))
        holds = [one for one in hold.in_force(tx) if one.why.by_witness]
    known = [entry for entry in doubts.entries if entry.reason == store.KNOWN_FROM_WITNESS]
    if as_json:
        frame.print_json({"held": [_hold(one) for one in holds], "open": [words.entry_json(one) for one in known]})
        return 1 if holds or known else 0
    frame.header(settings)
    if not holds and not known:
        frame.verdict("OK", "The outbox has everything that its witness knows. Nothing was sent twice.")
        return 0
    for one in holds:
        look = [words.to_type(about, typed) for about, typed in one.why.look if not typed.endswith("outbox recover")]
        frame.verdict("STOPPED", "\n".join([f"{words.capital(one.why.words)}.", *hold_words.known(one), *look]))
    frame.say()
    if known:
        frame.say(f"Please look in PA2 for {errors.counted(len(known), 'entry')} that may be there, or not:")
        for entry in known[:_SHOWN]:
            frame.say(f"  {words.name(entry)}   {words.noun(entry.resource)}")
        if len(known) > _SHOWN:
            frame.say(f"  and {len(known) - _SHOWN:,} more")
        frame.say("  the list:          kiva-relay outbox list --state in_doubt --csv")
        frame.say(f"  what to look for:  kiva-relay outbox show {known[0].id}")
        frame.say(f'  it is there:       kiva-relay outbox settle {known[0].id} --delivered --note "seen in PA2"')
        frame.say(f'  it is not there:   kiva-relay outbox settle {known[0].id} --resend --note "not in PA2"')
    if holds:
        frame.say(
            "Until a person releases it, nothing at all is sent; what is still in doubt is not sent afterwards either:"
        )
        frame.say('  kiva-relay release all --note "…"')
    if not runs:
        frame.say("The relay does not run:   sudo systemctl start kiva-relay")
    return 1


def _hold(one: hold.Hold) -> dict[str, Any]:
    return {"reason": one.reason, "since": one.since, **one.params}
