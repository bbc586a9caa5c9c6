"""All that a stand-in with faults holds beside what the product's holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kiva_relay.sandbox.state import SandboxState
from testbed.kiva.fault import Faults
from testbed.kiva.token import RevocableTokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kiva_relay.clock import Clock
    from kiva_relay.sandbox.loan import SandboxLoan
    from testbed.kiva.config import KivaConfig
    from testbed.kiva.fault import Fault


class KivaState(SandboxState):
    """Held open for as long as the server runs; touched by its event loop only, once it runs."""

    config: KivaConfig
    tokens: RevocableTokens

    def __init__(self, config: KivaConfig, clock: Clock, faults: Iterable[Fault] = ()) -> None:
        self._ahead = timedelta(0)
        super().__init__(config, clock)
        self.faults = Faults()
        self.tokens = RevocableTokens(config.scopes, self.faults)
        for fault in faults:
            self.faults.add(fault)

    def now(self) -> datetime:
        """The hour at Kiva, UTC: the clock's, and what it was put forward."""
        return super().now() + self._ahead

    def put_clock_forward(self, by: timedelta) -> None:
        """Let time pass: tokens expire, drafts are published."""
        self._ahead += by

    def listed(self, status: str, query: str) -> list[SandboxLoan]:
        """As the product's, without what is newer than the list's lag."""
        until = self.now() - self.config.listing_lag
        return [loan for loan in super().listed(status, query) if loan.created <= until]

    def problems(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As the product's, and those that were asked for."""
        return [*super().problems(rows), *self.faults.problems([row["loan_id"] for row in rows])]
