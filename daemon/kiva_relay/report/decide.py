"""What a person may decide about a line, and that it is put down: one row, about just what was seen.

Nothing here makes an entry. The relay reads the row, and does what it says.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kiva_relay import errors
from kiva_relay.config.settings import Settings
from kiva_relay.frozen import dataclass
from kiva_relay.outbox import act, decision, mirror, report, table, watermark
from kiva_relay.outbox.report import Report
from kiva_relay.report import current
from kiva_relay.report import line as lines_
from kiva_relay.report.line import ReportLine, ReportLineKind
from kiva_relay.resource import loan_id as spelled

Verb = Literal["send", "keep", "leave_out", "value", "is"]
_SENDS: tuple[Verb, ...] = ("send", "keep", "value")
_OVER = (ReportLineKind.ACCEPTED, ReportLineKind.ON_ITS_WAY, ReportLineKind.OLDER_AMOUNT)
_DIGITS, _DECIMALS = 13, 3
"""Before and behind the point: no currency's loan has more."""

_BY_HOLDS = (lines_.HELD, lines_.BASIS_CHANGED)


class LineChanged(errors.UsageError):
    """The line is not what the person saw who decides about it: somebody decided already, or an amount changed."""


@dataclass(frozen=True)
class LineAnswer:
    """What a person says of a line.

    Attributes:
        verb: `send` what the MIS gives, `keep` what Kiva took last, `leave_out`, `value`, `is`.
        value: the amount of `value`, the MIS's own id of `is`; None with the others.
        note: why.
        late: it is sent although its report has closed.
    """

    verb: Verb
    value: str | None = None
    note: str = ""
    late: bool = False


def decide(
    tx: Connection, settings: Settings, seen: ReportLine, answer: LineAnswer, *, period: str, by: str, now: datetime
) -> int:
    """Put down what a person decided about a line, as it was seen; the decision's number.

    Args:
        tx: a writing transaction of the outbox.
        settings: those in force.
        seen: the line that the person looked at.
        answer: what is to be done.
        period: YYYY-MM, of the report that the line is of.
        by: who decides.
        now: with a zone.

    Raises:
        LineChanged: the line is another one now; nothing was written.
        UsageError: this cannot be decided, and why; nothing was written.
    """
    of_period = report.of(tx, period)
    must_take(tx, of_period, period, late=answer.late, sends=answer.verb in _SENDS)
    line = current.line_of(tx, settings, period, seen.kiva_id)
    if line is None or line.seen != seen.seen:
        raise LineChanged(
            f"Loan {seen.loan_id} has changed since it was shown. Nothing was decided.",
            hint=f"Look at it again:   kiva-relay report {period}",
        )
    value = _value(tx, line, answer, period)
    number = decision.put(
        tx,
        period=decision.FOR_LIFE if answer.verb == "is" else period,
        kiva_id=line.kiva_id,
        loan_id=line.loan_id,
        verb=answer.verb,
        value=value,
        seen=line.amounts,
        by=by,
        note=answer.note,
        late=answer.late and answer.verb in _SENDS,
        now=now,
    )
    about = {"kiva_id": line.kiva_id, "period": period, "decision": number}
    act.record(
        tx, by=by, verb=f"report decide --{answer.verb.replace('_', '-')}", about=about, note=answer.note, now=now
    )
    if line.identity is not None:
        watermark.read_identities_again(tx, "repayment", [line.identity])
    return number


def check(tx: Connection, line: ReportLine, answer: LineAnswer, *, period: str) -> None:
    """Could this be decided about a line of a report, as it stands? Before a person is asked whether she means it.

    Raises:
        UsageError: it cannot, and why.
    """
    must_take(tx, report.of(tx, period), period, late=answer.late, sends=answer.verb in _SENDS)
    _value(tx, line, answer, period)


def undo(tx: Connection, kiva_id: str, *, by: str, note: str, now: datetime) -> bool:
    """Take back whose loan a loan of Kiva's is; false: nobody said that."""
    if not decision.undo(tx, kiva_id, period=decision.FOR_LIFE, by=by, now=now):
        return False
    act.record(tx, by=by, verb="report aliases --undo", about={"kiva_id": kiva_id}, note=note, now=now)
    return True


def must_take(tx: Connection, of_period: Report | None, period: str, *, late: bool, sends: bool) -> None:
    """Does the report of a period take decisions?

    Raises:
        UsageError: it does not, or only late ones; the message says what to type.
    """
    if of_period is None:
        raise errors.UsageError(
            f"There is no report of {period}: the relay has not opened it.", hint="kiva-relay report"
        )
    if of_period.finalised_at is not None:
        raise errors.UsageError(
            f"{of_period.finalised_by} finalised the report of {period} on {of_period.finalised_at:%Y-%m-%d}: nothing"
            " more is decided about it.",
            hint=f"Was that too early?   kiva-relay report reopen {period}",
            code="finalised",
            params={"person": of_period.finalised_by or ""},
        )
    if of_period.closed_at is None:
        if late:
            raise errors.UsageError(
                f"The report of {period} is open: what is decided is sent with it. Leave out --late.",
                code="open_again",
            )
        return
    latest = report.latest(tx)
    over = latest is not None and latest.period > period
    if sends and over:
        raise errors.UsageError(
            f"The report of {period} has closed, and that of {latest.period if latest else ''} has opened: what goes"
            " now is booked there.",
            hint=f"kiva-relay report {latest.period if latest else ''}",
            code="next_opened",
        )
    if sends and not late:
        raise errors.UsageError(
            f"The report of {period} has closed. Has the coordinator not finalised it in PA2 yet? Then it can still be"
            " sent, with --late.",
            hint=f"kiva-relay report decide … --late    or, once it is finalised: kiva-relay report finalised {period}",
            code="closed",
        )


