"""A line of the report as a person names it, and the report as a person names it: for the commands that decide."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.outbox import report, store
from kiva_relay.outbox.report import Report
from kiva_relay.report import meant
from kiva_relay.report.line import ReportLine
from kiva_relay.resource import loan_id as spelled

_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)


@contextlib.contextmanager
def not_meanwhile() -> Iterator[None]:
    """What the relay changed at the same moment is said, and nothing was written.

    Raises:
        UsageError: so it was.
    """
    try:
        yield
    except store.Overtaken as error:
        raise errors.UsageError(
            "The relay changed the report just now. Nothing was changed by you.", hint=frame.with_sudo()
        ) from error


def period(tx: Connection, written: str | None) -> str:
    """The period that a person means: the one named, else that of the report that is open or closed last.

    Raises:
        UsageError: it is none; names those that there are.
    """
    if written is None:
        latest = report.latest(tx)
        if latest is None:
            raise errors.UsageError("No report has opened yet. Nothing was changed.", hint="kiva-relay status")
        return latest.period
    if not _PERIOD.fullmatch(written):
        raise errors.UsageError(f"A report is named by its month, as 2026-11; found {written}. Nothing was changed.")
    if report.of(tx, written) is None:
        known = [one.period for one in report.every(tx)][-3:]
        raise errors.UsageError(
            f"There is no report of {written}. Nothing was changed.",
            hint=f"There are: {', '.join(known)}" if known else "kiva-relay status",
        )
    return written


def of(tx: Connection, written: str | None) -> Report:
    """The report that a person means.

    Raises:
        UsageError: there is none.
    """
    found = report.of(tx, period(tx, written))
    assert found is not None  # noqa: S101 - it was looked for just now
    return found


def lines(
    tx: Connection, settings: Settings, numbers: Sequence[str], loan_ids: Sequence[str], *, of_period: str
) -> list[ReportLine]:
    """The lines with these numbers, and those of these loans, each once.

    Raises:
        UsageError: there is none with a number or an id; names the nearest.
    """
    named = [number.removeprefix("#") for number in numbers]
    found = meant.lines(tx, settings, of_period, numbers=named, loan_ids=loan_ids)
    by_number = {one.number: one for one in found}
    by_loan: dict[str, list[ReportLine]] = {}
    for one in found:
        by_loan.setdefault(spelled.key(one.loan_id), []).append(one)
    chosen: dict[str, ReportLine] = {}
    for number, written in zip(named, numbers, strict=True):
        line = by_number.get(number)
        if line is None:
            raise errors.UsageError(
                f"The report of {of_period} has no line {written}. Nothing was decided.",
                hint=f"The numbers stand in:   kiva-relay report {of_period} --exceptions",
            )
        chosen[line.kiva_id] = line
    for loan_id in loan_ids:
        its = by_loan.get(spelled.key(loan_id))
        if its is None:
            known = list(dict.fromkeys(map(spelled.key, meant.every_id(tx, of_period))))
            near = errors.nearest(loan_id, known, limit=1)
            raise errors.UsageError(
                f"Kiva expects no loan {loan_id} in the report of {of_period}. Nothing was decided.",
                hint=f"Did you mean: {near[0]}" if near else f"kiva-relay report {of_period}",
            )
        chosen |= {one.kiva_id: one for one in its}
    return list(chosen.values())
