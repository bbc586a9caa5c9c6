"""`kiva-relay report decide N…`: what a person says of loans that the report asks about. The relay does it then."""

from typing import Annotated, cast

import typer
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.cli import figure, frame, report_named, words
from kiva_relay.outbox import heartbeat
from kiva_relay.report import amount as typed
from kiva_relay.report import decide
from kiva_relay.report.decide import LineAnswer, Verb
from kiva_relay.report.line import ReportLine

Numbers = Annotated[list[str] | None, typer.Argument(metavar="N…", help="The numbers that the report shows.")]
Loans = Annotated[list[str] | None, typer.Option("--loan", metavar="ID", help="Or the loan's id, as PA2 shows it.")]
Period = Annotated[
    str | None, typer.Option("--period", metavar="YYYY-MM", help="Of an earlier report; usually the one that is open.")
]
Send = Annotated[bool, typer.Option("--send", help="Send what the MIS gives.")]
Keep = Annotated[bool, typer.Option("--keep", help="Send again what Kiva took in its last report.")]
LeaveOut = Annotated[bool, typer.Option("--leave-out", help="Do not report it: Kiva bills it by its schedule.")]
Value = Annotated[str | None, typer.Option("--value", metavar="AMOUNT", help="Send this amount.")]
Is = Annotated[str | None, typer.Option("--is", metavar="ID", help="It is this loan of the MIS, for its whole life.")]
Late = Annotated[bool, typer.Option("--late", help="Send it although the report's window has closed.")]

_VERBS = {"send": "--send", "keep": "--keep", "leave_out": "--leave-out", "value": "--value", "is": "--is"}


def command(
    numbers: Numbers = None,
    config: frame.Config = None,
    *,
    loans: Loans = None,
    period: Period = None,
    send: Send = False,
    keep: Keep = False,
    leave_out: LeaveOut = False,
    value: Value = None,
    is_: Is = None,
    late: Late = False,
    note: frame.Note = "",
    yes: frame.Yes = False,
    as_json: frame.AsJson = False,
) -> int:
    """Decide about loans of the report: send, keep, leave out, another amount, or which loan it is.

    It holds for this report, and for the amounts that you see: where the MIS or Kiva says another one, it asks again.
    With --is it holds for the loan's whole life; take it back with `report aliases --undo`.
    """
    said = {"send": send, "keep": keep, "leave_out": leave_out, "value": value is not None, "is": is_ is not None}
    chosen = [verb for verb, is_said in said.items() if is_said]
    if len(chosen) != 1:
        raise errors.UsageError(
            f"Say one of {', '.join(_VERBS.values())}; found "
            f"{words.joined(_VERBS[verb] for verb in chosen) or 'none of them'}. Nothing was decided.",
        )
    if not numbers and not loans:
        raise errors.UsageError(
            "Name the lines by their numbers, or with --loan ID. Nothing was decided.",
            hint="kiva-relay report --exceptions",
        )
    note = words.why_is_said(note)
    answer = LineAnswer(cast("Verb", chosen[0]), value if value is not None else is_, note, late)
    settings = frame.load(config)
    with frame.outbox(settings) as outbox:
        with outbox.read() as tx:
            of_period = report_named.period(tx, period)
            lines = report_named.lines(tx, settings, numbers or [], loans or [], of_period=of_period)
            for line in lines:
                _check(tx, line, answer, period=of_period)
        if not as_json:
            frame.header(settings)
            for line in lines:
                frame.say(f"  {_shown(line)}")
        if len(lines) > 1 and answer.verb == "is":
            raise errors.UsageError("--is says whose loan one line is; name one. Nothing was decided.")
        if not frame.agreed(f"{_what(answer)} for {errors.counted(len(lines), 'loan')}?", yes=yes):
            frame.say("Nothing was decided. Everything stays as it was.")
            return 0
        with outbox.begin() as tx:
            for line in lines:
                decide.decide(tx, settings, line, answer, period=of_period, by=frame.person(), now=frame.now())
            runs = heartbeat.is_running(tx, frame.now())
    if as_json:
        frame.print_json({"period": of_period, "verb": answer.verb, "loans": [line.loan_id for line in lines]})
        return 0
    when = "within seconds" if runs else "when the relay runs (it does not: sudo systemctl start kiva-relay)"
    frame.say(f"Decided, with your name and note. The relay does it {when}.")
    frame.say(f"See what becomes of it:   kiva-relay report {of_period}")
    return 0


def _check(tx: Connection, line: ReportLine, answer: LineAnswer, *, period: str) -> None:
    """Could this be decided, and is it clear what is meant?

    Raises:
        UsageError: it cannot, or it is not.
    """
    if answer.verb == "value":
        typed.must_be_plain(answer.value or "", line.currency)
    decide.check(tx, line, answer, period=period)


def _what(answer: LineAnswer) -> str:
    """The answer as it was typed."""
    return _VERBS[answer.verb] if answer.value is None else f"{_VERBS[answer.verb]} {answer.value}"


def _shown(line: ReportLine) -> str:
    """The line's number, its loan, and the amounts that are decided about."""
    amounts = (
        ("the MIS", line.position),
        ("Kiva now", line.at_kiva),
        ("last report", line.before),
        ("lent by Kiva", line.lent_at_kiva),
    )
    shown = (f"{name} {figure.amount(f'{amount:f}', line.currency)}" for name, amount in amounts if amount is not None)
    return f"#{line.number}   {line.loan_id}   {' · '.join(shown)}".rstrip()
