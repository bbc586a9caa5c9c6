"""`kiva-relay mapping diff`: what an edited mapping, or an upgrade, changes over the present book; read only."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.capture import made_again, revision
from kiva_relay.capture.made_again import MadeAgain
from kiva_relay.cli import as_service, comparison, frame, mappings
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.mapping.plan import Document
from kiva_relay.service import opening

_SAMPLES = 3
_SAID_OF_A_LOAN = 3


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The mapping; without it, what the outbox holds of all of them."),
    ] = None,
    config: frame.Config = None,
    *,
    other: Annotated[
        Path | None, typer.Option("--with", metavar="FILE", help="An edited copy; else the file as it is on disk now.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every loan that changes, not some of them.")] = False,
    show_names: Annotated[bool, typer.Option("--show-names", help="Show names and stories, too.")] = False,
    as_json: frame.AsJson = False,
) -> int:
    """What an edited mapping would change over the present book: how many bodies, which fields, some of them.

    With --with FILE the mapping on disk is compared with FILE; else what the relay works with is compared with the
    mapping on disk. Without a NAME: the bodies that the outbox holds are compared with those that this version of the
    program makes of the present book, as after an upgrade. Nothing is sent or changed. Exit code 1 when something
    would change.
    """
    settings = frame.load(config)
    if name is None:
        if other is not None:
            raise UsageError("--with belongs to a mapping.", hint=f"kiva-relay mapping diff NAME --with {other}")
        return _by_this_version(settings, everything=everything, as_json=as_json)
    old, new = _both(settings, name, other)
    compared = comparison.compare(settings, old, new)
    if as_json:
        frame.print_json(
            {
                "mapping": new.name,
                "rows": compared.difference.rows,
                "waiting": compared.waiting,
                "at_kiva": compared.sent,
                "fields": dict(compared.difference.fields()),
                "changes": [
                    {
                        "key": one.key,
                        "loan_id": one.loan_id,
                        "kind": one.kind,
                        "fields": [path for path, _, _ in one.fields],
                    }
                    for one in compared.difference.changes
                ],
            }
        )
    else:
        frame.header(settings)
        comparison.show(compared, new, everything=everything, show_names=show_names)
    return 1 if compared.difference.changes else 0


def _both(settings: Settings, name: str, other: Path | None) -> tuple[Document, Document]:
    """The mapping as it was, and as it would be."""
    if other is not None:
        old = mappings.one(name, mappings.load(settings))
        return old, mappings.edited(settings, old, other)
    new = mappings.one(name, mappings.load(settings))
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        text = revision.in_force(tx, new.name)
    if text is None:
        raise UsageError(
            f"No relay ever ran with {new.name}, so there is nothing to compare it with.",
            hint=f"kiva-relay mapping diff {new.name} --with FILE",
        )
    return mappings.of_text(settings, new, text), new


# ---------------------------------------------------------------- what this version makes of the book


def _by_this_version(settings: Settings, *, everything: bool, as_json: bool) -> int:
    """Looked at as the service does: root may read what it may not, and finds its credentials."""
    seen = as_service.with_credentials(settings)
    with as_service.eyes(settings):
        found = _made_again(seen)
    whole = sum(found.values(), MadeAgain())
    if as_json:
        differ = [
            {"mapping": name, "entry": one.entry, "loan_id": one.loan_id, "fields": one.fields}
            for name, made in found.items()
            for one in made.others
        ]
        frame.print_json({"compared": whole.compared, "changed": whole.changed, "differ": differ})
    else:
        frame.header(settings)
        _show_made_again(found, whole, everything=everything)
    return 1 if whole.others else 0


def _made_again(settings: Settings) -> dict[str, MadeAgain]:
    """By mapping, the bodies of the outbox beside those that are made of the present book."""
    documents, now = mappings.load(settings), frame.now()
    found: dict[str, MadeAgain] = {}
    with (
        frame.outbox(settings) as outbox,
        contextlib.closing(opening.open_mis(settings, clock=SystemClock())) as mis,
    ):
        for document in documents:
            with outbox.read() as tx:
                look = made_again.look(tx, document, settings, now=now, streams=[one.name for one in documents])
            found[document.name] = MadeAgain()
            with comparison.progress(f"comparing {document.name}", mis.count(document.stream)) as advance:
                for page in made_again.pages(look, mis, outbox):
                    found[document.name] += page
                    advance(found[document.name].rows)
    return found


def _show_made_again(found: Mapping[str, MadeAgain], whole: MadeAgain, *, everything: bool) -> None:
    frame.say(f"  bodies of the present book: {len(whole.others):,} of {whole.compared:,} differ")
    if whole.changed:
        frame.say(f"  {counted(whole.changed, 'row')} that the MIS has changed since the relay read it: not compared.")
    for name, made in found.items():
        if made.others:
            frame.say(f"    {name}   {len(made.others):,} of {made.compared:,}")
        for one in made.others if everything else made.others[:_SAMPLES]:
            frame.say(f"      {one.loan_id}   {_places(one.fields)}   kiva-relay outbox show {one.entry}")
    if whole.others:
        frame.say(
            "  What is at Kiva stays, and is not sent again. What waits goes as the outbox holds it. Where a mapping"
        )
        frame.say(
            "  became another one, the relay looks at all of it first, and asks if more than a tenth of it changes."
        )
        frame.say("  To stop what waits until you have looked:   kiva-relay hold all --note …")


def _places(fields: tuple[str, ...]) -> str:
    """The places that differ, without what stands there."""
    if not fields:
        return "as a whole"
    more = f" and {counted(len(fields) - _SAID_OF_A_LOAN, 'field')} more" if len(fields) > _SAID_OF_A_LOAN else ""
    return ", ".join(fields[:_SAID_OF_A_LOAN]) + more
