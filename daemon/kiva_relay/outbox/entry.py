"""One thing owed to Kiva: a row of the outbox, and what capture hands over to make one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row

from kiva_relay.frozen import dataclass
from kiva_relay.outbox import table
from kiva_relay.outbox.state import State
from kiva_relay.resource.refusal import Refusal

REPEATED_AFTER = (timedelta(0), timedelta(hours=1), timedelta(hours=4), *[timedelta(days=1)] * 3)
"""So long after its last attempt ended a position in doubt is sent again, `settle_after` at least; no more often."""

LATE = "late"
"""The origin of a position that a person sends although its report is closed."""


@dataclass(frozen=True)
class OwedPosition:
    """What is known of a position beside its amount.

    `basis` is what the amount means. `mis` is what the MIS gives where a person decided on another amount, `lent` the
    principal by the MIS, `scheduled` the principal that its schedule has in the period; amounts as text. `decided`: a
    person decided about just this.
    """

    basis: str
    mis: str | None = None
    lent: str | None = None
    scheduled: str | None = None
    decided: bool = False


@dataclass(frozen=True)
class Owed:
    """What the MIS owes Kiva for one identity, as mapped just now.

    There is a `body`, or there are `refusals`, or `waits` says for what it waits (with a body or without one).
    `adopted` is what Kiva lists, when it has the loan already: then nothing of it is ever sent. `partial` is what can
    still be made of a body that is refused: compared with what was sent, never sent. `comparable`: it is the row that
    was sent, not another one under its number. `position` is what is known of a position beside its amount.
    """

    resource: str
    identity: str
    stream: str
    key: str
    loan_id: str
    fingerprint: str
    origin: str
    due_at: datetime
    client_id: str = ""
    amount: str | None = None
    currency: str | None = None
    period: str = ""
    body: str | None = None
    body_sha256: str | None = None
    refusals: tuple[Refusal, ...] = ()
    waits: str | None = None
    publish_by: date | None = None
    adopted: Mapping[str, Any] | None = None
    partial: str | None = None
    comparable: bool = True
    position: OwedPosition | None = None


@dataclass(frozen=True)
class Entry:
    """A row of the outbox, whole. Columns are explained in `table.entry`."""

    id: int
    resource: str
    identity: str
    version: int
    state: State
    reason: str | None
    evidence: str | None
    waits_for: int | None
    stream: str
    key: str
    loan_id: str
    client_id: str
    amount: str | None
    currency: str | None
    period: str
    body: str | None
    body_sha256: str | None
    hashes: Any
    fingerprint: str | None
    origin: str
    refusals: list[dict[str, Any]] | None
    receipt: dict[str, Any] | None
    publish_by: date | None
    due_at: datetime
    batch_cap: int | None
    repeats: int
    created_at: datetime
    changed_at: datetime
    settled_at: datetime | None
    done_at: datetime | None
    row_version: int

    @property
    def repeats_itself(self) -> bool:
        """Is it sent again without a person while nobody knows whether Kiva took it? A second position does no harm."""
        return self.resource == "repayment" and self.repeats < len(REPEATED_AFTER)

    @property
    def reasons(self) -> list[Refusal]:
        """Why it was refused: codes, fields and parameters."""
        return [Refusal.from_json(refusal) for refusal in self.refusals or ()]


_NAMES = tuple(column.name for column in table.entry.columns)


def of(row: Row[Any]) -> Entry:
    """An Entry from a row of `table.entry`, with all its columns in their order: by place, for a list has thousands."""
    values = dict(zip(_NAMES, row, strict=True))
    values["state"] = State(values["state"])
    del values["loan_fold"]
    return Entry(**values)
