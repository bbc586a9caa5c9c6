"""What the open report asks of a person: lines to decide, lines that the MIS does not give; and what waits beside.

What a hold keeps is not asked loan by loan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.engine import Connection

from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import listing
from kiva_relay.outbox.entry import Entry
from kiva_relay.report import alike, current, glance, month, price
from kiva_relay.report import line as report_line
from kiva_relay.report.glance import GlanceLines
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.resource.refusal import PERSON_DECIDES

_ABSENT = (report_line.NOT_IN_MIS, report_line.OUT_OF_SCOPE, report_line.GONE)


@dataclass(frozen=True)
class OpenQuestions:
    """What a person is asked about the open report.

    Attributes:
        to_decide: the lines to decide, by Kiva's number.
        absent: the lines that the MIS does not give, for it does not have the loan, or not for Kiva.
        alone: positions that wait for a person, and of which no line to decide tells.
        missing: loans that the MIS does not give, as Kiva spells their ids; of none of them a line to decide tells.
    """

    to_decide: Sequence[ReportLine] = ()
    absent: tuple[ReportLine, ...] = ()
    alone: tuple[Entry, ...] = ()
    missing: tuple[str, ...] = ()


def beside_a_report(facts: Standing) -> OpenQuestions:
    """What is asked where no report is open."""
    return OpenQuestions(alone=tuple(facts.decisions), missing=facts.account.missing)


def whole(tx: Connection, facts: Standing, of_month: month.Month | None = None) -> OpenQuestions:
    """All of it, read. `of_month` is a report that was read already: where it is the open one, it is not read again."""
    if not _is_open(facts):
        return beside_a_report(facts)
    if of_month is not None and of_month.period == facts.report.period:
        lines: Iterable[ReportLine] = of_month.lines
    else:
        lines = current.lines_of(tx, facts.settings, facts.report.period, facts.now, besides_accepted=True)
    to_decide, absent = _asked(lines)
    told = {line.entry for line in to_decide}
    return OpenQuestions(
        to_decide,
        absent,
        tuple(entry for entry in facts.decisions if entry.id not in told),
        _untold(facts, to_decide),
    )


def in_parts(tx: Connection, facts: Standing) -> OpenQuestions:
    """The same: its lines to decide are counted, and read when somebody looks at one, while `tx` is open."""
    if not _is_open(facts):
        return beside_a_report(facts)
    basis = current.open_basis(tx, facts.settings, facts.report.period)
    if basis is None:
        return whole(tx, facts)
    lines = glance.every(tx, facts.settings, facts.report.period, basis=basis)
    odd, absent = _asked(lines.glance.odd)
    priced = price.priced(tx, absent, period=facts.report.period, basis=basis)
    # What stands like others has a position of its own: the MIS gives it.
    return OpenQuestions(lines.only(_is_to_decide), tuple(priced), _alone(tx, facts, lines, odd), _untold(facts, odd))


def _is_open(facts: Standing) -> bool:
    return facts.report.is_open and "repayment" in facts.settings.resources


def _asked(lines: Iterable[ReportLine]) -> tuple[tuple[ReportLine, ...], tuple[ReportLine, ...]]:
    """Of some lines those to decide, and those that the MIS does not give."""
    mine = [one for one in lines if one.needs_a_person]
    to_decide = tuple(one for one in mine if _is_to_decide(one.kind, one.cause))
    return to_decide, tuple(one for one in mine if one.kind is ReportLineKind.MISSING and one.cause in _ABSENT)


def _is_to_decide(kind: ReportLineKind, cause: str) -> bool:
    return kind is ReportLineKind.DECIDE and cause not in month.KEPT_BACK


def _untold(facts: Standing, to_decide: Iterable[ReportLine]) -> tuple[str, ...]:
    told = {one.loan_id for one in to_decide}
    return tuple(loan_id for loan_id in facts.account.missing if loan_id not in told)


def _alone(tx: Connection, facts: Standing, lines: GlanceLines, odd: Iterable[ReportLine]) -> tuple[Entry, ...]:
    """The positions of which no line tells. A line that is counted tells of one: if as many wait, there is no other."""
    counted = [one for one in lines.glance.alike if one.kind is ReportLineKind.DECIDE and one.cause in PERSON_DECIDES]
    if sum(one.number for one in counted) == len(facts.decisions):
        return ()
    by_others = {line.entry for line in odd}
    beside = listing.decisions(tx, alike.besides(facts.report.period))
    return tuple(entry for entry in beside if entry.id not in by_others)
