"""The functions of a mapping: in an expression after `|`, in the long form as a key.

NULL passes through every one of them as NULL: a borrower without a name is never called None. A function that
cannot go on raises `Refused`, which becomes a refusal on record.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

import ftfy

from kiva_relay.mapping import image, lookup
from kiva_relay.resource.field import TEXT_LIMIT
from kiva_relay.resource.refusal import Refusal

# Powers of ten beyond which a number is no amount and no id, but would fill the memory when it is written out.
MAGNITUDE = 30


class Refused(Exception):
    """A value that cannot be sent; `refusal` says why, still without the field."""

    def __init__(self, code: str, **params: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, params=params)


@dataclass(frozen=True)
class Run:
    """What functions may know beside their value: lists, code tables, the MIS's zone, how photos are wanted."""

    lists: lookup.Lists = field(default_factory=lookup.Lists)
    tables: Mapping[str, lookup.Table] = field(default_factory=dict)
    timezone: str = "UTC"
    photos: Literal["sha256", "bytes"] = "sha256"


class Untranslated(str):
    """A text without a line in a code table: still good when a list of Kiva's knows it, refused otherwise."""

    __slots__ = ("table",)
    table: str

    def __new__(cls, text: str, *, table: str) -> Self:
        """The text, and the table that has no line for it."""
        made = super().__new__(cls, text)
        made.table = table
        return made


def settled(value: Any) -> Any:
    """The value, when it may be used as it is; raises Refused for one that was not translated."""
    if isinstance(value, Untranslated):
        raise Refused("no_translation", value=str(value), table=f"lookup/{value.table}")
    return value


def written(value: Any) -> str:
    """A value as text, as codes are compared and ids are written: no blanks around, no zeros after a point."""
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(number(value).normalize(), "f")
        case str():
            return str(settled(value)).strip()
        case datetime() | date():
            return value.isoformat()
        case int():
            return str(value)
        case _:
            raise Refused("wrong_type", expected="one value", found=kind_of(value))


def kind_of(value: Any) -> str:
    """The kind of a value in a person's words."""
    names = {bool: "true or false", str: "a text", int: "a number", Decimal: "a number", bytes: "binary data"}
    if isinstance(value, list):
        return "several rows"
    if isinstance(value, Mapping):
        return "a row"
    if isinstance(value, datetime):
        return "a moment"
    return (
        "a date" if isinstance(value, date) else names.get(type(value), "NULL" if value is None else "something else")
    )


def number(value: Any) -> Decimal:
    """A number, exactly; raises Refused for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused("wrong_type", expected="a number", found=kind_of(value))
    exact = Decimal(value)
    if not exact.is_finite() or abs(exact.adjusted()) > MAGNITUDE:
        raise Refused("wrong_type", expected="a number", found="one that no amount can be")
    return exact


def choose(run: Run, value: Any, known: Mapping[Any, Any], *otherwise: Any) -> Any:
    """The value that stands beside the code in the list; without it `otherwise`, or a refusal."""
    del run
    codes = {written(code): choice for code, choice in known.items()}
    code = written(value)
    if code in codes:
        return codes[code]
    if otherwise:
        return otherwise[0]
    raise Refused("code_unknown", value=code, known=", ".join(codes))


def translate(run: Run, value: Any, table: str) -> Any:
    """The second value of the line of `lookup/TABLE` that begins with this one."""
    code = written(value)
    found = run.tables[table].find(code)
    return Untranslated(code, table=table) if found is None else found


def look_up(run: Run, value: Any, kind: str) -> Any:
    """What Kiva gets for a name of its own lists (activities, themes, locations, locales, currencies)."""
    # An untranslated name may be one of Kiva's already; the refusal then names the nearest ones.
    name = str(value).strip() if isinstance(value, str) else written(value)
    try:
        return run.lists.find(kind, name)
    except lookup.Unknown as unknown:
        raise Refused(unknown.refusal.code, **unknown.refusal.params) from None


def money(run: Run, value: Any, digits: Any = 2) -> Decimal:
    """The amount, rounded half up to the currency's digits (2 when none are given)."""
    del run
    places = number(digits)
    try:
        return number(value).quantize(Decimal(1).scaleb(-int(places)), rounding=ROUND_HALF_UP)
    except InvalidOperation:
        raise Refused("wrong_type", expected="an amount", found="a number that is too large") from None


