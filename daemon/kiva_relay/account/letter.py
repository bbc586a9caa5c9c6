"""Which mail is due now, to whom: values, out of how things stand. What they say is in `words/letter.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from kiva_relay.account import health
from kiva_relay.account.finding import Verdict
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.report import Report

DAYS_BEFORE = (3, 1)
"""How many days before a report closes somebody is reminded of it."""

LOOKED_OVER = timedelta(minutes=15)
"""So long after its opening a report is told: then what the MIS gives was looked at, and says what needs somebody."""
_NEWS_FOR = timedelta(days=1)
"""So long it is news that a report has opened or closed: mail may have been switched on later."""
_WORTH_KNOWING = timedelta(days=3)
STAYS_WELL = timedelta(minutes=5)
"""That the first word is well again is told when it has stayed so for so long."""
_GRAVE = (Verdict.HELD, Verdict.STOPPED)


class LetterKind(StrEnum):
    """What a mail is."""

    MORNING = "morning"
    OPENED = "report_opened"
    CLOSES = "report_closes"
    CLOSED = "report_closed"
    HEALTH = "health"


@dataclass(frozen=True)
class Letter:
    """A mail that is due.

    `about` makes it one of its kind: the day of a morning (`2026-12-01`), a report (`2026-11`), a report and how many
    days before its closing (`2026-11/3`), the first word of `status` and since when (`HELD 2026-12-01T07:00:00Z`).
    `role`: who gets it. `until`: then it is worth nothing.
    """

    kind: LetterKind
    about: str
    role: Literal["coordinator", "administrator"]
    until: datetime


def due(facts: Standing, reports: Sequence[Report], *, told: str | None, well_since: datetime | None) -> list[Letter]:
    """All mail that is due by now, also what was written already.

    Args:
        facts: how things stand.
        reports: those that opened last.
        told: what the last mail about the first word of `status` was about; None: there was none.
        well_since: since when that word is neither HELD nor STOPPED; None: it is, or that is not known.
    """
    return [*_morning(facts), *_reports(facts, reports), *_health(facts, told, well_since)]


def next_at(
    facts: Standing, reports: Sequence[Report], told: str | None, well_since: datetime | None
) -> datetime | None:
    """When something is due that comes by time alone, beside the hour of the morning; None: nothing is."""
    found = [one.opened_at + LOOKED_OVER for one in reports if one.closed_at is None]
    if well_since is not None and told is not None and is_grave_word(told):
        found.append(well_since + STAYS_WELL)
    return min((moment for moment in found if moment > facts.now), default=None)


def is_grave(facts: Standing) -> bool:
    """Is the first word HELD or STOPPED?"""
    return health.verdict(health.findings(facts)) in _GRAVE


def is_grave_word(about: str) -> bool:
    """Was it told that the first word is HELD or STOPPED?"""
    return word(about) in {grave.name for grave in _GRAVE}


def word(about: str) -> str:
    """The first word of `status` that a mail about it told."""
    return about.partition(" ")[0]


def days_before(about: str) -> int:
    """How many days before closing a reminder was to come."""
    return int(about.partition("/")[2] or 0)


def _morning(facts: Standing) -> Iterator[Letter]:
    if facts.now >= _at(facts, facts.today):
        tomorrow = datetime.combine(facts.today + timedelta(days=1), time(), tzinfo=_zone(facts))
        yield Letter(LetterKind.MORNING, facts.today.isoformat(), "coordinator", tomorrow)


def _reports(facts: Standing, reports: Sequence[Report]) -> Iterator[Letter]:
    if "repayment" not in facts.settings.resources:
        return
    for one in reports:
        if one.closes_at is None or one.finalised_at is not None:
            continue
        if one.closed_at is not None:
            if facts.now - one.closed_at < _NEWS_FOR:
                yield Letter(LetterKind.CLOSED, one.period, "coordinator", one.closed_at + _WORTH_KNOWING)
            continue
        if LOOKED_OVER <= facts.now - one.opened_at < _NEWS_FOR:
            yield Letter(LetterKind.OPENED, one.period, "coordinator", one.closes_at)
        yield from _reminders(facts, one, one.closes_at)


def _reminders(facts: Standing, one: Report, closes: datetime) -> Iterator[Letter]:
    """The last reminder whose hour has come; none whose hour came before the report opened."""
    for days in sorted(DAYS_BEFORE):
        hour = _at(facts, facts.day_of(closes) - timedelta(days=days))
        if hour <= facts.now < closes:
            if one.opened_at < hour:
                yield Letter(LetterKind.CLOSES, f"{one.period}/{days}", "coordinator", closes)
            return


def _health(facts: Standing, told: str | None, well_since: datetime | None) -> Iterator[Letter]:
    if facts.running is None:
        return  # this relay runs: it has not written its first heartbeat yet
    verdict = health.verdict(health.findings(facts))
    about, until = f"{verdict.name} {facts.now:%Y-%m-%dT%H:%M:%SZ}", facts.now + _NEWS_FOR
    if verdict in _GRAVE:
        if told is None or word(told) != verdict.name:
            yield Letter(LetterKind.HEALTH, about, "administrator", until)
    elif told is not None and is_grave_word(told) and _has_stayed_well(facts, well_since):
        yield Letter(LetterKind.HEALTH, about, "administrator", until)


def _has_stayed_well(facts: Standing, since: datetime | None) -> bool:
    return since is not None and facts.now - since >= STAYS_WELL


def _at(facts: Standing, day: date) -> datetime:
    """The hour of the morning's mail on a day."""
    return datetime.combine(day, facts.settings.mail.at, tzinfo=_zone(facts))


def _zone(facts: Standing) -> ZoneInfo:
    return ZoneInfo(facts.settings.mis.timezone)
