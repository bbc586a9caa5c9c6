"""What does not wait for the coordinator, out of how things stand: beside her tasks, so that silence is no peace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kiva_relay.account.line import LineKind
from kiva_relay.account.standing import Standing
from kiva_relay.frozen import dataclass

_NOT_TAKEN = "loan_not_eligible"
"""Why a journal waits whose loan Kiva has, at a stage for which it takes none: capture/owed.py."""


@dataclass(frozen=True)
class Rest:
    """What does not wait for her, so that silence is never mistaken for peace. Mappings are resource → how many."""

    running: bool
    kiva_away_since: datetime | None
    held: Mapping[str, int]
    journals_waiting: int
    journals_not_taken: int
    under_way: Mapping[str, int]
    delivered_until: datetime | None
    delivered_yesterday: Mapping[str, int]


def rest_of(facts: Standing) -> Rest:
    """All that is not a task."""
    not_taken = facts.account.numbers(LineKind.WAITING, cause=_NOT_TAKEN).get("journal", 0)
    return Rest(
        running=facts.running is not None,
        kiva_away_since=facts.kiva_away_since,
        held=facts.held,
        journals_waiting=facts.account.number("journal", LineKind.WAITING) - not_taken,
        journals_not_taken=not_taken,
        under_way=facts.under_way,
        delivered_until=None if facts.heartbeat is None else facts.heartbeat.mis.last_good,
        delivered_yesterday=facts.delivered_yesterday,
    )
