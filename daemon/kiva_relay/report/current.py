"""The report of a period as it stands: what the commands, the page and the mail show. Reads only."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.outbox import decision, hold, meta, report, unread, upload, watermark
from kiva_relay.outbox.decision import Decision
from kiva_relay.outbox.report import Report
from kiva_relay.outbox.upload import Upload
from kiva_relay.report import facts, frozen, place, price
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.report.place import ReportSituation
from kiva_relay.resource import window


def open_report(tx: Connection, settings: Settings, now: datetime) -> Report:
    """The report of a moment: open, or closed last. Where the relay has not opened it yet, as it will be."""
    found = window.report(settings, now)
    return report.of(tx, found.period) or beginning(found, settings, now=now)


def due(tx: Connection, settings: Settings, now: datetime) -> window.RepaymentReport:
    """The report by the calendar; one that a person has finalised is not open, whatever its window says.

    The months never go back: by a clock that was set back, the report that has opened would close, for ever.
    """
    newest = report.latest(tx)
    found = _not_before(newest, window.report(settings, now), settings)
    if not found.is_open:
        return found
    # Mostly it is the one that opened last, which is asked for at each look anyway.
    known = newest if newest is not None and newest.period == found.period else report.of(tx, found.period)
    if known is None or known.closed_at is None:
        return found
    return replace(found, is_open=False, stage="closed", goes=None)


def _not_before(newest: Report | None, found: window.RepaymentReport, settings: Settings) -> window.RepaymentReport:
    if newest is None or newest.period <= found.period:
        return found
    year, month = map(int, newest.period.split("-"))
    begins = newest.opens_at or datetime(year, month, 1, tzinfo=ZoneInfo(settings.repayments.timezone))
    again = window.report(settings, begins)
    return again if again.period == newest.period else found  # else it is the settings that changed


def beginning(found: window.RepaymentReport, settings: Settings, *, now: datetime) -> Report:
    """A report as it is opened now."""
    return Report(found.period, found.cutoff, settings.repayments.basis, found.opens, found.closes, opened_at=now)


def lines_of(
    tx: Connection,
    settings: Settings,
    period: str,
    now: datetime,
    *,
    besides_accepted: bool = False,
) -> tuple[ReportLine, ...]:
    """A line for each loan that Kiva expects in a period, by `kiva_id`.

    Of a closed report: as it stood at closing, with what was decided and sent since.

    Args:
        tx: a transaction of the outbox.
        settings: those in force.
        period: YYYY-MM.
        now: with a zone.
        besides_accepted: without those that `report/accepted.py` counts.
    """
    del now
    with without_collecting():
        return tuple(each_line(tx, settings, period, besides_accepted=besides_accepted))


def lines_besides(tx: Connection, settings: Settings, period: str, counted: Collection[str]) -> tuple[ReportLine, ...]:
    """The lines without those of `counted`, Kiva's numbers of all loans that `report/accepted.py` counts.

    Without prices, but of a closed report they are known. What each loan is was asked for `counted` already, and is
    not asked again.
    """
    with without_collecting():
        of_period = report.of(tx, period)
        if of_period is not None and of_period.closed_at is not None:
            return tuple(_closed(tx, of_period, besides_accepted=True))
        basis = _basis(settings, of_period)
        others = facts.besides(tx, counted, period=period, basis=basis, aliases=_aliases(tx))
        return tuple(place.lines(others, situation(tx, settings, basis=basis)))


def each_line(
    tx: Connection, settings: Settings, period: str, *, besides_accepted: bool = False
) -> Iterator[ReportLine]:
    """The same, one by one as they are read, for whoever need not keep them."""
    of_period = report.of(tx, period)
    if of_period is not None and of_period.closed_at is not None:
        yield from _closed(tx, of_period, besides_accepted=besides_accepted)
        return
    basis = _basis(settings, of_period)
    lines = live(tx, settings, period, basis=basis, besides_accepted=besides_accepted)
    yield from price.priced(tx, lines, period=period, basis=basis)


def open_basis(tx: Connection, settings: Settings, period: str) -> str | None:
    """What the amounts of a period mean that has not closed; None: it has."""
    of_period = report.of(tx, period)
    return None if of_period is not None and of_period.closed_at is not None else _basis(settings, of_period)


def _basis(settings: Settings, of_period: Report | None) -> str:
    return settings.repayments.basis if of_period is None else of_period.basis


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """A hundred thousand values, none of them part of a cycle: looking for cycles took two fifths of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def line_of(tx: Connection, settings: Settings, period: str, kiva_id: str) -> ReportLine | None:
    """The line of one loan; None: Kiva does not expect it."""
    return next(iter(lines_with(tx, settings, period, [kiva_id])), None)


