"""`kiva-relay mapping diff`: what an edited mapping would change over the present book. Nothing is changed."""

from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.capture import revision
from kiva_relay.cli import comparison, frame, mappings
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError
from kiva_relay.mapping.plan import Document


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The mapping.")],
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
    mapping on disk. Nothing is sent or changed. Exit code 1 when something would change.
    """
    settings = frame.load(config)
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
