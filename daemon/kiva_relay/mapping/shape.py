"""A value of the MIS in the form in which it stands in a body."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kiva_relay.mapping import function
from kiva_relay.mapping.function import Refused, Run
from kiva_relay.resource.field import EXPECTED, Kind

# No currency has more digits than this; what a column has beyond them is the column's type, not money.
DIGITS = 4


def shaped(kind: Kind, value: Any, run: Run) -> Any:
    """The value as Kiva takes it: ids are text, amounts Decimal, dates ISO. NULL and an empty text are None.

    Raises Refused for a value of another kind: a number is not taken out of a text, nor a date out of one.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if kind == "date" and isinstance(value, str) and _is_zero_date(value, run):
        return None
    made = _AS[kind](value, run) if kind in _AS else None
    if made is None:
        raise Refused("wrong_type", expected=EXPECTED[kind], found=function.kind_of(value))
    return made


def _is_zero_date(value: str, run: Run) -> bool:
    try:
        return function.day(run, value) is None
    except Refused:
        return False


def _text(value: Any, run: Run) -> str | None:
    if isinstance(value, str):
        return value.strip()
    if type(value) is not int and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # of a column that shows zeros in front
    # An id may be a number in the MIS; true, a date or a fraction is no text by accident.
    whole = _integer(value, run)
    return None if whole is None else str(whole)


def _integer(value: Any, run: Run) -> int | None:
    amount = _amount(value, run)
    return int(amount) if amount is not None and amount == amount.to_integral_value() else None


def _amount(value: Any, run: Run) -> Decimal | None:
    del run
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = function.number(value)
    exponent = int(amount.as_tuple().exponent)
    return Decimal(format(amount.normalize(), "f")) if exponent > 0 or exponent < -DIGITS else amount


def _date(value: Any, run: Run) -> str | None:
    try:
        day = function.day(run, value)
    except Refused:
        return None
    return None if day is None else day.isoformat()


def _boolean(value: Any, run: Run) -> bool | None:
    del run
    # MariaDB has no boolean: it holds 0 and 1.
    if isinstance(value, bool):
        return value
    return bool(value) if isinstance(value, int | Decimal) and value in (0, 1) else None


def _image(value: Any, run: Run) -> str | None:
    del run
    return value if isinstance(value, str) and value.startswith(("data:image/", "sha256:")) else None


_AS: dict[Kind, Any] = {
    "text": _text,
    "integer": _integer,
    "amount": _amount,
    "date": _date,
    "boolean": _boolean,
    "image": _image,
}
