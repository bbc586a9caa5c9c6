"""`kiva-relay report`: the month's repayments, as an account of every loan that Kiva expects."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.cli import (
    frame,
    report_audit,
    report_compared,
    report_exceptions,
    report_file,
    report_json,
    report_screen,
)
from kiva_relay.errors import UsageError, nearest
from kiva_relay.report import comparison, current, finalising, handmade, month
from kiva_relay.report.comparison import Basis
from kiva_relay.report.handmade import Handmade
from kiva_relay.report.month import Month
from kiva_relay.words import language
from kiva_relay.words.language import Language

_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_VERBS = ("send", "decide", "finalised", "reopen")

Period = Annotated[
    str | None,
    typer.Argument(metavar="[PERIOD]", help="Its month, like 2026-11; else the open report, or the one closed last."),
]


def command(
    period: Period = None,
    config: frame.Config = None,
    *,
    exceptions: Annotated[
        bool, typer.Option("--exceptions", help="Only what a person has to look at, and what may be answered.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="The file that PA2 takes by hand, for a month in which the API is down.")
    ] = False,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="FILE", help="Against the file uploaded by hand last month.")
    ] = None,
    for_audit: Annotated[
        bool, typer.Option("--for-audit", help="Who decided what, what was uploaded, and every loan.")
    ] = False,
    as_json: frame.AsJson = False,
    lang: frame.Lang = None,
) -> int:
    """The month's repayment report: what Kiva expects, where each loan stands, what a person has to do. Sends nothing.

    Exit code: 0, or 1 when somebody has to do something: a decision, a release, or a comparison that does not fit.
    """
    given = {"--exceptions": exceptions, "--csv": as_csv, "--compare": compare is not None, "--for-audit": for_audit}
    _check(period, [name for name, is_given in given.items() if is_given], as_json=as_json)
    settings = frame.load_to_look(config)
    spoken = language.of(lang or settings.language)
    with contextlib.ExitStack() as until_shown:
        until_shown.enter_context(current.without_collecting())
        by_hand = None if compare is None else handmade.read(compare)
        tx = until_shown.enter_context(until_shown.enter_context(frame.outbox(settings)).read())
        if as_csv:
            return report_file.show(tx, settings, period)
        each, whole = by_hand is not None or (for_audit and not as_json), for_audit and as_json
        facts = month.read(tx, settings, period, now=frame.now(), whole=whole, amounts=each)
        history = finalising.history(tx, facts.period) if for_audit else []
        if by_hand is not None:
            return _compare(facts, by_hand, spoken, as_json=as_json)
        if for_audit and not as_json:
            decided = current.lines_with(tx, settings, facts.period, {one.kiva_id for one in facts.decisions})
            report_audit.show(facts, {one.kiva_id: one for one in decided}, facts.amounts, spoken, history)
            return 0
    if as_json:
        frame.print_json(report_json.audit(facts, history) if for_audit else report_json.of(facts))
    elif exceptions:
        report_exceptions.show(facts, spoken)
    else:
        report_screen.show(facts, spoken)
    return 0 if for_audit else int(facts.verdict.needs_a_person)


def _compare(facts: Month, by_hand: Handmade, spoken: Language, *, as_json: bool) -> int:
    """The report against a file that was made by hand; the exit code."""
    if not facts.accounted_for:
        raise UsageError(
            "There is nothing to compare with yet: no report has opened, or Kiva's list was never read.",
            hint="kiva-relay report",
        )
    found = comparison.compare(facts.amounts, by_hand, basis=facts.report.basis)
    if as_json:
        frame.print_json(report_json.compared(found, facts))
    else:
        report_compared.show(found, by_hand, facts, spoken)
    return int(bool(found.against) or found.basis is not Basis.FITS)


def _check(period: str | None, screens: Sequence[str], *, as_json: bool) -> None:
    if as_json and "--csv" in screens:
        screens = ("--csv", "--json")
    if len(screens) > 1:
        raise UsageError(f"{' and '.join(screens)} were given; one is enough.")
    if period is not None and not _PERIOD.fullmatch(period):
        raise _no_period(period)


def _no_period(written: str) -> UsageError:
    close = nearest(written, _VERBS, limit=1)
    hint = f"kiva-relay report {close[0]} --help" if close else "kiva-relay report 2026-11"
    return UsageError(f"“{written}” is no period: expected a month like 2026-11.", hint=hint)
