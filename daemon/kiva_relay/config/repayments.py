"""The monthly report of repayments: its window, its cut-off, its basis."""

# No postponed annotations in this file: pydantic reads them while the classes are made.
from datetime import time
from typing import Annotated, Literal

from pydantic import Field, Strict, ValidationInfo, field_validator

from kiva_relay.config import value
from kiva_relay.config.mismatch import Mismatch
from kiva_relay.config.section import Section, setting


class MonthDay(Section):
    """A moment in every month."""

    day: Annotated[int, Strict(), Field(ge=1, le=28)] = setting(does="The day of the month, 1 to 28.", example="1")
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
        does="window: sent while the month's window is open. continuous: whenever something changed.",
    )
    opens_on: MonthDay = setting(MonthDay(day=1, at=time(6)), does="When the window opens, in repayments.timezone.")
    closes_on: MonthDay = setting(
        MonthDay(day=10, at=time(18)),
        does="When it closes. Nothing is begun that might arrive later.",
        filled=True,
    )
    timezone: value.Zone = setting(
        None,
        does="The zone of opens_on and closes_on (Kiva's clock). Without it: mis.timezone.",
        example="UTC",
    )
    cutoff: Literal["end_of_previous_month", "today"] | value.Day = setting(
        "end_of_previous_month",
        does="Up to which day repayments count, in mis.timezone: end_of_previous_month, today, or a date.",
    )
    batch: Annotated[int, Strict(), Field(ge=1, le=300)] = setting(
        250, does="How many loans go in one call at most, 1 to 300."
    )

    @field_validator("closes_on")
    @classmethod
    def _close_after_opening(cls, closes: MonthDay, info: ValidationInfo) -> MonthDay:
        opens: MonthDay | None = info.data.get("opens_on")
        if opens and (closes.day, closes.at) <= (opens.day, opens.at):
            raise Mismatch(
                f"the window closes (day {closes.day}, {closes.at:%H:%M}) before it opens "
                f"(day {opens.day}, {opens.at:%H:%M})",
                remedy="both are in the same month",
            )
        return closes
