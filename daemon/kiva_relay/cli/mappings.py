"""The mappings of a configuration, for commands: loaded, and asked for by name, with what the database can tell."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from kiva_relay.cli import frame
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.delivery import mirror
from kiva_relay.delivery.client import Client
from kiva_relay.delivery.token import Tokens
from kiva_relay.errors import ConfigurationError, Mistake, RelayError, UsageError, nearest
from kiva_relay.mapping import document, live, lookup
from kiva_relay.mapping.document import Document
from kiva_relay.outbox import catalogue
from kiva_relay.outbox.meta import Nameless
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis


def load(settings: Settings) -> list[Document]:
    """All mappings; a missing parameter is named with the choices that the database knows.

    Raises:
        ConfigurationError: all mistakes of all files.
    """
    found, mistakes = read(settings)
    if severe(mistakes):
        raise ConfigurationError(mistakes)
    return found


def nameless(mis: Mis, documents: Iterable[Document]) -> dict[str, Nameless]:
    """By mapping, the rows of what was just scanned whose key cannot be told."""
    found = ((one.stream, tuple(mis.gaps(one.stream))) for one in documents)
    return {stream.name: Nameless(stream.table, stream.key, 0, gaps) for stream, gaps in found if gaps}


def read(settings: Settings) -> tuple[list[Document], list[Mistake]]:
    """All mappings, also what can be read of those with mistakes; and the mistakes and warnings of all files."""
    found, mistakes = document.read_all(
        settings.mapping_folders, parameters=settings.parameters, resources=settings.resources
    )
    asked = [mistake for mistake in mistakes if mistake.path.startswith("parameters.")]
    if asked:
        others = [mistake for mistake in mistakes if mistake not in asked]
        mistakes = [*others, *_with_choices(settings, found, _once(asked))]
    return found, mistakes


def _once(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """A parameter that several mappings ask for is asked for once."""
    asked: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in mistakes:
        asked.setdefault((mistake.path, mistake.message), []).append(mistake)
    return [_first(each) for each in asked.values()]


def _first(mistakes: Sequence[Mistake]) -> Mistake:
    if len(mistakes) == 1:
        return mistakes[0]
    return dataclasses.replace(mistakes[0], message=f"{mistakes[0].message} {len(mistakes)} mappings ask for it.")


def _with_choices(settings: Settings, found: Sequence[Document], mistakes: list[Mistake]) -> list[Mistake]:
    """The same mistakes with the choices; unchanged when the database is away."""
    try:
        mis = opening.open_mis(settings, clock=SystemClock())
    except RelayError:
        return mistakes
    try:
        return live.asked(mistakes, [each for mapping in found for each in mapping.parameters], mis)
    except RelayError:
        return mistakes
    finally:
        mis.close()


def named(name: str, mappings: Sequence[Document]) -> list[Document]:
    """All mappings of the resource, or the one of that name (or file, where a resource is called the same).

    Raises:
        UsageError: there is neither; names the nearest.
    """
    folded = name.replace("-", "_")
    found = [mapping for mapping in mappings if folded in (mapping.resource, f"{mapping.resource}s")]
    if found:
        return found
    plain = name.removesuffix(".yaml")
    found = [mapping for mapping in mappings if plain == mapping.name]
    if found:
        return found
    known = [*(mapping.name for mapping in mappings), *dict.fromkeys(mapping.resource for mapping in mappings)]
    close = nearest(plain, known) or known
    raise UsageError(f"There is no mapping {name}.", hint=f"Nearest: {', '.join(close)}")


def one(name: str, mappings: Sequence[Document]) -> Document:
    """The mapping of that name (or file), or the only one of that resource.

    Raises:
        UsageError: there is none, or there are several of that resource.
    """
    plain = name.removesuffix(".yaml")
    exact = [mapping for mapping in mappings if mapping.name == plain]
    found = exact or named(name, mappings)
    if len(found) > 1:
        raise UsageError(f"{name} are several mappings.", hint=f"One of: {', '.join(each.name for each in found)}")
    return found[0]


def edited(settings: Settings, old: Document, file: Path) -> Document:
    """An edited copy of a mapping, as it would be in its place: with the code tables and examples of the original.

    Raises:
        ConfigurationError: all its mistakes.
    """
    mapping, mistakes = read_copy(settings, old, file)
    if mapping is None or severe(mistakes):
        raise ConfigurationError(mistakes)
    return mapping


def read_copy(settings: Settings, old: Document, file: Path) -> tuple[Document | None, list[Mistake]]:
    """The same with its mistakes; what can be read of it, when there are some."""
    folders = settings.mapping_folders
    place = old.file.parent
    mapping, mistakes = document.read(file, folders=folders, parameters=settings.parameters, name=old.name, place=place)
    if mapping is None and not mistakes:
        mistakes = [Mistake(file, 0, 0, file.name, "is no mapping")]
    return mapping, mistakes


def severe(mistakes: Sequence[Mistake]) -> bool:
    """Whether one of them keeps a file from being put into force."""
    return any(mistake.severity == "error" for mistake in mistakes)


def of_text(settings: Settings, old: Document, text: str) -> Document:
    """The same of a text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{old.name}.yaml"
        file.write_text(text, encoding="utf-8")
        return edited(settings, old, file)


def verified(mappings: Sequence[Document], mis: Mis, *, known: Sequence[Mistake] = ()) -> ConfigurationError | None:
    """What the live database does not have or does not take, beside the mistakes that are known; None when all is good.

    Raises:
        Unreachable: the MIS is away.
    """
    with frame.working("comparing with the live database"):
        mistakes = [mistake for mapping in mappings for mistake in document.verify(mapping, mis)]
        mistakes += _once([mistake for mapping in mappings for mistake in live.unknown_choices(mapping, mis)])
    # One mistake a place: what is wrong with a name is known already where the file itself is wrong.
    places = {(mistake.file, mistake.line, mistake.column) for mistake in known}
    new = [each for each in mistakes if (each.file, each.line, each.column) not in places]
    return ConfigurationError([*known, *new]) if known or new else None


def lists(settings: Settings) -> lookup.Lists:
    """Kiva's own lists: as the relay read them last, else asked for now.

    Raises:
        RelayError: no relay read them yet, and Kiva does not give them.
    """
    with contextlib.suppress(UsageError), frame.outbox(settings) as outbox, outbox.read() as tx:
        kept = lookup.Lists.of(catalogue.load(tx))
        if kept.known:
            return kept
    client = Client(settings.kiva)
    try:
        token = Tokens(client, settings.kiva, clock=SystemClock()).current()
        ask = mirror.once(client, settings.kiva, token)
        return lookup.Lists.of({kind: mirror.one_list(ask, kind).items for kind in catalogue.KINDS})
    finally:
        client.close()
