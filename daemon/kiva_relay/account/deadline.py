"""By when something has to be at Kiva that is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from kiva_relay.account.line import LineKind
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox.entry import Entry

_SOON = timedelta(days=7)
_SENT = (LineKind.DELIVERED, LineKind.ADOPTED, LineKind.LEFT_OUT)


@dataclass(frozen=True)
class PublishBy:
    """Drafts that are not at Kiva yet, the first to expire first; `day` is the last day of the first."""

    day: date
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class ReportCloses:
    """So many loans are not reported yet, and the report closes."""

    at: datetime
    positions: int


Deadline = PublishBy | ReportCloses


def deadlines(facts: Standing) -> Iterator[Deadline]:
    """Those of the next week, and the report's while it is open."""
    days = [(entry.publish_by, entry) for entry in facts.expiring if entry.publish_by is not None]
    soon = [(day, entry) for day, entry in days if day <= facts.today + _SOON]
    if soon:
        yield PublishBy(soon[0][0], tuple(entry for _, entry in soon))
    account = facts.account
    unsent = account.number("repayment") - account.number("repayment", *_SENT)
    if unsent and facts.report.is_open and facts.report.closes is not None:
        yield ReportCloses(facts.report.closes, unsent)
