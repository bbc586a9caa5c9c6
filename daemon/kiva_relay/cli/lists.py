"""`kiva-relay lists`: Kiva's own lists, by the names that a mapping or a code table may use."""

import shlex
from collections.abc import Mapping
from typing import Annotated

import typer

from kiva_relay import errors
from kiva_relay.cli import figure, frame
from kiva_relay.mapping import lookup
from kiva_relay.mapping.lookup import Lists
from kiva_relay.outbox import catalogue

_MEANS = {
    "activities": "activity_id",
    "themes": "theme_type_id",
    "locations": "location",
    "locales": "description_language_id",
    "currencies": "currency",
}
"""Each list, and the field of a loan draft for which it is looked up."""

Which = Annotated[str | None, typer.Argument(metavar="[LIST]", help=f"{', '.join(_MEANS)}; without it, all of them.")]
_NEAR = "Only names that have this text, or all its words; else those that are nearest."
Text = Annotated[str | None, typer.Argument(metavar="[TEXT]", help=_NEAR)]
Like = Annotated[
    str | None, typer.Option("--like", metavar="TEXT", help="The same, over all lists where none is named.")
]


def command(
    which: Which = None,
    text: Text = None,
    config: frame.Config = None,
    *,
    like: Like = None,
    as_json: frame.AsJson = False,
) -> None:
    """Show Kiva's lists of activities, loan themes, locations, languages and currencies, as they were read last."""
    if text is not None and like is not None:
        raise errors.UsageError("A text and --like were given; one is enough.")
    like = text if like is None else like
    if which is not None and which not in _MEANS:
        near = errors.nearest(which, _MEANS)
        hint = f"kiva-relay lists {near[0]}" if near else f"kiva-relay lists --like {shlex.quote(which)}"
        raise errors.UsageError(f"Kiva has no list {which}. There are: {', '.join(_MEANS)}.", hint=hint)
    settings = frame.load_to_look(config)
    with frame.outbox(settings) as outbox, outbox.read() as tx:
        lists, read_at = Lists.of(catalogue.load(tx)), catalogue.refreshed_at(tx)
    chosen = {which: lists.names.get(which, {})} if which is not None else lists.names
    found = {kind: _like(names, like) for kind, names in chosen.items()}
    if as_json:
        frame.print_json({"read_at": read_at, "lists": found})
        return
    frame.header(settings)
    if not lists.names:
        frame.say("Kiva's lists were not read yet: the relay reads them when it runs.")
        frame.say("  kiva-relay status")
        return
    if which is None and like is None:
        frame.table(
            ("list", "for the field", "names"),
            [(kind, _MEANS[kind], len(lists.names.get(kind, {}))) for kind in _MEANS],
            right=("names",),
        )
    else:
        _show(found, like)
    if read_at is not None:
        frame.say()
        frame.say(f"Read {figure.moment(read_at, settings, at=frame.now())}; the relay reads them once a day.")
    if which is None and like is None:
        frame.say("The names of one of them:   kiva-relay lists activities farm")


def _show(found: Mapping[str, Mapping[str, int | str]], like: str | None) -> None:
    rows = [(kind, name, value) for kind, names in found.items() for name, value in names.items()]
    if rows:
        frame.table(("list", "name", "what Kiva gets"), rows)
    else:
        frame.say("There is no such name." if like else "The list is empty.")


def _like(names: Mapping[str, int | str], text: str | None) -> dict[str, int | str]:
    """Names that hold a text, else those that hold all its words in any order, else the nearest."""
    if text is None:
        return dict(sorted(names.items()))
    folded, words = text.casefold().strip(), lookup.spoken(text)
    holds = [name for name in names if folded in name.casefold()]
    holds = holds or [name for name in names if words and words <= lookup.spoken(name)]
    return {name: names[name] for name in sorted(holds) or lookup.nearest(text, names)}