def lines_with(tx: Connection, settings: Settings, period: str, kiva_ids: Collection[str]) -> list[ReportLine]:
    """The lines of the loans with these numbers at Kiva, by `kiva_id`; Kiva does not expect the others."""
    of_period, wanted = report.of(tx, period), sorted(set(kiva_ids))
    if of_period is not None and of_period.closed_at is not None:
        return list(_closed(tx, of_period, only=wanted))
    basis = _basis(settings, of_period)
    return list(price.priced(tx, named(tx, settings, period, wanted, basis=basis), period=period, basis=basis))


def decisions(tx: Connection, period: str) -> list[Decision]:
    """What persons decided about a period, oldest first, also what was undone; and what is known for life."""
    return sorted([*decision.all_of(tx, period), *decision.all_of(tx, decision.FOR_LIFE)], key=lambda one: one.id)


def uploads(tx: Connection, period: str) -> list[Upload]:
    """The calls of a period that Kiva took, oldest first."""
    return upload.of(tx, period)


def live(
    tx: Connection,
    settings: Settings,
    period: str,
    *,
    basis: str,
    besides_accepted: bool = False,
    besides_alike: bool = False,
) -> Iterator[ReportLine]:
    """The lines of a period as Kiva's list, the MIS's book and the outbox are now; without their prices."""
    expected = facts.read(
        tx,
        period=period,
        basis=basis,
        aliases=_aliases(tx),
        besides_accepted=besides_accepted,
        besides_alike=besides_alike,
    )
    return place.lines(expected, situation(tx, settings, basis=basis))


def named(
    tx: Connection, settings: Settings, period: str, kiva_ids: Sequence[str], *, basis: str
) -> Iterator[ReportLine]:
    """The same, of these loans alone."""
    expected = facts.named(tx, kiva_ids, period=period, basis=basis, aliases=_aliases(tx))
    return place.lines(expected, situation(tx, settings, basis=basis))


def situation(tx: Connection, settings: Settings, *, basis: str) -> ReportSituation:
    """What decides for all loans of an open report."""
    return ReportSituation(holds=hold.in_force(tx), sends=settings.kiva.send, unread=is_unread(tx), basis=basis)


def _aliases(tx: Connection) -> dict[str, str]:
    return {**(meta.ALIASES.get(tx) or {}), **decision.aliases(tx)}


def _closed(
    tx: Connection, of_period: Report, *, besides_accepted: bool = False, only: Collection[str] | None = None
) -> Iterator[ReportLine]:
    period, latest = of_period.period, report.latest(tx)
    over = of_period.finalised_at is not None or (latest is not None and latest.period != period)
    decided = decision.in_force(tx, period)
    late = facts.late(tx, period)
    but = ReportLineKind.ACCEPTED.value if besides_accepted else None
    for row in report.frozen(tx, period, but=but, only=only):
        line = frozen.read(row)
        sent: Sequence[place.PositionFacts] = late.get(line.loan_id, ())
        decision_ = decided.get(line.kiva_id)
        goes = decision_ is not None and decision_.late and not over
        amounts = facts.amounts_now(tx, line, of_period.basis) if goes else None
        yield frozen.afterwards(line, sent, decision_, over=over, amounts=amounts)


def is_unread(tx: Connection) -> bool:
    """Was the MIS's book of repayments not read whole yet?"""
    marks = watermark.watermarks(tx)
    return not marks or any(
        mark.backfilled_at is None or mark.scan == "backfill"
        for name, mark in marks.items()
        if unread.resource_of(tx, name) in (None, "repayment")
    )
