"""The file of a period for PA2: written as its lines are read, for there may be a hundred thousand."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import TextIO

from sqlalchemy.engine import Connection

from kiva_relay.config.settings import Settings
from kiva_relay.outbox.report import Report
from kiva_relay.report import accepted, csv, current, month
from kiva_relay.report.clients import clients_of
from kiva_relay.report.csv import CsvReport
from kiva_relay.report.line import ReportLine


def write(
    tx: Connection, settings: Settings, period: str | None, into: TextIO, *, now: datetime
) -> tuple[Report, CsvReport]:
    """Write the file of a period (None: as of `month.read`); its report, and what is in the file.

    Nothing is written where the report has not opened, or where Kiva expects no loan.

    Raises:
        UsageError: there is no report of this period; names the nearest ones.
    """
    chosen, state = month.chosen(tx, settings, period, now=now)
    if state == month.NOT_OPEN:
        return chosen, CsvReport()
    decided = {one.id: one for one in current.decisions(tx, chosen.period) if one.undone_at is None}
    is_open = chosen.closed_at is None
    lines: Iterable[ReportLine] = current.each_line(tx, settings, chosen.period, besides_accepted=is_open)
    if is_open:
        lines = heapq.merge(lines, accepted.lines(tx, chosen.period), key=lambda one: one.kiva_id)
    file = csv.write(lines, into, columns=settings.kiva.columns, decisions=decided, clients=partial(clients_of, tx))
    return chosen, file
