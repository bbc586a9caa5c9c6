"""The monthly report of repayments: its window, its cut-off, its basis."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from datetime import time, timedelta
from typing import Annotated, Literal

from pydantic import Field, Strict, ValidationInfo, field_validator

from kiva_relay.config import value
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.section import Section, setting


class MonthDay(Section):
    """A moment in every month."""

    day: Annotated[int, Strict(), Field(ge=1, le=31)] | Literal["last"] = setting(
        does="The day of the month, 1 to 31, or last. In a shorter month, 29 to 31 is its last day.", example="1"
    )
    at: value.Hour = setting(does="The time of day.", example='"06:00"')


class Repayments(Section):
    """The monthly report of repayments."""

    basis: Literal["cumulative_principal", "principal_outstanding"] = setting(
        "cumulative_principal",
        does=(
            "What an amount means: cumulative_principal (repaid so far) or principal_outstanding. As agreed "
            "with Kiva; a wrong basis is a wrong invoice."
        ),
        where="as agreed with Kiva",
    )
    when: Literal["window", "continuous"] = setting(
        "window",
        does=(
            "window: sent while the month's window is open, as the report of the month before the one in which it "
            "closes. continuous: whenever something changed; the period is the calendar month."
        ),
    )
    opens_on: MonthDay = setting(
        MonthDay.model_construct(day=1, at=time(6)), does="When the window opens, in repayments.timezone."
    )
    closes_on: MonthDay = setting(
        MonthDay.model_construct(day=10, at=time(18)),
        does=(
            "When it closes; on a day before opens_on, it closes in the month after. Nothing is begun that might "
            "arrive later."
        ),
        filled=True,
    )
    timezone: value.Zone = setting(
        None,
        does="The zone of opens_on and closes_on (Kiva's clock). Without it: mis.timezone.",
        example="UTC",
    )
    send_at: value.Hour = setting(
        time(4),
        does=(
            "When positions that changed while the window is open are sent, each night, in repayments.timezone. All go "
            "when it opens, and before it closes."
        ),
    )
    cutoff: Literal["end_of_previous_month", "today"] | value.Day = setting(
        "end_of_previous_month",
        does=(
            "Up to which day repayments count, in mis.timezone: end_of_previous_month (the last day of the report's "
            "month), today, or a date, which holds for the report whose window closes next after it."
        ),
    )
    batch: Annotated[int, Strict(), Field(ge=1, le=300)] = setting(
        250, does="How many loans go in one call at most, 1 to 300."
    )

    @field_validator("closes_on")
    @classmethod
    def _close_after_opening(cls, closes: MonthDay, info: ValidationInfo) -> MonthDay:
        """A window has to be open for a while in every month, also in February."""
        opens: MonthDay | None = info.data.get("opens_on")
        if opens is None or info.data.get("when") == "continuous":  # then there is no window
            return closes
        first, last = _in_february(opens), _in_february(closes)
        if _place(opens) < _place(closes) and last - first < _SHORTEST:
            raise Mismatch(
                f"the window closes ({_said(closes)}) at once after it opens ({_said(opens)})"
                + (" in February" if _place(opens)[0] >= _FEBRUARY else ""),
                remedy="let it be open for two hours at least, in every month",
            )
        if _place(opens) == _place(closes):
            raise Mismatch(
                f"the window closes when it opens ({_said(opens)})",
                remedy="for a window that is always open, write when: continuous",
            )
        return closes


_FEBRUARY = 28
_LAST = 31
_SHORTEST = timedelta(hours=2)
"""More than clocks are ever set forward."""


def _place(moment: MonthDay) -> tuple[int, time]:
    return (_LAST if moment.day == "last" else moment.day, moment.at)


def _in_february(moment: MonthDay) -> timedelta:
    day, at = _place(moment)
    return timedelta(days=min(day, _FEBRUARY), hours=at.hour, minutes=at.minute)


def _said(moment: MonthDay) -> str:
    return f"{'last day' if moment.day == 'last' else f'day {moment.day}'}, {moment.at:%H:%M}"
