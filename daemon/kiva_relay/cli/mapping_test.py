"""`kiva-relay mapping test`: the examples that stand beside the mappings."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from kiva_relay.cli import comparison, frame, mapping_preview, mappings
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.mapping import example, record
from kiva_relay.mapping.plan import Document


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A mapping, or a resource; else all.")] = None,
    config: frame.Config = None,
    *,
    record_one: Annotated[
        bool, typer.Option("--record", help="Write an example from the live row of --loan, without what is personal.")
    ] = False,
    loan: frame.Loan = None,
    update: Annotated[
        bool, typer.Option("--update", help="Show what differs, ask, and expect from now on what comes out now.")
    ] = False,
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Run the examples that stand beside the mappings, as NAME.test.yaml: rows in, a body or a refusal out.

    For a mapping that extends another one, the examples of that one too: those that differ show what it changes.
    Exit code 1 when one of a mapping's own does not pass.
    """
    settings = frame.load(config)
    chosen = mappings.load(settings)
    if name is not None:
        chosen = mappings.named(name, chosen)
    if record_one:
        return _record(settings, chosen, loan)
    results = [(mapping, example.run(mapping)) for mapping in chosen]
    of_bases = [(mapping, example.run_of_base(mapping)) for mapping in chosen]
    failing = [mapping for mapping, each in results if not all(result.passed for result in each)]
    if as_json:
        frame.print_json(
            [{"mapping": mapping.name, **asdict(result)} for mapping, each in (*results, *of_bases) for result in each]
        )
        return 1 if failing else 0
    frame.header(settings)
    _show(results)
    _show_differing(of_bases)
    frame.say()
    _count(results, of_bases)
    if update and failing:
        return _update(failing, yes=yes)
    return 1 if failing else 0


Results = Sequence[tuple[Document, Sequence[example.ExampleResult]]]


def _show(results: Results) -> None:
    for mapping, each in results:
        if not each:
            frame.verdict("off", f"{mapping.name}: no examples; they would stand in {mapping.examples.name}", width=6)
        for result in each:
            frame.verdict("ok" if result.passed else "error", f"{mapping.name}: {result.name}", width=6)
            _show_difference(result)


def _show_differing(of_bases: Results) -> None:
    for mapping, each in of_bases:
        for result in each:
            if not result.passed:
                frame.verdict("differs", f"{mapping.name}: {result.name} (an example of {result.base})", width=6)
            _show_difference(result)


def _show_difference(result: example.ExampleResult) -> None:
    if not result.passed:
        frame.say(f"        {result.file}:{result.line}")
        frame.say("\n".join(f"        {line}" for line in result.diff.splitlines()))


def _count(results: Results, of_bases: Results) -> None:
    total = sum(len(each) for _, each in results)
    passed = sum(result.passed for _, each in results for result in each)
    frame.say(f"{passed} of {counted(total, 'example')} pass.")
    for mapping, each in of_bases:
        if each:
            as_before = sum(result.passed for result in each)
            frame.say(
                f"{mapping.name}: of {counted(len(each), 'example')} of {each[0].base}, "
                f"{as_before} give the same, {len(each) - as_before} differ."
            )


def _update(failing: Sequence[Document], *, yes: bool) -> int:
    """Expect what comes out now, when a person says that it is right."""
    written = [(mapping.examples, record.updated(mapping)) for mapping in failing]
    if not frame.agreed(f"Is what was found (+) right? It is written into {counted(len(written), 'file')}.", yes=yes):
        frame.say("Nothing changed.")
        return 1
    for file, text in written:
        file.write_text(text, encoding="utf-8")
        frame.say(f"  written  {file}")
    return 0


def _record(settings: Settings, chosen: Sequence[Document], loan: str | None) -> int:
    """One more example, from a live row."""
    if loan is None:
        raise UsageError(
            "--record takes its example from a live row.", hint="kiva-relay mapping test NAME --record --loan ID"
        )
    context = comparison.context(settings)
    found = mapping_preview.rows(settings, chosen, context, loan=loan)
    if not found:
        raise UsageError(f"There is no loan {loan} in the MIS.", hint="kiva-relay mapping list")
    frame.header(settings)
    for mapping, content in found:
        name = f"recorded {context.today.isoformat()}, {loan}"
        text = record.recorded(mapping, content, context=context, name=name)
        mapping.examples.write_text(record.append(mapping.examples, text, context=context), encoding="utf-8")
        frame.say(text)
        frame.say(
            f"  written to {mapping.examples}. Names and texts are masked; look it through before you pass it on."
        )
    return 0
