"""The report of each period: when it opened, was looked at last, closed, and was finalised; its lines when it closed.

All functions take an open transaction. The lines of a closed report are rows of their own: what is written there stands
in the way of no later position.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import meta, report_table
from kiva_relay.outbox.store import Overtaken

_report = report_table.report.c
_line = report_table.report_line.c
_AT_ONCE = 1_000
_FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True)
class Report:
    """The report of one period.

    Attributes:
        period: YYYY-MM, named by its window.
        cutoff: repayments count up to this day, in the MIS's zone.
        basis: what an amount means.
        opens_at, closes_at: its window; None without one.
        opened_at: when the relay opened it.
        looked_at: when the last look before closing began.
        closed_at: since when its lines are frozen.
        finalised_at, finalised_by: when a person finalised it in PA2, and who said so.
    """

    period: str
    cutoff: date
    basis: str
    opens_at: datetime | None
    closes_at: datetime | None
    opened_at: datetime
    looked_at: datetime | None = None
    closed_at: datetime | None = None
    finalised_at: datetime | None = None
    finalised_by: str | None = None

    @property
    def takes_late(self) -> bool:
        """Is it closed, and not finalised yet, so that a person may still send a line of it?"""
        return self.closed_at is not None and self.finalised_at is None


@dataclass(frozen=True)
class FrozenLine:
    """A line as it stood when its report closed. `kind` and `cause` of `report/line.py`; `facts` are its values."""

    kiva_id: str
    loan_id: str
    kind: str
    cause: str
    facts: Mapping[str, Any]


_ALL = sa.select(*(_report[name] for name in Report.__dataclass_fields__))
_OF = _ALL.where(_report.period == sa.bindparam("its_period"))
_LATEST = _ALL.order_by(_report.period.desc()).limit(1)
_NOT_CLOSED = _ALL.where(_report.closed_at.is_(None)).order_by(_report.period)


def of(tx: Connection, period: str) -> Report | None:
    """The report of a period; None: it never opened."""
    row = tx.execute(_OF, {"its_period": period}).one_or_none()
    return None if row is None else _read(row)


def latest(tx: Connection) -> Report | None:
    """The report that opened last; None: none ever did."""
    row = tx.execute(_LATEST).one_or_none()
    return None if row is None else _read(row)


def not_closed(tx: Connection) -> list[Report]:
    """Reports that opened and have not closed, the oldest first; mostly one, or none."""
    return [_read(row) for row in tx.execute(_NOT_CLOSED)]


def every(tx: Connection) -> list[Report]:
    """All reports, the oldest first."""
    return [_read(row) for row in tx.execute(_ALL.order_by(_report.period))]


def open_(tx: Connection, opened: Report) -> None:
    """Put down that a report has opened."""
    values = {name: getattr(opened, name) for name in Report.__dataclass_fields__}
    tx.execute(sa.insert(report_table.report).values(**values))


def change(tx: Connection, before: Report, **values: Any) -> Report:
    """Write down what happened to a report, if it is still as the caller saw it.

    Raises:
        Overtaken: somebody else changed it meanwhile.
    """
    seen = (
        _report.period == before.period,
        _report.closed_at.is_not_distinct_from(before.closed_at),
        _report.finalised_at.is_not_distinct_from(before.finalised_at),
    )
    if tx.execute(sa.update(report_table.report).where(*seen).values(**values)).rowcount != 1:
        raise Overtaken(f"the report of {before.period} is no longer as it was")
    changed = of(tx, before.period)
    assert changed is not None  # noqa: S101 - it was changed just now
    return changed


def freeze(tx: Connection, period: str, lines: Iterable[FrozenLine]) -> int:
    """Keep the lines of a report, in the place of those that were kept of it; how many."""
    tx.execute(sa.delete(report_table.report_line).where(_line.period == period))
    number, rows = 0, []
    for one in lines:
        rows.append(
            {
                "period": period,
                "kiva_id": one.kiva_id,
                "loan_id": one.loan_id,
                "kind": one.kind,
                "cause": one.cause,
                "facts": dict(one.facts),
            }
        )
        number += 1
        if len(rows) == _AT_ONCE:
            tx.execute(sa.insert(report_table.report_line), rows)
            rows = []
    if rows:
        tx.execute(sa.insert(report_table.report_line), rows)
    return number


def frozen(
    tx: Connection,
    period: str,
    *,
    kind: str | None = None,
    but: str | None = None,
    only: Collection[str] | None = None,
) -> Iterator[FrozenLine]:
    """The lines as they stood when their report closed, by `kiva_id`.

    `kind`: those of this kind; `but`: without those of this kind. `only`: those of these loans, by Kiva's numbers.
    """
    query = sa.select(_line.kiva_id, _line.loan_id, _line.kind, _line.cause, _line.facts).where(_line.period == period)
    if kind is not None:
        query = query.where(_line.kind == kind)
    if but is not None:
        query = query.where(_line.kind != but)
    if only is not None:
        query = query.where(_line.kiva_id.in_(only))
    for row in tx.execute(query.order_by(_line.kiva_id).execution_options(yield_per=_AT_ONCE)):
        yield FrozenLine(*row)


def frozen_ids(tx: Connection, period: str) -> Iterator[tuple[str, str]]:
    """Of each loan of a closed report Kiva's number, and its loan id as Kiva spells it."""
    query = sa.select(_line.kiva_id, _line.loan_id).where(_line.period == period).order_by(_line.kiva_id)
    yield from (tuple(row) for row in tx.execute(query.execution_options(yield_per=_AT_ONCE)))


