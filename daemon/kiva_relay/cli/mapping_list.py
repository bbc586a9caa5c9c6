"""`kiva-relay mapping list`: the mappings, and what each reads and makes."""

from kiva_relay.cli import frame, mappings


def command(config: frame.Config = None, *, as_json: frame.AsJson = False) -> None:
    """The mappings: what each reads, what it makes of it, what it extends, its file and its fingerprint."""
    settings = frame.load(config)
    found = mappings.load(settings)
    if as_json:
        frame.print_json(
            [
                {
                    "name": mapping.name,
                    "resource": mapping.resource,
                    "table": mapping.stream.table,
                    "where": mapping.stream.where,
                    "file": mapping.file,
                    "extends": mapping.extends or None,
                    "fingerprint": mapping.fingerprint,
                    "examples": mapping.examples if mapping.examples.is_file() else None,
                    "left_to_the_coordinator": mapping.left_to_the_coordinator,
                }
                for mapping in found
            ]
        )
        return
    frame.header(settings)
    frame.table(
        ("mapping", "makes", "out of", "extends", "fingerprint", "examples", "file"),
        [
            (
                mapping.name,
                mapping.resource,
                mapping.stream.table,
                " → ".join(source.called for source in mapping.bases),
                mapping.fingerprint,
                "yes" if mapping.examples.is_file() else "none",
                mapping.file,
            )
            for mapping in found
        ],
    )
    frame.say()
    frame.say("  One as a whole, with what it extends:          kiva-relay mapping show NAME")
    frame.say("  Try one on a real loan, nothing is sent:   kiva-relay mapping preview NAME --loan ID")
