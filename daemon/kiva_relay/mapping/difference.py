"""What an edit of a mapping changes for one row: its outcome before and after, compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import mapper
from kiva_relay.mapping.mapper import Context, Mapped
from kiva_relay.mapping.plan import Document
from kiva_relay.resource import body as bodies
from kiva_relay.source.reader import Content
from kiva_relay.source.stream import Stream

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


def of_row(
    old: tuple[Document, Content], new: tuple[Document, Content], *, context: Context, touched: set[str] | None
) -> Change | None:
    """What one row comes to by two versions of a mapping, compared.

    `touched` is what `touched` gives for the two. Where these fields come to the same, nothing else is computed.
    """
    if touched is not None and _comes_to(old, context, touched) == _comes_to(new, context, touched):
        return None
    return change(old[1].key, _outcome(old, context), _outcome(new, context))


def touched(old: Document, new: Document) -> set[str] | None:
    """The fields that an edit touched; None when it touched something else, or what is read."""
    if both(old.stream, new.stream) is None or (old.identity, old.when, old.checks, old.tables) != (
        new.identity,
        new.when,
        new.checks,
        new.tables,
    ):
        return None
    return {name for name in old.fields.keys() | new.fields.keys() if old.fields.get(name) != new.fields.get(name)}


def both(old: Stream, new: Stream) -> Stream | None:
    """What reads the columns that two versions name, where they read the same rows; None where they do not."""
    if dataclasses.replace(old, named=new.named, pictures=new.pictures) != new:
        return None
    named = None if old.named is None or new.named is None else old.named | new.named
    return dataclasses.replace(old, named=named, pictures=old.pictures | new.pictures)


def without_numbers(path: str) -> str:
    """A place in a body without the numbers of its rows: `schedule[2].date` as `schedule.date`."""
    return "".join(part.partition("]")[2] if number else part for number, part in enumerate(path.split("[")))


def _comes_to(version: tuple[Document, Content], context: Context, fields: set[str]) -> object:
    document, content = version
    return mapper.some(document, content, context=context, fields=fields)


def _outcome(version: tuple[Document, Content], context: Context) -> Mapped | None:
    document, content = version
    return mapper.apply(document, content, context=context) if content.in_scope else None


def change(key: str, before: Mapped | None, after: Mapped | None) -> Change | None:
    """What a row came to before an edit and after it, compared; None when nothing would change.

    None in place of one of them: the row is not in scope.
    """
    shown = after or before
    if shown is None:
        return None
    kind = _kind(before, after)
    if kind is None:
        return None
    was, now = (before.body if before else None), (after.body if after else None)
    fields = tuple(places(was, now)) if was is not None and now is not None else ()
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


def places(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place at which two bodies differ."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*was, *now)):
            yield from places(was.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (left, right) in enumerate(zip(was, now, strict=True)):
            yield from places(left, right, f"{path}[{number}]")
    elif bodies.encode({"": was}) != bodies.encode({"": now}):
        yield path, was, now
