"""Every call that reached the stand-in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True)
class LoggedCall:
    """One call.

    Attributes:
        number: Counts from 1 since the start.
        time: When its headers were there, UTC.
        on: Which call, a key of `partner_api.HANDLERS`.
        outcome: open, then answered, answer_lost (the caller hung up before it), or caller_left (it hung up before
            its body was complete).
        status: Of the answer as far as it was sent; None: not a byte.
        bytes: Length of the body that was read.
        seconds: From the headers to the end.
        record: The record of the ledger that it made; 0: none.
        loan_ids: Every loan id that its body names.
        idempotency_key: The header, which changes nothing here as at Kiva.
    """

    number: int
    time: datetime
    on: str
    method: str
    path: str
    query: str
    idempotency_key: str = ""
    outcome: str = "open"
    status: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    record: int = 0
    loan_ids: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)} | {"time": self.time.isoformat()}


class RequestLog:
    """The calls since the start, in memory. The numbers go on where the ledger's last request ended."""

    def __init__(self) -> None:
        self._first = 1
        self.entries: list[LoggedCall] = []

    def start_after(self, number: int) -> None:
        """Numbers up to this one were given before a restart."""
        self._first = number + 1

    def next_number(self) -> int:
        """The number of the next call."""
        return self._first + len(self.entries)

    def after(self, number: int, *, limit: int) -> list[LoggedCall]:
        """At most `limit` calls after `number`, oldest first."""
        begin = max(0, number - self._first + 1)
        return self.entries[begin : begin + limit]
