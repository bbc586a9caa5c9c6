"""The functions of a mapping: in an expression after `|`, in the long form as a key.

NULL passes through every one of them as NULL: a borrower without a name is never called None. A function that
cannot go on raises `Refused`, which becomes a refusal on record.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from kiva_relay.frozen import dataclass
from kiva_relay.mapping import currency, encoding, lookup, moment
from kiva_relay.mapping import name as names
from kiva_relay.resource import field as fields
from kiva_relay.resource import unseen
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
    """What functions may know beside their value: lists, code tables, the MIS's zone, how photos are wanted.

    `photo_folders` are those below which a photo may lie that the mapping does not look for in a folder of its own.
    """

    lists: lookup.Lists = field(default_factory=lookup.Lists)
    tables: Mapping[str, lookup.LookupTable] = field(default_factory=dict)
    timezone: str = "UTC"
    photos: Literal["sha256", "bytes"] = "sha256"
    photo_folders: tuple[Path, ...] = ()


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


# MariaDB's tinyint(1) is read as true or false, also where it holds codes; and a mapping writes 0 and 1 for those.
_SWITCH = {"true": "1", "false": "0"}
_SWITCHED = {False: "false", True: "true"}


def coded(value: Any) -> tuple[str, ...]:
    """A code as it may stand in a list, likeliest first: without letters that nobody sees; true is 1 too."""
    code = unseen.removed(written(value)).strip()
    if isinstance(value, bool):
        return code, _SWITCH[code]
    if isinstance(value, int) and value in (0, 1):
        return code, _SWITCHED[bool(value)]
    return (code,)


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
    spellings = coded(value)
    for code in spellings:
        if code in codes:
            return codes[code]
    if otherwise:
        return otherwise[0]
    raise Refused("code_unknown", value=spellings[0], known=", ".join(codes))


def translate(run: Run, value: Any, table: str) -> Any:
    """The second value of the line of `lookup/TABLE` that begins with this one."""
    spellings = coded(value)
    found = next((line for code in spellings if (line := run.tables[table].find(code)) is not None), None)
    return Untranslated(spellings[0], table=table) if found is None else found


def look_up(run: Run, value: Any, kind: str) -> Any:
    """What Kiva gets for a name of its own lists (activities, themes, locations, locales, currencies)."""
    # An untranslated name may be one of Kiva's already; the refusal then names the nearest ones.
    name = unseen.removed(str(value)).strip() if isinstance(value, str) else written(value)
    try:
        return run.lists.find(kind, name)
    except lookup.Unknown as unknown:
        raise Refused(unknown.refusal.code, **unknown.refusal.params) from None


def money(run: Run, value: Any, digits: Any = 2) -> Decimal:
    """The amount, rounded half up to this many digits; in place of a number a currency's code may stand."""
    del run
    places = currency.digits(digits) if isinstance(digits, str) else int(number(digits))
    try:
        return number(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    except InvalidOperation:
        raise Refused("wrong_type", expected="an amount", found="a number that is too large") from None


def share(run: Run, total: Any, position: Any, rows: Any, digits: Any = 2) -> Decimal:
    """The part of `total` for the row at `position` (from 1): equal parts, and the first takes the remainder."""
    number_of_rows = len(several(rows))
    if not number_of_rows:
        raise Refused("expression_failed", reason="share: there are no rows to share among")
    whole = money(run, total, digits)
    unit = Decimal(1).scaleb(int(whole.as_tuple().exponent))
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
    """The text, without blanks and line ends around it."""
    del run
    return written(value).strip()


def text(run: Run, value: Any) -> str:
    """The value as a text; wrongly decoded letters (`SÃ£o`) are mended, letters that nobody sees taken out."""
    del run
    given = written(value)
    if len(given) <= fields.TEXT_LIMIT:
        # Line by line. What is longer is refused in any case; mending 1 MB of it took 40 seconds.
        given = "\n".join(encoding.mended(line) for line in given.split("\n"))
    return unicodedata.normalize("NFC", unseen.removed(given))


def person(run: Run, value: Any) -> str:
    """A person's name as people write it: only one that came in one letter case throughout is changed."""
    return names.cased(text(run, value))


def day(run: Run, value: Any, *forms: str) -> date | None:
    """The day: of a moment in the MIS's zone, of a text in ISO's form or in one of those given; NULL of a zero date.

    A zone among the forms says how a moment without a zone is meant.
    """
    try:
        return moment.day(value, forms, zone=ZoneInfo(run.timezone))
    except moment.NoDay:
        raise Refused("wrong_type", expected="a date", found=kind_of(value)) from None


def photo(run: Run, value: Any, folder: str = "") -> str | None:
    """The photo itself (bytes, base64), or in the file that the value names: below `folder`, else below mis.photos."""
    if isinstance(value, str | bytes) and not value.strip():
        return None
    from kiva_relay.mapping import image  # noqa: PLC0415 - it loads Pillow, and many an MFI sends no photos

    try:
        taken = image.taken(settled(value), folder, allowed=run.photo_folders)
        return image.data_uri(taken) if run.photos == "bytes" else image.fingerprint(taken)
    except image.Unusable as unusable:
        raise Refused(unusable.refusal.code, **unusable.refusal.params) from None


def refuse(run: Run, value: Any, reason: str) -> None:
    """Refuses the row, with the value and this reason, whenever the value is not NULL."""
    del run
    raise Refused("to_a_person", value=written(value), reason=reason)


def several(rows: Any) -> Sequence[Mapping[str, Any]]:
    """The rows of a `many` relation; raises Refused for a single value."""
    if not isinstance(rows, list):
        raise Refused("wrong_type", expected="several rows", found=kind_of(rows))
    return rows


@dataclass(frozen=True)
class Function:
    """One function: what it computes, and how many values it takes beside the first (least, most).

    `rows`: its first value is a `many` relation. `examples` are expressions over WORLD and what they give, as text:
    the documentation shows them, and a test holds them to it.
    """

    compute: Callable[..., Any]
    least: int
    most: int
    examples: tuple[tuple[str, str], ...]
    rows: bool = False

    @property
    def example(self) -> str:
        """The way it is written."""
        return self.examples[0][0]


WORLD: dict[str, Any] = {
    "code": "F",
    "amount": Decimal("250000.499000"),
    "loans": [
        {"currency_code": "XOF", "purpose": None, "day": date(2026, 11, 20)},
        {"currency_code": "XOF", "purpose": "Elevage", "day": date(2026, 11, 23)},
    ],
}
"""What the examples are about."""

FUNCTIONS: dict[str, Function] = {
    "choose": Function(
        choose,
        1,
        2,
        (
            ("code | choose({'F': 'female', 'M': 'male'})", "female"),
            ("'X' | choose({'F': 'female'}, 'unknown')", "unknown"),
        ),
    ),
    "lookup": Function(look_up, 1, 1, (("'livestock' | lookup('activities')", "79"),)),
    "translate": Function(translate, 1, 1, (("'Elevage' | translate('activities.csv')", "Livestock"),)),
    "money": Function(
        money,
        0,
        1,
        (("amount | money('XOF')", "250000"), ("amount | money(2)", "250000.50"), ("amount | money", "250000.50")),
    ),
    "share": Function(
        share,
        2,
        3,
        (("100 | share(1, loans, 0)", "50"), ("5 | share(1, loans, 0)", "3"), ("5 | share(2, loans, 'XOF')", "2")),
    ),
    "only": Function(only, 1, 1, (("loans | only('currency_code')", "XOF"),), rows=True),
    "first": Function(first, 1, 1, (("loans | first('purpose')", "Elevage"),), rows=True),
    "count": Function(count, 0, 0, (("loans | count", "2"),), rows=True),
    "after": Function(after, 1, 1, (("'KIVA: she bought a goat' | after('KIVA:') | trim", "she bought a goat"),)),
    "trim": Function(trim, 0, 0, (("'  Fatou ' | trim", "Fatou"),)),
    "text": Function(text, 0, 0, (("'SÃ£o Paulo' | text", "São Paulo"), ("770 | text", "770"))),
    "name": Function(
        person,
        0,
        0,
        (
            ('"SEYDOU D\'ALMEIDA" | name', "Seydou D'Almeida"),
            ("\"WANJIRU NG'ANG'A\" | name", "Wanjiru Ng'ang'a"),
            ("'NGUYEN VAN AN' | name", "Nguyen Van An"),
            ("'Ngozi MacArthur' | name", "Ngozi MacArthur"),
        ),
    ),
    "date": Function(
        day,
        0,
        4,
        (
            ("'23/11/2026' | date('%d/%m/%Y')", "2026-11-23"),
            ("'2026-11-23T23:30:00-05:00' | date", "2026-11-24"),
            ("'2026-11-23 18:30' | date('%Y-%m-%d %H:%M', 'America/Lima')", "2026-11-23"),
            ("'0000-00-00' | date", "NULL"),
        ),
    ),
    "refuse": Function(refuse, 1, 1, (("none | refuse('a status that nobody knows')", "NULL"),)),
    "image": Function(photo, 0, 1, (("'1.jpg' | image('/var/lib/fineract/images')", "the photo in that file"),)),
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
