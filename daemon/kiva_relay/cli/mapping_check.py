"""`kiva-relay mapping check`: the mapping files, against the live database and Kiva's own lists."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from kiva_relay import errors
from kiva_relay.cli import comparison, frame, mappings, nameless_words
from kiva_relay.clock import SystemClock
from kiva_relay.config.settings import Settings
from kiva_relay.errors import ConfigurationError, Mistake, RelayError, Unreachable, counted
from kiva_relay.mapping import lookup, mapper, survey
from kiva_relay.mapping.document import Document
from kiva_relay.mapping.mapper import Mapped
from kiva_relay.mapping.plan import Leaf
from kiva_relay.resource import refusal
from kiva_relay.service import opening
from kiva_relay.source.mis import Mis


def command(config: frame.Config = None) -> int:
    """Check the mappings: every mistake at once, with what to write instead.

    Then against the live database (each column and SELECT) and Kiva's lists (each name in a code table). Exit
    codes: 0 good, 2 mistakes, 3 the files are good and the database did not answer.
    """
    settings = frame.load(config)
    frame.header(settings)
    found, mistakes = mappings.read(settings)
    away = None
    try:
        mistakes = _live(settings, found, mistakes)
    except Unreachable as error:
        away = error
    if _files(mistakes):
        error_of_all = ConfigurationError(mistakes)
        error_of_all.hint = "Nothing changed: what is in force stays in force. Correct it, and run it again."
        raise error_of_all
    mistakes += _names(settings, found)
    for line in errors.listed(sorted(mistakes)):
        frame.say(line)
    frame.say(f"{counted(len(found), 'mapping')} good, {counted(len(mistakes), 'warning')}.")
    if away is not None:
        away.hint = "The files are good; their columns were not compared. Run it again when the database answers."
        raise away
    return 0


def _files(mistakes: Sequence[Mistake]) -> set[Path]:
    """The files with a mistake that keeps them from being put into force."""
    return {mistake.file for mistake in mistakes if mistake.severity == "error"}


def _live(settings: Settings, found: Sequence[Document], known: Sequence[Mistake]) -> list[Mistake]:
    """The mistakes, with those of the columns and, where these are right, what the rows in scope say."""
    mis = opening.open_mis(settings, clock=SystemClock())
    try:
        wrong = mappings.verified(found, mis, known=known)
        mistakes = list(wrong.mistakes) if wrong is not None else []
        bad = _files(mistakes)
        context = comparison.context(settings, quiet=True)
        with frame.working("looking at the rows in scope"):
            for mapping in found:
                if not bad.intersection(source.file for source in mapping.sources.files) and _answered(mapping):
                    mistakes += _rows(mapping, mis, context, settings)
        return mistakes
    finally:
        mis.close()


def _answered(mapping: Document) -> bool:
    """Whether the configuration says all that the mapping asks for; what is missing is said once for all files."""
    return all(parameter.name in mapping.stream.parameters for parameter in mapping.parameters)


def _rows(mapping: Document, mis: Mis, context: mapper.Context, settings: Settings) -> list[Mistake]:
    """What the rows say that are owed: with a day as `since`, none that is older."""
    chosen = {"loan_draft": settings.loan_drafts.since, "journal": settings.journals.since}.get(mapping.resource)
    zone = ZoneInfo(settings.mis.timezone)

    def is_ours(mapped: Mapped) -> bool:
        created = mapped.created_at
        if not isinstance(chosen, date) or created is None:
            return True
        return (created.astimezone(zone).date() if isinstance(created, datetime) else created) >= chosen

    try:
        return [*survey.look(mapping, mis, context=context, is_ours=is_ours), *_keys(mapping, mis)]
    except Unreachable:
        raise
    except RelayError as reason:
        return [Mistake(mapping.file, 0, 0, "source", str(reason))]


def _keys(mapping: Document, mis: Mis) -> Iterator[Mistake]:
    """A key that may name two rows, which would stop the mapping; rows that have none, and are not read."""
    stream = mapping.stream
    noted = next((one for one in mapping.columns if one.path == "source.key"), None)
    at = (mapping.file, noted.line, noted.column) if noted else (mapping.file, 0, 0)
    found = []
    if not mis.is_unique(stream):
        key = ", ".join(stream.key)
        message = f"nothing in the database keeps two rows of {stream.table} from having one {key}; that would stop it"
        query = f"SELECT {key}, COUNT(*) FROM {stream.table} GROUP BY {key} HAVING COUNT(*) > 1;"  # noqa: S608 - shown
        found.append((message, f"none may come:   {query}"))
    for name, one in mappings.nameless(mis, [mapping]).items():
        found.append((nameless_words.sentence(name, one), "\n".join(nameless_words.lines(one))))
    yield from mapping.placed([Mistake(*at, "source.key", *each, severity="warning") for each in found])


def _names(settings: Settings, found: Sequence[Document]) -> Iterator[Mistake]:
    """Names that the mappings and their code tables give to Kiva, and that are on none of Kiva's lists."""
    if not any(leaf.functions for mapping in found for leaf in mapping.leaves()):
        return
    try:
        lists = mappings.lists(settings)
    except RelayError as error:
        frame.notice(f"Not compared with Kiva's lists: {error}")
        return
    seen = set()
    for mapping in found:
        for leaf in mapping.leaves():
            for mistake in _leaf(mapping, leaf, lists):
                if mistake not in seen:
                    seen.add(mistake)
                    yield mistake


def _leaf(mapping: Document, leaf: Leaf, lists: lookup.Lists) -> Iterator[Mistake]:
    """A field whose last steps are `translate: TABLE` and `lookup: LIST`, or fixed words and `lookup: LIST`."""
    steps = {step.function: step.arguments for step in leaf.steps}
    if "lookup" not in steps:
        return
    kind = str(steps["lookup"][0])
    if isinstance(leaf.start, str) and len(leaf.steps) == 1:
        yield from _unknown(leaf.start, kind, lists, at=Mistake(mapping.file, 0, 0, leaf.name, ""))
    table = mapping.tables.get(str(next(iter(steps.get("translate", ())), "")))
    if table is None:
        return
    for code, name in table.rows.items():
        place = Mistake(table.file, 0, 0, code, "", severity="warning")
        yield from _unknown(name, kind, lists, at=place)


def _unknown(name: str, kind: str, lists: lookup.Lists, *, at: Mistake) -> Iterator[Mistake]:
    try:
        lists.find(kind, name)
    except lookup.ListsUnknown:
        return
    except lookup.Unknown as unknown:
        given: dict[str, Any] = {"file": at.file, "line": at.line, "column": at.column, "path": at.path}
        message, remedy = refusal.sentence(unknown.refusal), "Correct the name; these are refused until then."
        yield Mistake(**given, message=message, remedy=remedy, severity=at.severity)
