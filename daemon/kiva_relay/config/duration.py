"""Lengths of time as people write them: a number and its unit, `10s`, `15m`, `6h`, `2d`, `500ms`."""

from __future__ import annotations

import re
from datetime import timedelta

from kiva_relay.config.mismatch import Mismatch, found

UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_WRITTEN = re.compile(r"(?P<number>\d{1,9})\s*(?P<unit>[a-z]*)", re.ASCII)
_LONG_NAMES = {
    "millisecond": "ms",
    "msec": "ms",
    "second": "s",
    "sec": "s",
    "minute": "m",
    "min": "m",
    "hour": "h",
    "hr": "h",
    "day": "d",
}


def parse(written: object) -> timedelta:
    """Read a length of time: a whole number and one unit of `ms`, `s`, `m`, `h`, `d`; `0` needs none.

    Raises:
        Mismatch: the unit is missing or unknown, or this is no length of time at all.
    """
    if isinstance(written, timedelta):
        return written
    text = str(written).strip() if isinstance(written, str | int) and not isinstance(written, bool) else ""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        remedy = "a whole number and its unit, as 30s, 15m, 6h or 2d"
        raise Mismatch(f"expected a length of time, found {found(written)}", remedy=remedy)
    number, unit = int(match["number"]), match["unit"]
    if number == 0 and not unit:
        return timedelta(0)
    if not unit:
        raise Mismatch(
            f"expected a length of time with its unit, found {number}",
            remedy=f"write {number}s for seconds, {number}m for minutes, {number}h for hours",
        )
    if unit not in UNITS:
        short = _LONG_NAMES.get(unit.removesuffix("s"))
        remedy = f"write {number}{short}" if short else "the units are ms, s, m (minutes), h and d"
        raise Mismatch(f'"{unit}" is no unit of time', remedy=remedy)
    return number * UNITS[unit]


def format(length: timedelta) -> str:  # noqa: A001 - the opposite of parse; the module is imported, never the name
    """The shortest spelling that `parse` reads back, to the millisecond: `90m`, `1d`, `0`."""
    if not length:
        return "0"
    unit, size = next(
        ((unit, size) for unit, size in UNITS.items() if not length % size),
        ("ms", UNITS["ms"]),
    )
    return f"{length // size}{unit}"
