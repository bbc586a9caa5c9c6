"""A mapping over a sample of the live rows: columns that are NULL, relations of several rows, warnings, refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from kiva_relay.errors import Mistake, counted
from kiva_relay.mapping import book, difference, mapper
from kiva_relay.mapping.mapper import Context, Mapped
from kiva_relay.mapping.plan import Column, Document
from kiva_relay.resource import refusal
from kiva_relay.resource.kind import RESOURCES
from kiva_relay.resource.refusal import Refusal
from kiva_relay.source.reader import Content

# So many rows are looked at: enough to see what is usual, and read within seconds.
SAMPLE = 2000

# At most this many reasons of a mapping are reported, and this many loans for each.
REASONS = 20
_IDS = 3

# Reasons that say enough in the report of a column or a relation, or that are nobody's mistake.
_SAID = ("missing", "name_empty", "relation_missing", "relation_not_unique")


def look(
    mapping: Document,
    mis: book.BookDatabase,
    *,
    context: Context,
    sample: int = SAMPLE,
    is_ours: Callable[[Mapped], bool] = lambda _mapped: True,
) -> list[Mistake]:
    """What the rows in scope say about a mapping: mistakes, and warnings with how many rows each concerns.

    `is_ours` tells which of them are owed at all: of a row that is older nothing has to be put right. Raises RelayError
    when the database does not answer.
    """
    rows = 0
    nulls: Counter[Column] = Counter()
    several: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    reported: dict[tuple[str, str, str], list[tuple[str, Refusal]]] = {}
    direct = _direct(mapping)
    for page in book.contents(mapping.stream, mis, cutoff=context.cutoff, limit=sample):
        for content in page:
            mapped = mapper.apply(mapping, content, context=context)
            if not is_ours(mapped):
                continue
            rows += 1
            nulls.update(column for column in direct if _is_null(column, content))
            for reason in (*mapped.refusals, *mapped.warnings):
                several[reason.field] += reason.code == "relation_not_unique"
                lacking[reason.field] += reason.code == "relation_missing"
                if reason.code not in _SAID:
                    kind = (reason.code, reason.params.get("value", ""), difference.without_numbers(reason.field))
                    reported.setdefault(kind, []).append((mapped.loan_id or f"row {content.key}", reason))
    scope = f"{counted(rows, 'row')} in scope" if rows < sample else f"the first {sample:,} rows in scope"
    return mapping.placed(
        [
            *_nulls(mapping, nulls, scope),
            *_relations(mapping, several, lacking, scope),
            *_reported(mapping, reported, scope),
        ]
    )


def _direct(mapping: Document) -> list[Column]:
    """Columns that become a field as they are, each once."""
    return list({(each.owner, each.name, each.path): each for each in mapping.columns if each.kind}.values())


def _is_null(column: Column, content: Content) -> bool:
    row = content.root if not column.owner else content.related.get(column.owner)
    if isinstance(row, list):
        return any(one.get(column.name) is None for one in row)
    return row is not None and row.get(column.name) is None


def _nulls(mapping: Document, nulls: Counter[Column], scope: str) -> Iterator[Mistake]:
    required = {leaf.name for leaf in mapping.leaves() if leaf.required} | _needed(mapping)
    for column, number in nulls.items():
        name = column.path.removesuffix(".from").rpartition(".")[2]
        table = column.owner or mapping.stream.table
        then = "those are refused" if name in required else "there the field is left out"
        message = f"{table}.{column.name} is NULL in {number:,} of {scope}; {then}"
        yield Mistake(mapping.file, column.line, column.column, column.path, message, severity="warning")


def _needed(mapping: Document) -> set[str]:
    """Fields without which a body is refused."""
    fields = RESOURCES[mapping.resource].fields
    return {each.name for field in fields for each in (field, *field.fields) if each.required}


def _relations(mapping: Document, several: Counter[str], lacking: Counter[str], scope: str) -> Iterator[Mistake]:
    for relation in mapping.stream.relations:
        path = f"relations.{relation.name}"
        line, column = mapping.places.get(path, (0, 0))
        if number := several[relation.name]:
            message = f"is read as one row, and {number:,} of {scope} have several; those are refused"
            remedy = "match a unique column, or write `many: true` and choose with `first` or `only`"
            yield Mistake(mapping.file, line, column, path, message, remedy)
        if number := lacking[relation.name]:
            message = f"has no row for {number:,} of {scope}; those are refused"
            yield Mistake(mapping.file, line, column, path, message, "optional: true", severity="warning")


def _reported(
    mapping: Document, reported: Mapping[tuple[str, str, str], list[tuple[str, Refusal]]], scope: str
) -> Iterator[Mistake]:
    """Each reason with how many rows it concerns, and the first of them as the example."""
    places = _places(mapping)
    ordered = sorted(reported.items(), key=lambda one: -len(one[1]))
    for (_, _, path), rows in ordered[:REASONS]:
        loans = list(dict.fromkeys(loan for loan, _ in rows))
        which = " ".join(loans[:_IDS]) + (" …" if len(loans) > _IDS else "")
        message = f"{len(loans):,} of {scope} ({which}): {refusal.sentence(rows[0][1])}"
        line, column = places.get(f"fields.{path}", (0, 0))
        remedy = refusal.remedy(rows[0][1])
        yield Mistake(mapping.file, line, column, f"fields.{path}", message, remedy, severity="warning")
    if len(ordered) > REASONS:
        message = f"and {counted(len(ordered) - REASONS, 'reason')} more"
        yield Mistake(mapping.file, 0, 0, "fields", message, "kiva-relay rehearse", severity="warning")


def _places(mapping: Document) -> dict[str, tuple[int, int]]:
    """Where each field stands: its own column, or one that a part of it reads."""
    found: dict[str, tuple[int, int]] = {}
    for column in mapping.columns:
        path = difference.without_numbers(column.path).replace(".do.", ".")
        for known in (path, path.rpartition(".")[0]):
            found.setdefault(known, (column.line, column.column))
    return found
