"""The operators of an expression: NULL goes through as NULL, numbers stay exact, codes are compared as written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from kiva_relay.mapping.function import Refused, coded, kind_of, settled, written
from kiva_relay.resource.field import TEXT_LIMIT


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
        same = bool({*coded(left)} & {*coded(right)}) if _alike(left, right) else left == right
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
        isinstance(each, str | int | Decimal) for each in (left, right)
    )
