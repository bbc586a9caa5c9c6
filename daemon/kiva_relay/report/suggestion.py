"""Which of the MIS's loans one of Kiva's probably is, whose id was typed in another way. Pure; silent when in doubt.

The amount alone proves nothing: many loans have the same. Beside it the client has to be the same, or the id written
alike; a date that is far off speaks against it. Where two rows are as likely, or one row is for two loans, nothing is
suggested, and it is said why. Report and `reconcile --suggest` ask here, so that they name the same loan.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Protocol

from kiva_relay.outbox.mirror import MirroredLoan
from kiva_relay.resource import loan_id as spelled

NEAR_DAYS = 30
"""Kiva gets a loan within so many days of its row in the MIS, mostly."""
FAR_DAYS = 180
"""Further apart, it is another loan."""


class LentRow(Protocol):
    """A row of the MIS: its own id, what was lent, its client, and its day as ISO text; empty where unknown."""

    @property
    def identity(self) -> str: ...  # noqa: D102 - named above
    @property
    def lent(self) -> Decimal | None: ...  # noqa: D102 - named above
    @property
    def client_id(self) -> str: ...  # noqa: D102 - named above
    @property
    def created_on(self) -> str: ...  # noqa: D102 - named above


class Suggestion(NamedTuple):
    """`identity` is the MIS's own id; `because` the evidence: amount, client, id, date."""

    identity: str
    because: tuple[str, ...]


class Unclear(NamedTuple):
    """Why nothing is suggested: `rows` are the MIS's own ids that are as likely, a few of them.

    `loans`: the one row is as likely for these loans of Kiva's, too, by their ids there.
    """

    rows: tuple[str, ...]
    loans: tuple[str, ...] = ()


MOST_NAMED = 5
"""Of ids that are as likely: nobody reads more."""


def likeliest(loan: MirroredLoan, rows: Iterable[LentRow]) -> Suggestion | Unclear | None:
    """The one row that this loan probably is, of those that Kiva does not list under their own id."""
    found = [(evidence, row) for row in rows if (evidence := _evidence(loan, row))]
    if not found:
        return None
    most = max(_weight(evidence) for evidence, _ in found)
    best = [(evidence, row) for evidence, row in found if _weight(evidence) == most]
    if len(best) > 1:
        return Unclear(named(row.identity for _, row in best))
    return Suggestion(best[0][1].identity, best[0][0])


def named(ids: Iterable[str]) -> tuple[str, ...]:
    """A few of some ids, in order."""
    return tuple(sorted(ids)[:MOST_NAMED])


def _evidence(loan: MirroredLoan, row: LentRow) -> tuple[str, ...]:
    """Why it may be this row; empty: it is not, or nobody could say so."""
    if loan.amount is None or row.lent is None or Decimal(loan.amount) != row.lent:
        return ()
    both = bool(loan.client_id and row.client_id)
    same_client = both and spelled.alike(loan.client_id, row.client_id)
    other_client = both and not same_client
    same_id, apart = spelled.alike(loan.loan_id, row.identity), _days_apart(loan.created_on, row.created_on)
    if other_client or not (same_client or same_id) or (apart is not None and apart > FAR_DAYS):
        return ()
    near = apart is not None and apart <= NEAR_DAYS
    said = {"amount": True, "client": same_client, "id": same_id, "date": near}
    return tuple(name for name, holds in said.items() if holds)


def _weight(evidence: tuple[str, ...]) -> tuple[bool, bool, bool]:
    return "id" in evidence, "client" in evidence, "date" in evidence


def _days_apart(left: str | None, right: str) -> int | None:
    try:
        return abs((date.fromisoformat(left or "") - date.fromisoformat(right[:10])).days)
    except ValueError:
        return None