def _value(tx: Connection, line: ReportLine, answer: LineAnswer, period: str) -> str | None:
    """The decision's value, where this line can be decided so.

    Raises:
        UsageError: it cannot.
    """
    if line.kind is ReportLineKind.DECIDE and line.cause in _BY_HOLDS:
        raise errors.UsageError(
            f"Loan {line.loan_id} waits with the whole report, which is held.", hint='kiva-relay report send --note "…"'
        )
    match answer.verb:
        case "send":
            _must_be_sendable(line)
        case "keep":
            if line.before is None:
                raise errors.UsageError(
                    f"Kiva took no amount for loan {line.loan_id} in an earlier report: there is none to keep.",
                    hint=_otherwise(line),
                )
        case "value":
            return _amount(line, answer.value, period)
        case "is":
            return _is(tx, line, answer.value)
        case "leave_out":
            pass
    return None


def _must_be_sendable(line: ReportLine) -> None:
    """Can what the MIS gives be sent?

    Raises:
        UsageError: it cannot, or nothing is to be decided about it.
    """
    if line.position is None:
        raise errors.UsageError(f"The MIS gives no amount for loan {line.loan_id}.", hint=_otherwise(line))
    if line.position < 0:
        raise errors.UsageError(
            f"{lines_.plain(line.position)} is no amount that Kiva takes for loan {line.loan_id}: more was"
            " repaid than was lent. Nothing was decided.",
            hint=f"kiva-relay report decide {line.number} --value 0 --note …    or: --leave-out",
        )
    if line.kind in _OVER and line.decided is None:
        raise errors.UsageError(f"Nothing is to be decided about loan {line.loan_id}: it is {_said(line)}.")


def _amount(line: ReportLine, written: str | None, period: str) -> str:
    try:
        amount = Decimal(written or "")
    except ArithmeticError:
        amount = Decimal("NaN")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or amount < 0 or amount.adjusted() >= _DIGITS or exponent < -_DECIMALS:
        raise errors.UsageError(
            f"--value takes an amount, as 150000 or 1500.50; found {written}.",
            hint="kiva-relay report decide --help",
            code="amount_unreadable" if written else "amount_missing",
            params={"written": written or ""},
        )
    if line.identity is None:
        raise errors.UsageError(
            f"The MIS does not have loan {line.loan_id}, so no amount can be sent for it from here.",
            hint=f"{_otherwise(line)}\nor in PA2 by hand:   kiva-relay report --csv",
        )
    known = [one for one in (line.position, line.lent, line.lent_at_kiva) if one is not None]
    if known and amount > max(known):
        raise errors.UsageError(
            f"{written} is more than was lent of loan {line.loan_id}, by the MIS and by Kiva:"
            f" {lines_.plain(max(known))} at most. Nothing was decided.",
            hint=f"kiva-relay report {period} --exceptions",
            code="amount_too_large",
            params={"most": lines_.plain(max(known)), "currency": line.currency or ""},
        )
    return lines_.plain(amount)


def _is(tx: Connection, line: ReportLine, written: str | None) -> str:
    identity = spelled.key(written or "")
    columns = table.captured.c
    its = (columns.resource == "repayment", columns.identity == identity, columns.in_scope)
    if not identity or tx.execute(sa.select(columns.key).where(*its).limit(1)).first() is None:
        likely = line.params.get("likely_id")
        raise errors.UsageError(
            f"The MIS has no loan {written} that is reported.",
            hint=f"Did you mean: {likely}"
            if likely
            else "Look for it:   kiva-relay mapping preview repayment --loan ID",
            code="loan_unknown" if written else "loan_missing",
            params={"loan": written or ""},
        )
    own = [loan for loan in mirror.under(tx, [identity]) if loan.status in mirror.EXPECTED]
    if any(loan.kiva_id != line.kiva_id for loan in own):
        raise errors.UsageError(
            f"Kiva lists {written} as a loan of its own: {line.loan_id} is another one.",
            hint="Look at both in PA2.",
            code="loan_of_its_own",
            params={"loan": written or ""},
        )
    return identity


def _otherwise(line: ReportLine) -> str:
    return f"kiva-relay report decide {line.number} --leave-out --note …    or: --is ID"


def _said(line: ReportLine) -> str:
    return line.kind.value.replace("_", " ")
