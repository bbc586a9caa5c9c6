"""`kiva-relay mapping show`: one mapping as a whole, with what it extends."""

from typing import Annotated

import typer

from kiva_relay.cli import frame, mappings


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The mapping.")],
    config: frame.Config = None,
    *,
    as_json: frame.AsJson = False,
) -> None:
    """One mapping as a whole: its own file, laid over the mapping that it extends.

    What is printed is a mapping again, and means the same. Comments name the file and line of each part that is not
    as in the base.
    """
    settings = frame.load(config)
    mapping = mappings.one(name, mappings.load(settings))
    if as_json:
        frame.print_json(
            {
                "name": mapping.name,
                "file": mapping.file,
                "extends": mapping.extends or None,
                "bases": [source.file for source in mapping.bases],
                "fingerprint": mapping.fingerprint,
                "text": mapping.text,
            }
        )
        return
    frame.print_file(mapping.text)
