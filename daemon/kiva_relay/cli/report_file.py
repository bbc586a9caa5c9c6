"""The report as a file for PA2, on standard output; what is not in it is said on standard error."""

import io
import sys
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from kiva_relay.cli import frame
from kiva_relay.config.settings import Settings
from kiva_relay.errors import UsageError, counted
from kiva_relay.report import upload_file
from kiva_relay.report.csv import CsvReport
from kiva_relay.report.line import ReportLineKind
from kiva_relay.terminal import visible

_SHOWN = 10
_WHY = {
    ReportLineKind.DECIDE: "nobody has decided about",
    ReportLineKind.MISSING: "the MIS gives no amount of",
    ReportLineKind.REFUSED_BY_KIVA: "Kiva refused",
    ReportLineKind.LEFT_OUT: "a person left out",
    ReportLineKind.CLOSED_WRONG: "closed with an older amount at Kiva",
    ReportLineKind.CLOSED_WITHOUT: "closed without a report",
    ReportLineKind.CLOSED_UNKNOWN: "closed while nobody knew what Kiva has",
}


def show(tx: Connection, settings: Settings, period: str | None) -> int:
    """Print the file, and beside it what is not in it.

    Raises:
        UsageError: the report has not opened, or Kiva's list was never read: a file without a loan would be a trap.
    """
    on_screen = io.StringIO(newline="") if sys.stdout.isatty() else None
    of_period, file = upload_file.write(tx, settings, period, on_screen or sys.stdout, now=frame.now())
    if not file.lines:
        raise UsageError(
            "There is no report to write: none has opened yet, or Kiva's list is unknown.", hint="kiva-relay report"
        )
    if on_screen is not None:
        sys.stdout.write(visible.lines(on_screen.getvalue().replace("\r\n", "\n")))
    sys.stdout.flush()
    for sentence in _beside(file, of_period.period):
        frame.notice(sentence)
    return 0


def _beside(file: CsvReport, period: str) -> list[str]:
    loans = counted(file.loans, "loan")
    said = [f"{loans} of the {file.lines:,} that Kiva expects for {period}. Upload it in PA2 → Repayments."]
    for kind, why in _WHY.items():
        if mine := file.left_out.get(kind):
            said.append(f"Not in it: {counted(len(mine), 'loan')} that {why}: {_some(mine)}")
    if file.left_out.keys() - {ReportLineKind.LEFT_OUT}:
        said.append("  kiva-relay report --exceptions")
    if file.held:
        reasons, number = ", ".join(sorted(file.held)), file.held.total()
        said.append(f"In it, and held back by the relay ({reasons}): {counted(number, 'loan')}.")
    if file.without_client:
        said.append(f"Without a client id, which PA2 wants in three columns: {_some(file.without_client)}")
    if file.changed_by_spreadsheets:
        said.append(f"Do not save it in a spreadsheet, which would change ids: {_some(file.changed_by_spreadsheets)}")
    return said


def _some(ids: Sequence[str]) -> str:
    more = len(ids) - _SHOWN
    return " · ".join(map(visible.text, ids[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
