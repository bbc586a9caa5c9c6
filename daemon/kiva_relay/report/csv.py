"""The report as a file that a person uploads in PA2, for the month in which the API is down.

The columns that PA2 takes by hand, under the API's own names: loan_id and amount, or loan_id, client_id and amount. The
first line is sacrificed on purpose: should PA2 take it for a loan, it says so of a loan `loan_id`; without it, a PA2
that expects it would pass over the first loan without a word.

An id stands as Kiva spells it, whatever it begins with: an apostrophe before `=…`, as spreadsheets would need, would be
another id. Such ids are named beside the file, which is for PA2 and not for a spreadsheet.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO

from kiva_relay.outbox.decision import Decision
from kiva_relay.report import line
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.resource.repayment import THREE_COLUMNS

_GOES = (ReportLineKind.ON_ITS_WAY, ReportLineKind.OLDER_AMOUNT)
_NOTHING: Mapping[Any, Any] = {}
_PART = 500
_CHANGED = re.compile(r"\s*[=+@\t\uff1d\uff0b\uff0d\uff20-]|\s*0\d|\d{16}|\d+[eE]\d+$|\d+[-/]\d+([-/]\d+)?$")
"""What spreadsheets take for a formula, for a number with or without zeros or an exponent, and for a date."""


@dataclass
class CsvReport:
    """What is in the file, and what is not.

    Attributes:
        lines: how many loans the report has.
        loans: how many of them are in the file.
        left_out: ids of those that have no amount that would be sent, by the line in which they stand.
        held: by the reason of a hold, how many are in it although the relay does not send them.
        without_client: loan ids without a client id, where PA2 takes three columns.
        changed_by_spreadsheets: loan ids that a spreadsheet would show, and save, as something else.
    """

    lines: int = 0
    loans: int = 0
    left_out: dict[ReportLineKind, list[str]] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    without_client: list[str] = field(default_factory=list)
    changed_by_spreadsheets: list[str] = field(default_factory=list)


def write(
    lines: Iterable[ReportLine],
    into: TextIO,
    *,
    columns: int,
    decisions: Mapping[int, Decision] = _NOTHING,
    clients: Callable[[Sequence[ReportLine]], Mapping[str, str]] = lambda _lines: _NOTHING,
) -> CsvReport:
    """Write the file of a report's lines, in parts as they come; nothing at all where there is no line.

    Args:
        lines: of one report.
        into: where it is written.
        columns: as of the setting `kiva.columns`.
        decisions: what persons decided, by number: what they said goes in the place of what the MIS gives.
        clients: of some lines, client ids by the MIS where Kiva names none, by the MIS's own id of the loan.
    """
    each, file, three = iter(lines), CsvReport(), columns == THREE_COLUMNS
    writer = csv.writer(into, lineterminator="\r\n")
    while part := list(islice(each, _PART)):
        if not file.lines:
            writer.writerow(("loan_id", "client_id", "amount") if three else ("loan_id", "amount"))
        known = clients(part) if three else _NOTHING
        for one in part:
            amount = amount_of(one, decisions.get(one.decided or 0))
            if amount is None:
                file.left_out.setdefault(one.kind, []).append(one.loan_id)
                continue
            client = _client(one, known)
            writer.writerow((one.loan_id, client, plain(amount)) if three else (one.loan_id, plain(amount)))
            _count(file, one, without_client=three and not client)
        file.lines += len(part)
    return file


def _count(file: CsvReport, one: ReportLine, *, without_client: bool) -> None:
    file.loans += 1
    if one.cause == line.HELD:
        file.held[str(one.params.get("reason", "?"))] += 1
    if without_client:
        file.without_client.append(one.loan_id)
    if _CHANGED.match(one.loan_id):
        file.changed_by_spreadsheets.append(one.loan_id)


def amount_of(one: ReportLine, decision: Decision | None = None) -> Decimal | None:
    """The amount that would be sent, or is at Kiva already; None: none. What a hold keeps is the right amount."""
    if one.kind in (ReportLineKind.ACCEPTED, ReportLineKind.WARNED):
        return one.position if one.at_kiva is None else one.at_kiva
    if one.kind not in _GOES and not (one.kind is ReportLineKind.DECIDE and one.cause == line.HELD):
        return None
    seen = one.amounts
    if decision is not None and decision.binds(seen["position"], seen["lent_at_kiva"], seen["currency"]):
        if decision.verb == "keep":
            return one.before
        if decision.verb == "value":
            return Decimal(decision.value or 0)
    return one.position


def _client(one: ReportLine, clients: Mapping[str, str]) -> str:
    """As it is sent: as Kiva spells it, else as the MIS does."""
    return one.client_id or clients.get(one.identity or "", "")


def plain(amount: Decimal) -> str:
    """An amount with a point and nothing else: no thousands, no exponent, no minus before zero."""
    return f"{amount or abs(amount):f}"
