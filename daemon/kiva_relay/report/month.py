"""The report of one period as a whole: read in one picture, summed up, and in one word. What the commands show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import mirror, report
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.report import Report
from kiva_relay.outbox.upload import Upload
from kiva_relay.report import accepted, current, glance
from kiva_relay.report import line as lines_
from kiva_relay.report.accepted import Accepted, AcceptedLoan
from kiva_relay.report.glance import GlanceLines, Wanted
from kiva_relay.report.line import LoanAmounts, ReportLine, ReportLineKind
from kiva_relay.resource import window

OPEN, CONTINUOUS, NOT_OPEN, CLOSED, FINALISED = "open", "continuous", "not_open", "closed", "finalised"
"""What a report may be."""

_SOON = timedelta(days=2)
_NEAR = 3
_SENT = (
    ReportLineKind.ACCEPTED,
    ReportLineKind.OLDER_AMOUNT,
    ReportLineKind.WARNED,
    ReportLineKind.REFUSED_BY_KIVA,
    ReportLineKind.CLOSED_WRONG,
    ReportLineKind.CLOSED_UNKNOWN,
)
KEPT_BACK = (lines_.HELD, lines_.BASIS_CHANGED)
"""Causes for which no loan is decided by itself: a hold keeps them all."""


@dataclass(frozen=True)
class MonthVerdict:
    """The first word of a report (`ok`, `note`, `waiting`, `held`, `urgent`), why, and of how many loans it speaks.

    `reason` is that of a hold.
    """

    word: str
    said: str
    loans: int = 0
    reason: str | None = None

    @property
    def needs_a_person(self) -> bool:
        """Has somebody to do something about it?"""
        return self.word in ("held", "urgent") or self.said == "decide"


@dataclass(frozen=True)
class Month:
    """The report of a period.

    Attributes:
        report: its row; where it has not opened yet, as it will be.
        settings: those in force.
        now: the present moment.
        state: one of the above.
        lines: one for each loan that Kiva expects, by Kiva's number; without those of `accepted`. Of a report that was
            read in parts they are counted, and read when somebody looks at one, in the transaction of `read`.
        accepted: loans of which nothing has to be said, where a glance at the report is enough.
        expected: how many loans Kiva expects, by their status there; counted apart from the lines.
        uploads: the calls that Kiva took, oldest first.
        decisions: what persons decided about it, oldest first, also what was undone; and what is known for life.
        list_read: when the last complete reading of Kiva's list began; None: there was none yet.
        counted: the loans of `accepted`, where the amounts of each loan were asked for.
        opened_at: when the relay opened it; None: it has not, what the row says is how it will be.
        unread: it is open, and the MIS's book of repayments is still being read for the first time.
    """

    report: Report
    settings: Settings
    now: datetime
    state: str
    lines: Sequence[ReportLine]
    accepted: Accepted
    expected: Mapping[str, int]
    uploads: tuple[Upload, ...]
    decisions: tuple[Decision, ...]
    list_read: datetime | None
    counted: tuple[AcceptedLoan, ...] = ()
    unread: bool = False
    opened_at: datetime | None = None

    @property
    def period(self) -> str:
        """Its month, as `2026-11`."""
        return self.report.period

    @cached_property
    def _stand(self) -> Counter[tuple[ReportLineKind, str, str]]:
        """How many loans stand in each line, by cause, and by the reason of a hold where one keeps them."""
        if isinstance(self.lines, GlanceLines):
            return self.lines.glance.numbers
        found = Counter((one.kind, one.cause, str(one.params.get("reason", one.cause))) for one in self.lines)
        found[ReportLineKind.ACCEPTED, "", ""] += self.accepted.number
        return found

    @cached_property
    def numbers(self) -> Counter[ReportLineKind]:
        """How many loans stand in each line."""
        found = Counter[ReportLineKind]()
        for (kind, _, _), number in self._stand.items():
            found[kind] += number
        return +found

    @property
    def sent(self) -> int:
        """Of how many loans Kiva was given an amount in this period."""
        return sum(self.numbers[kind] for kind in _SENT)

    @property
    def accounted_for(self) -> int:
        """How many loans have a line."""
        return len(self.lines) + self.accepted.number

    @cached_property
    def exceptions(self) -> Sequence[ReportLine]:
        """The lines at which a person has to look: not what the MIS may still give, while its book is being read."""
        return self._only(self._needs_a_person)

    @property
    def amounts(self) -> Iterator[LoanAmounts]:
        """Each loan with its amounts, by Kiva's number; where they were asked for."""
        each: list[LoanAmounts] = [*self.lines, *self.counted]
        return iter(sorted(each, key=attrgetter("kiva_id")))

    def of_kind(self, kind: str) -> Sequence[ReportLine]:
        """The lines of one kind."""
        return self._only(lambda each, _cause: each.value == kind)

    def _only(self, wanted: Wanted) -> Sequence[ReportLine]:
        if isinstance(self.lines, GlanceLines):
            return self.lines.only(wanted)
        return tuple(one for one in self.lines if wanted(one.kind, one.cause))

    def _needs_a_person(self, kind: ReportLineKind, cause: str) -> bool:
        return kind in lines_.NEEDS_A_PERSON and not (self.unread and cause == lines_.NOT_READ_YET)

    @property
    def not_read(self) -> int:
        """Of how many loans the book has not been read yet, while it is read for the first time."""
        return self._number(lambda _kind, cause: cause == lines_.NOT_READ_YET) if self.unread else 0

    def _number(self, wanted: Wanted) -> int:
        return sum(number for (kind, cause, _), number in self._stand.items() if wanted(kind, cause))

    @property
    def is_accounted_for(self) -> bool:
        """Has each loan that Kiva expects its line?"""
        return self.accounted_for == sum(self.expected.values())

    @property
    def is_list_of_today(self) -> bool:
        """Was Kiva's list read today, in the MIS's zone?"""
        zone = ZoneInfo(self.settings.mis.timezone)
        read = self.list_read
        return read is not None and read.astimezone(zone).date() == self.now.astimezone(zone).date()

    def sums(self, kind: ReportLineKind) -> dict[str, Decimal]:
        """The amounts of the lines of one kind, by currency: what Kiva holds, else what the MIS gives."""
        found = dict(self.accepted.sums) if kind is ReportLineKind.ACCEPTED else {}
        for one in self.lines:
            amount = one.at_kiva if kind is ReportLineKind.ACCEPTED and one.at_kiva is not None else one.position
            if one.kind is kind and amount is not None:
                currency = one.currency or ""
                found[currency] = found.get(currency, Decimal(0)) + amount
        return found

    @cached_property
    def verdict(self) -> MonthVerdict:
        """The first word, and why: the first that applies."""
        people = len(self.exceptions)
        if self.list_read is None and self.state not in (FINALISED, CLOSED):
            return MonthVerdict("waiting", "list_unread")
        if not self.is_accounted_for:
            return MonthVerdict("urgent", "unaccounted", self.accounted_for)
        match self.state:
            case "finalised":
                return MonthVerdict("note" if people else "ok", "finalised")
            case "not_open":
                return MonthVerdict("ok", "not_open")
            case "closed":
                return MonthVerdict("urgent", "closed_open", people) if people else MonthVerdict("ok", "ok")
            case _:
                return self._while_open(people)

    def _while_open(self, people: int) -> MonthVerdict:
        if self.not_read and not (people and self._closes_soon):
            return MonthVerdict("waiting", "book_unread", self.not_read)
        kept_back = self._kept_back
        shadow = self._number(lambda _kind, cause: cause == lines_.SWITCHED_OFF)
        on_the_way = self.numbers[ReportLineKind.ON_ITS_WAY] + self.numbers[ReportLineKind.OLDER_AMOUNT]
        if kept_back:
            return MonthVerdict("held", "held", kept_back.total(), kept_back.most_common(1)[0][0])
        if people:
            return MonthVerdict("urgent" if self._closes_soon else "note", "decide", people)
        if shadow:
            return MonthVerdict("note", "shadow", shadow)
        return MonthVerdict("ok", "on_the_way", on_the_way) if on_the_way else MonthVerdict("ok", "ok")

    @property
    def _kept_back(self) -> Counter[str]:
        """How many loans a hold keeps back, by its reason."""
        found = Counter[str]()
        for (kind, cause, reason), number in self._stand.items():
            if kind is ReportLineKind.DECIDE and cause in KEPT_BACK:
                found[reason] += number
        return found

    @property
    def _closes_soon(self) -> bool:
        return self.report.closes_at is not None and self.report.closes_at - self.now < _SOON


