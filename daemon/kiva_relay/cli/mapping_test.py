"""`kiva-relay mapping test`: the examples that stand beside the mappings."""

from dataclasses import asdict
from typing import Annotated

import typer

from kiva_relay.cli import frame, mappings
from kiva_relay.errors import counted
from kiva_relay.mapping import example


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A mapping, or a resource; else all.")] = None,
    config: frame.Config = None,
    *,
    as_json: frame.AsJson = False,
) -> int:
    """Run the examples that stand beside the mappings, as NAME.test.yaml: rows in, a body or a refusal out.

    Exit code 1 when one does not pass.
    """
    settings = frame.load(config)
    chosen = mappings.load(settings)
    if name is not None:
        chosen = mappings.named(name, chosen)
    results = [(mapping, example.run(mapping)) for mapping in chosen]
    failures = sum(not result.passed for _, each in results for result in each)
    if as_json:
        frame.print_json([{"mapping": mapping.name, **asdict(result)} for mapping, each in results for result in each])
        return 1 if failures else 0
    frame.header(settings)
    for mapping, each in results:
        if not each:
            frame.verdict("off", f"{mapping.name}: no examples; they would stand in {mapping.examples.name}", width=6)
        for result in each:
            frame.verdict("ok" if result.passed else "error", f"{mapping.name}: {result.name}", width=6)
            if not result.passed:
                frame.say(f"        {mapping.examples}:{result.line}")
                frame.say("\n".join(f"        {line}" for line in result.diff.splitlines()))
    total = sum(len(each) for _, each in results)
    frame.say()
    frame.say(f"{total - failures} of {counted(total, 'example')} pass.")
    return 1 if failures else 0
