"""Times, amounts and sizes as people read them."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from kiva_relay.config.settings import Settings
from kiva_relay.words import spoken
from kiva_relay.words.spoken import tr

_TENTHS_BELOW = 10


def moment(when: datetime, settings: Settings, *, at: datetime) -> str:
    """A moment in the MIS's zone: `14:02:11` today, else `Mon 30 Nov 14:02`, in another year with the year.

    `at` is the present moment.
    """
    zone = ZoneInfo(settings.mis.timezone)
    here, today = when.astimezone(zone), at.astimezone(zone)
    if here.date() == today.date():
        return f"{here:%H:%M:%S}"
    if spoken.name() != spoken.ENGLISH:
        return _spoken(here.date(), year=here.year != today.year) + f" {here:%H:%M}"
    year = "" if here.year == today.year else f"{here:%Y} "
    return f"{here:%a} {here.day} {here:%b} {year}{here:%H:%M}"


def day(when: date) -> str:
    """A day with its name and year, as deadlines are written: `Fri 1 Jan 2027`."""
    if spoken.name() != spoken.ENGLISH:
        return _spoken(when, year=True)
    return f"{when:%a} {when.day} {when:%b %Y}"


def _spoken(when: date, *, year: bool) -> str:
    """A day in the language that is spoken: `mar. 1er déc. 2026`."""
    from kiva_relay.words import language  # noqa: PLC0415 - Babel, not for who reads English

    known = language.of(spoken.name())
    return known.day(when) if year else known.day(when, at=when)


def length(span: timedelta) -> str:
    """A length of time in words, its two largest units: `1 d 19 h`, `4 min 31 s`, `0.3 s`."""
    seconds = abs(span.total_seconds())
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    left = round(seconds)
    parts = []
    for unit, size in ((tr("d"), 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next(place for place, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def amount(number: Decimal | str | None, currency: str | None = None) -> str:
    """An amount as people read it: `250 000 XOF`. Nothing for none."""
    if number is None:
        return ""
    text = f"{Decimal(number):,f}".replace(",", " ")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {currency}" if currency else text


def megabytes(size: int | None) -> str:
    """A size in bytes: `12.3 MB`."""
    return f"{(size or 0) / 1_000_000:,.1f} MB"