def read(
    tx: Connection,
    settings: Settings,
    period: str | None,
    *,
    now: datetime,
    whole: bool = False,
    in_parts: bool = False,
    amounts: bool = False,
) -> Month:
    """The report of a period; None: the open one, else the one that closed last, else the one that opens next.

    The one that opens next may be asked for by its period, too.

    Args:
        tx: a reading transaction of the outbox.
        settings: those in force.
        period: YYYY-MM.
        now: with a zone.
        whole: with a line also for each loan of which nothing has to be said.
        in_parts: for who shows some lines and numbers: of an open report each line has its place, and is read when
            somebody looks at it, while `tx` is open.
        amounts: with the amounts of each loan of which nothing has to be said, and no prices.

    Raises:
        UsageError: there is no report of this period; names the nearest ones.
    """
    of_period, state = chosen(tx, settings, period, now=now)
    lines: Sequence[ReportLine] = ()
    counted: tuple[AcceptedLoan, ...] = ()
    taken, closed = Accepted(), of_period.closed_at is not None
    if state != NOT_OPEN and in_parts and not closed:
        lines = glance.every(tx, settings, of_period.period, basis=of_period.basis)
    elif state != NOT_OPEN:
        if amounts:
            counted = tuple(accepted.amounts(tx, of_period.period, closed=closed))
            taken = accepted.of(counted)
            lines = current.lines_besides(tx, settings, of_period.period, {one.kiva_id for one in counted})
        else:
            lines = current.lines_of(tx, settings, of_period.period, now, besides_accepted=not whole)
        if not amounts and not whole:
            taken = accepted.of_closed(tx, of_period.period) if closed else accepted.counted(tx, of_period.period)
    expected: Mapping[str, int] = {}
    if state != NOT_OPEN:
        expected = _at_closing(lines, taken) if closed else mirror.expected_by_status(tx)
    reading, kept = mirror.last_complete(tx), report.of(tx, of_period.period)
    return Month(
        report=of_period,
        settings=settings,
        now=now,
        state=state,
        lines=lines,
        accepted=taken,
        expected=expected,
        uploads=tuple(current.uploads(tx, of_period.period)),
        decisions=tuple(current.decisions(tx, of_period.period)),
        list_read=None if reading is None else reading.started_at,
        counted=counted,
        unread=state in (OPEN, CONTINUOUS) and current.is_unread(tx),
        opened_at=None if kept is None else kept.opened_at,
    )


