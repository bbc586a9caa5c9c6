"""What a field of Kiva's takes: its kind, whether it must be there, and how long a text may be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from kiva_relay.frozen import dataclass
from kiva_relay.resource.refusal import Refusal

Kind = Literal["text", "integer", "amount", "date", "boolean", "image", "list", "object"]

# No field of Kiva's is known to take more; a story is a few thousand letters.
TEXT_LIMIT = 64 * 1024

# An id of an MIS has some twenty letters, a person's name some fifty; a group's, of all its members, has more.
ID_LIMIT = 200
NAME_LIMIT = 300


@dataclass(frozen=True)
class Field:
    """One field of a body.

    `kind` is what Kiva takes. `fields` are the parts of an object, or of each object of a list; `items` is
    the kind of each value of a list without parts. `required`: a body without it is refused. `to_publish`:
    PA2 asks the coordinator for it before publishing. `limit`: the longest text, in letters.
    """

    name: str
    kind: Kind
    doc: str
    required: bool = False
    to_publish: bool = False
    fields: tuple[Field, ...] = ()
    items: Kind | None = None
    limit: int = TEXT_LIMIT


@dataclass(frozen=True)
class CheckFacts:
    """What a check may know beside the body.

    `today` is the date in the MIS's zone; `columns` PA2's upload format (2 or 3); `basis` how positions are
    reported; `principal` what was lent (from the mapping's `checks:`); `previous` the position last sent for
    the loan, on the same basis; `lent_at_kiva` and `currency_at_kiva` what Kiva lists, `currency` what the MIS has;
    `twins` how many expected loans have its id at Kiva; `contacts` the telephone numbers and addresses that the MIS
    has for the borrower; `left` the fields that the mapping leaves to the coordinator.
    """

    today: date
    columns: int = 2
    basis: str = "cumulative_principal"
    principal: Decimal | None = None
    previous: Decimal | None = None
    lent_at_kiva: Decimal | None = None
    currency_at_kiva: str | None = None
    currency: str | None = None
    twins: int = 1
    contacts: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


# The refusal for a required field that is empty, where a word of its own helps more than "missing".
EMPTY = {
    "first_name": "name_empty",
    "last_name": "name_empty",
    "group_name": "name_empty",
    "client_waiver_signed": "waiver_missing",
}


def empty(name: str, path: str) -> Refusal:
    """The refusal for the required field `name`, at `path`, when it is empty."""
    return Refusal(EMPTY.get(name, "missing"), path)


def problems(fields: tuple[Field, ...], body: Mapping[str, Any], *, at: str = "") -> list[Refusal]:
    """Everything that is missing, unknown, too long or of the wrong kind, whatever the resource."""
    known = {field.name for field in fields}
    found = [
        Refusal("wrong_type", at + name, {"expected": "absent", "found": "a field that Kiva does not know"})
        for name in body
        if name not in known
    ]
    for field in fields:
        value = body.get(field.name)
        path = at + field.name
        if value is None or value in ("", [], {}):
            if field.required:
                found.append(empty(field.name, path))
            continue
        found += _of_kind(field, value, path)
    return found


def _of_kind(field: Field, value: Any, path: str) -> list[Refusal]:
    if field.kind == "object":
        return (
            problems(field.fields, value, at=path + ".") if isinstance(value, Mapping) else [_wrong(field.kind, path)]
        )
    if field.kind == "list":
        if not isinstance(value, list):
            return [_wrong("list", path)]
        return [problem for number, item in enumerate(value) for problem in _item(field, item, f"{path}[{number}]")]
    if not fits(field.kind, value):
        return [_wrong(field.kind, path)]
    if field.kind == "text" and len(value) > field.limit:
        return [Refusal("too_long", path, {"found": str(len(value)), "limit": str(field.limit)})]
    return []


def _item(field: Field, item: Any, path: str) -> list[Refusal]:
    if field.items is not None:
        return [] if fits(field.items, item) else [_wrong(field.items, path)]
    return problems(field.fields, item, at=path + ".") if isinstance(item, Mapping) else [_wrong("object", path)]


def _wrong(kind: Kind, path: str) -> Refusal:
    return Refusal("wrong_type", path, {"expected": EXPECTED[kind], "found": "something else"})


EXPECTED: dict[Kind, str] = {
    "text": "a text",
    "integer": "a whole number",
    "amount": "an amount",
    "date": "a date",
    "boolean": "true or false",
    "image": "a photo",
    "list": "a list",
    "object": "an object",
}


def fits(kind: Kind, value: Any) -> bool:
    """Whether a value, as it stands in a body, is of this kind."""
    if isinstance(value, bool) or kind == "boolean":
        return kind == "boolean" and isinstance(value, bool)
    if kind == "date":
        return as_date(value) is not None
    return isinstance(value, _TYPES[kind])


_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "image": (str,),
    "integer": (int,),
    "amount": (int, Decimal),
    "list": (list,),
    "object": (Mapping,),
}


def as_date(value: Any) -> date | None:
    """The date that stands in a body as `YYYY-MM-DD`; None when it is none."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