def share(run: Run, total: Any, position: Any, rows: Any, digits: Any = 2) -> Decimal:
    """The part of `total` for the row at `position` (from 1): equal parts, and the first takes the remainder."""
    del run
    number_of_rows = len(several(rows))
    unit = Decimal(1).scaleb(-int(number(digits)))
    whole = money(Run(), total, digits)
    part = (whole / number_of_rows // unit) * unit
    return (whole - part * (number_of_rows - 1) if number(position) == 1 else part).quantize(unit)


def only(run: Run, rows: Any, column: str) -> Any:
    """The column's value, when it is the same in all rows; a refusal when it differs. NULL without rows."""
    del run
    values = [row[column] for row in several(rows)]
    distinct = list(dict.fromkeys(values))
    if len(distinct) > 1:
        shown = ", ".join("NULL" if value is None else written(value) for value in distinct)
        raise Refused("not_the_same", column=column, values=shown)
    return distinct[0] if distinct else None


def first(run: Run, rows: Any, column: str) -> Any:
    """The column's first value that is not NULL, in the rows' order."""
    del run
    return next((row[column] for row in several(rows) if row[column] is not None), None)


def count(run: Run, rows: Any) -> int:
    """How many rows there are."""
    del run
    return len(several(rows))


def after(run: Run, value: Any, mark: str) -> str | None:
    """What follows the first `mark` in a text; NULL without it."""
    del run
    _, found, rest = written(value).partition(mark)
    return rest if found else None


def trim(run: Run, value: Any) -> str:
    """The text without blanks and line ends around it."""
    del run
    return written(value).strip()


def text(run: Run, value: Any) -> str:
    """The value as a text; wrongly decoded letters (`SÃ£o`) are mended, control characters taken out."""
    del run
    mended = unicodedata.normalize("NFC", ftfy.fix_encoding(written(value)))
    return "".join(letter for letter in mended if letter in "\n\t" or unicodedata.category(letter) != "Cc")


def day(run: Run, value: Any) -> date:
    """The date: of a moment in the MIS's zone, of a text `YYYY-MM-DD`."""
    if isinstance(value, datetime):
        return (value.astimezone(ZoneInfo(run.timezone)) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(written(value)[:10])
    except ValueError:
        raise Refused("wrong_type", expected="a date", found=kind_of(value)) from None


def photo(run: Run, value: Any, folder: str = "") -> str:
    """The photo in the file that the value names (below `folder`, when it is no full path)."""
    path = Path(folder) / written(value)
    try:
        return image.data_uri(path) if run.photos == "bytes" else image.fingerprint(path)
    except image.Unusable as unusable:
        raise Refused(unusable.refusal.code, **unusable.refusal.params) from None


def several(rows: Any) -> Sequence[Mapping[str, Any]]:
    """The rows of a `many` relation; raises Refused for a single value."""
    if not isinstance(rows, list):
        raise Refused("wrong_type", expected="several rows", found=kind_of(rows))
    return rows


@dataclass(frozen=True)
class Function:
    """One function: what it computes, and how many values it takes beside the first (least, most).

    `rows`: its first value is a `many` relation. `example` is the way it is written.
    """

    compute: Callable[..., Any]
    least: int
    most: int
    example: str
    rows: bool = False


FUNCTIONS: dict[str, Function] = {
    "choose": Function(choose, 1, 2, "gender.code_value | choose({'F': 'female', 'M': 'male'}, 'unknown')"),
    "lookup": Function(look_up, 1, 1, "purpose.code_value | lookup('activities')"),
    "translate": Function(translate, 1, 1, "purpose.code_value | translate('activities.csv')"),
    "money": Function(money, 0, 1, "principal_amount | money(currency_digits)"),
    "share": Function(share, 2, 3, "root.principal_amount | share(position, root.members, root.currency_digits)"),
    "only": Function(only, 1, 1, "loans | only('currency_code')", rows=True),
    "first": Function(first, 1, 1, "loans | first('purpose')", rows=True),
    "count": Function(count, 0, 0, "loans | count", rows=True),
    "after": Function(after, 1, 1, "note | after('KIVA:')"),
    "trim": Function(trim, 0, 0, "client.firstname | trim"),
    "text": Function(text, 0, 0, "client.mobile_no | text"),
    "date": Function(day, 0, 0, "created_on_utc | date"),
    "image": Function(photo, 0, 1, "photo.location | image"),
}


def call(name: str, run: Run, value: Any, *arguments: Any) -> Any:
    """The function's result; NULL for NULL, whatever the function."""
    if value is None:
        return None
    if name not in ("lookup", "translate", "choose"):
        settled(value)
    if any(argument is None for argument in arguments) and name in ("money", "share"):
        raise Refused("expression_failed", reason=f"{name} got NULL for one of its values")
    try:
        return FUNCTIONS[name].compute(run, value, *arguments)
    except (TypeError, ValueError, ArithmeticError, KeyError) as reason:
        # The row holds what nobody foresaw: it is refused, and the next row goes on.
        raise Refused("expression_failed", reason=f"{name}: {type(reason).__name__}") from None


def joined(parts: Sequence[Any]) -> str | None:
    """Texts one after the other (`~`); NULL as soon as one of them is NULL."""
    if any(part is None for part in parts):
        return None
    # Blanks inside belong to the text: only numbers and dates are written, texts stay as they are.
    whole = "".join(settled(part) if isinstance(part, str) else written(part) for part in parts)
    if len(whole) > TEXT_LIMIT:
        raise Refused("too_long", found=str(len(whole)), limit=str(TEXT_LIMIT))
    return whole


def compared(left: Any, operator: str, right: Any) -> bool | None:
    """A comparison; with NULL on one side `==` and `!=` answer, the others are NULL."""
    if operator in ("eq", "ne"):
        same = written(left) == written(right) if _alike(left, right) else left == right
        return same if operator == "eq" else not same
    if left is None or right is None:
        return None
    if operator in ("in", "notin"):
        inside = left in right if isinstance(right, str) else any(compared(left, "eq", each) for each in right)
        return inside if operator == "in" else not inside
    try:
        return bool(_ORDER[operator](settled(left), settled(right)))
    except TypeError:
        raise Refused("expression_failed", reason=f"{kind_of(left)} cannot be compared with {kind_of(right)}") from None


_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "lt": lambda left, right: left < right,
    "lteq": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gteq": lambda left, right: left >= right,
}


def _alike(left: Any, right: Any) -> bool:
    # A code that the one database holds as 3 and the other as '3' is the same code.
    return {isinstance(left, str), isinstance(right, str)} == {True, False} and all(
        isinstance(each, str | int | Decimal) and not isinstance(each, bool) for each in (left, right)
    )