def end(period: str, settings: Settings) -> datetime:
    """When a report without a window ends: with its calendar month, in the zone of the windows."""
    year, month = map(int, period.split("-"))
    after = date(year + month // 12, month % 12 + 1, 1)
    return datetime.combine(after, time(), tzinfo=ZoneInfo(settings.repayments.timezone))


def chosen(tx: Connection, settings: Settings, period: str | None, *, now: datetime) -> tuple[Report, str]:
    """The report that is meant, and what it is; the arguments, and what is raised, are those of `read`."""
    due = window.report(settings, now)
    known = {one.period: one for one in report.every(tx)}
    if due.is_open and due.period not in known:
        known[due.period] = current.beginning(due, settings, now=now)
    if period is None and not known:
        return _next(settings, now=now), NOT_OPEN
    wanted = max(known) if period is None else period
    if wanted not in known:
        upcoming = _next(settings, now=now)
        if wanted == upcoming.period:
            return upcoming, NOT_OPEN
        raise _unknown(wanted, sorted(known))
    return known[wanted], _state(known[wanted])


def _state(one: Report) -> str:
    if one.finalised_at is not None:
        return FINALISED
    if one.closed_at is not None:
        return CLOSED
    return CONTINUOUS if one.closes_at is None else OPEN


def _next(settings: Settings, *, now: datetime) -> Report:
    """The report whose window opens next."""
    monthly = window.of(settings)
    due = window.report(settings, now if monthly is None else monthly.after(now).opens)
    return current.beginning(due, settings, now=now)


def _at_closing(lines: Sequence[ReportLine], taken: Accepted) -> Counter[str]:
    return Counter(one.status for one in lines) + taken.statuses


def _unknown(period: str, known: list[str]) -> UsageError:
    if not known:
        return UsageError(f"There is no report of {period}: none has opened yet.", hint="kiva-relay report")
    near = sorted(known, key=lambda one: (abs(_months(one) - _months(period)), one))[:_NEAR]
    hint = "\n".join(f"kiva-relay report {one}" for one in sorted(near))
    return UsageError(f"There is no report of {period}. The nearest are {', '.join(sorted(near))}.", hint=hint)


def _months(period: str) -> int:
    year, month = period.split("-")
    return int(year) * 12 + int(month)
