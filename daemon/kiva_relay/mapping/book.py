"""The whole book through a mapping, a page at a time: what each loan becomes, and what an edit would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Protocol

from kiva_relay.mapping import mapper
from kiva_relay.mapping.mapper import Context, Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import body as bodies
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

PAGE = 500


class BookDatabase(Protocol):
    """What is asked of the MIS here; `source.mis.Mis` answers it."""

    def scan(self, stream: Stream, *, after: str | None, limit: int) -> list[str]:
        """Keys in scope behind a key, in the order of the table's key."""
        ...

    def read(self, stream: Stream, keys: Sequence[str], *, cutoff: date) -> list[Content]:
        """The content of each key, in the order of the keys."""
        ...


def contents(
    stream: Stream, mis: BookDatabase, *, cutoff: date, limit: int | None = None, page: int = PAGE
) -> Iterator[list[Content]]:
    """Everything in scope, page by page; at most `limit` rows.

    Raises RelayError when the database does not answer or refuses a query.
    """
    after, left = None, limit
    while left is None or left > 0:
        keys = mis.scan(stream, after=after, limit=page if left is None else min(page, left))
        if not keys:
            return
        yield mis.read(stream, keys, cutoff=cutoff)
        after = keys[-1]
        left = None if left is None else left - len(keys)


Kind = Literal["changed", "sent", "refused", "in_scope", "out_of_scope", "waiting", "reason"]

KINDS: Mapping[Kind, str] = {
    "changed": "another body",
    "sent": "would be sent; was not before",
    "refused": "would be refused; was not before",
    "in_scope": "would come into scope",
    "out_of_scope": "would leave the scope",
    "waiting": "would wait; did not before",
    "reason": "refused for another reason",
}
"""What an edit can do to a loan. Bodies change with all of them but the last."""


@dataclass(frozen=True)
class Change:
    """What an edit changes for one loan: `fields` are the place, what it was and what it would be."""

    key: str
    identity: str
    loan_id: str
    kind: Kind
    fields: tuple[tuple[str, Any, Any], ...] = ()


@dataclass
class MappingDifference:
    """What an edit changes over the book. `rows` is how many were compared."""

    rows: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def bodies(self) -> list[Change]:
        """The changes by which Kiva would get something else than before."""
        return [change for change in self.changes if change.kind != "reason"]

    def fields(self) -> Counter[str]:
        """How often each field changes; the places in a list count as one field."""
        return Counter(path for change in self.changes for path in {_anywhere(path) for path, _, _ in change.fields})


def difference(
    old: Document,
    new: Document,
    mis: BookDatabase,
    *,
    context: Context,
    progress: Callable[[int], None] = lambda _rows: None,
) -> MappingDifference:
    """Compare what two versions of a mapping make of the present book: exactly the loans whose outcome differs.

    `progress` is told how many rows were compared. Raises RelayError when the database refuses a query.
    """
    found = MappingDifference()
    again = old.stream != new.stream
    touched = None if again else _touched(old, new)
    for page in contents(old.stream, mis, cutoff=context.cutoff):
        edited = page
        if again:
            edited = mis.read(new.stream, [content.key for content in page], cutoff=context.cutoff)
        for before, after in zip(page, edited, strict=True):
            found.rows += 1
            if touched is None or _differ(old, new, before, touched, context):
                _compare(found, (old, before), (new, after), context)
        progress(found.rows)
    if again and (old.stream.where, old.stream.table, old.stream.parameters) != (
        new.stream.where,
        new.stream.table,
        new.stream.parameters,
    ):
        for page in contents(new.stream, mis, cutoff=context.cutoff):
            was = mis.read(old.stream, [content.key for content in page], cutoff=context.cutoff)
            for before, after in zip(was, page, strict=True):
                if not before.in_scope:
                    found.rows += 1
                    _compare(found, (old, before), (new, after), context)
            progress(found.rows)
    return found


def _compare(
    found: MappingDifference, old: tuple[Document, Content], new: tuple[Document, Content], context: Context
) -> None:
    before, after = _outcome(*old, context), _outcome(*new, context)
    change = _change(old[1].key, before, after)
    if change is not None:
        found.changes.append(change)


def _touched(old: Document, new: Document) -> set[str] | None:
    """The fields that the edit touched, where nothing else of the mapping was: then only those need comparing first."""
    if (old.identity, old.when, old.checks, old.tables) != (new.identity, new.when, new.checks, new.tables):
        return None
    return {name for name in old.fields.keys() | new.fields.keys() if old.fields.get(name) != new.fields.get(name)}


def _differ(old: Document, new: Document, content: Content, touched: set[str], context: Context) -> bool:
    """Do the fields that the edit touched come to something else for this row?"""
    before = mapper.some(old, content, context=context, fields=touched)
    return before != mapper.some(new, content, context=context, fields=touched)


def _outcome(mapping: Document, content: Content, context: Context) -> Mapped | None:
    return mapper.apply(mapping, content, context=context) if content.in_scope else None


def _change(key: str, before: Mapped | None, after: Mapped | None) -> Change | None:
    shown = after or before
    if shown is None:
        return None
    kind = _kind(before, after)
    if kind is None:
        return None
    was, now = (before.body if before else None), (after.body if after else None)
    fields = tuple(_fields(was, now)) if was is not None and now is not None else ()
    return Change(key, shown.identity or "", shown.loan_id, kind, fields)


def _kind(before: Mapped | None, after: Mapped | None) -> Kind | None:
    if before is None or after is None:
        return "in_scope" if before is None else "out_of_scope"
    if before.body is not None and after.body is not None:
        same = before.identity == after.identity and bodies.encode(before.body) == bodies.encode(after.body)
        return None if same else "changed"
    if after.body is not None:
        return "sent"
    if before.body is not None:
        return "waiting" if after.waiting else "refused"
    same = (before.refusals, before.waiting) == (after.refusals, after.waiting)
    return None if same else "reason"


def _fields(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place at which two bodies differ."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*was, *now)):
            yield from _fields(was.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (left, right) in enumerate(zip(was, now, strict=True)):
            yield from _fields(left, right, f"{path}[{number}]")
    elif bodies.encode({"": was}) != bodies.encode({"": now}):
        yield path, was, now


def _anywhere(path: str) -> str:
    return "".join(part.partition("]")[2] if number else part for number, part in enumerate(path.split("[")))
