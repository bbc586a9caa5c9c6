"""A day out of what an MIS has for one: moments, ISO texts, texts in a form of its own, and dates that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# MySQL's zero dates, and the parts of them that an import leaves: there is no such day, so it is NULL.
_ZERO = re.compile(r"0*[-/.]?0*[-/.]?0*(?:[ T][0:.]*)?")


# A day is written in fewer letters, whatever the form.
_LIMIT = 100


class NoDay(Exception):
    """The value is no day, nor a moment."""


def wrong(arguments: Sequence[Any]) -> str | None:
    """What is wrong with the forms and the zone that a mapping names; None when they are good."""
    for each in arguments:
        if not isinstance(each, str):
            return f"expected a form as '%d/%m/%Y' or a zone as 'UTC', found {each!r}"
        try:
            if "%" not in each:
                ZoneInfo(each)
            elif datetime.strptime(datetime(2024, 11, 23).strftime(each), each).month not in (1, 11):  # noqa: DTZ001, DTZ007 - only the form is tried
                return f"{each!r} is no form of a date"
        except (ValueError, ZoneInfoNotFoundError):
            return f"{each!r} is no form of a date" if "%" in each else f"there is no time zone {each!r}"
    return None


def day(value: Any, arguments: Sequence[str], *, zone: tzinfo) -> date | None:
    """The day, in `zone`; None for an empty text and for a zero date.

    `arguments` are the forms in which a text may stand (`%d/%m/%Y`), tried in order, and the zone in which a moment
    without one is meant. Without a form a text is ISO's. Raises NoDay for everything else.
    """
    meant = next((ZoneInfo(each) for each in arguments if "%" not in each), None)
    if isinstance(value, datetime):
        return _day(value, meant, zone)
    if isinstance(value, date):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise NoDay
    text = str(value).strip()
    if len(text) > _LIMIT:
        raise NoDay
    if not text or _ZERO.fullmatch(text):
        return None
    return _day(_read(text, [each for each in arguments if "%" in each]), meant, zone)


def _read(text: str, forms: Sequence[str]) -> datetime:
    for form in forms:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - its zone is known to the caller
        except ValueError:
            continue
    try:
        if not forms:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise NoDay


def _day(moment: datetime, meant: ZoneInfo | None, zone: tzinfo) -> date:
    if moment.tzinfo is None and meant is not None:
        moment = moment.replace(tzinfo=meant)
    return (moment.astimezone(zone) if moment.tzinfo else moment).date()