def forget_words(tx: Connection, *, before: datetime) -> int:
    """Of the next report that closed before a moment, keep of Kiva's words the codes, a part at a time.

    They may quote a name, in its lines and with its uploads. 0 when there is none left. A report of a hundred thousand
    loans at once kept all others from writing for half a minute, and stood in memory.
    """
    done = meta.WORDS_FORGOTTEN.get(tx) or ""
    next_one = sa.select(_report.period).where(_report.closed_at < before, _report.period > done)
    period = tx.execute(next_one.order_by(_report.period).limit(1)).scalar()
    if period is None:
        return 0
    place = meta.WORDS_FORGOTTEN_UNTIL.get(tx)
    if place is None or place.period != period:
        place = meta.PlaceInReport(period, "", 0)
    lines = sa.select(_line.kiva_id, _line.facts).where(_line.period == period, _line.kiva_id > place.kiva_id)
    rows = tx.execute(lines.order_by(_line.kiva_id).limit(_FORGOTTEN_AT_ONCE)).all()
    quoting = [row for row in rows if _quotes(row.facts)]
    for row in quoting:
        where = (_line.period == period, _line.kiva_id == row.kiva_id)
        tx.execute(sa.update(report_table.report_line).where(*where).values(facts=_without_words(row.facts)))
    if rows:
        place = replace(place, kiva_id=rows[-1].kiva_id)
    more = len(rows) == _FORGOTTEN_AT_ONCE
    if not more:
        attempt, uploads = _forget_words_of_uploads(tx, period, behind=place.attempt)
        place, more = replace(place, attempt=attempt), uploads == _FORGOTTEN_AT_ONCE
    if more:
        meta.WORDS_FORGOTTEN_UNTIL.put(tx, place)
    else:
        meta.WORDS_FORGOTTEN_UNTIL.remove(tx)
        meta.WORDS_FORGOTTEN.put(tx, period)
    return len(quoting) + 1


def _forget_words_of_uploads(tx: Connection, period: str, *, behind: int) -> tuple[int, int]:
    """The last attempt of the part, and how many uploads it had."""
    columns = report_table.upload.c
    # The || keeps a database from sorting all uploads of the period again for each part.
    of_period = columns.period.concat("") == period
    some = sa.select(columns.attempt_id, columns.problems).where(of_period, columns.attempt_id > behind)
    rows = tx.execute(some.order_by(columns.attempt_id).limit(_FORGOTTEN_AT_ONCE)).all()
    for row in rows:
        if (problems := _without_words(row.problems)) != row.problems:
            where = columns.attempt_id == row.attempt_id
            tx.execute(sa.update(report_table.upload).where(where).values(problems=problems))
    return (rows[-1].attempt_id if rows else behind), len(rows)


_QUOTING = ("problems", "reasons")
_WORDS = ("details", "text")


def _quotes(value: Any) -> bool:
    """Does it hold what Kiva said?"""
    if isinstance(value, dict):
        return any(name in _QUOTING or _quotes(one) for name, one in value.items())
    return isinstance(value, list) and any(map(_quotes, value))


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "" if name in _WORDS else _without_words(one) for name, one in value.items()}
    return [_without_words(one) for one in value] if isinstance(value, list) else value


def _read(row: sa.Row[Any]) -> Report:
    return Report(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
