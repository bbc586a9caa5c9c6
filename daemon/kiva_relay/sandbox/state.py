"""All that one stand-in holds: what it accepted, the loans, the tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kiva_relay.sandbox import position
from kiva_relay.sandbox.event_file import EventFile
from kiva_relay.sandbox.ledger import Ledger
from kiva_relay.sandbox.lifecycle import Lifecycle
from kiva_relay.sandbox.loan import SandboxLoans
from kiva_relay.sandbox.request_log import RequestLog
from kiva_relay.sandbox.token import IssuedTokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kiva_relay.clock import Clock
    from kiva_relay.sandbox.config import SandboxConfig
    from kiva_relay.sandbox.loan import SandboxLoan


class SandboxState:
    """Held open for as long as the server runs; touched by its event loop only.

    Raises:
        UsageError: The ledger's file cannot be read, or another stand-in has it.
    """

    def __init__(self, config: SandboxConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._file = EventFile(config.ledger) if config.ledger is not None else None
        self.ledger = Ledger(self._file)
        self.loans = SandboxLoans(self._file)
        self.tokens = IssuedTokens(config.scopes)
        self.requests = RequestLog()
        self.stopping = asyncio.Event()
        self._replay()
        self.coordinator = Lifecycle(self.loans, self.ledger, config.coordinator)

    def now(self) -> datetime:
        """The hour at Kiva, UTC."""
        return self._clock.now()

    def listed(self, status: str, query: str) -> list[SandboxLoan]:
        """What `GET /loans` finds, the newest first."""
        return self.loans.listed(status, query, drafts=self.config.drafts_visible)

    def problems(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What is wrong with single positions of an upload, as Kiva answers it."""
        return position.problems(rows, self.loans)

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server runs."""
        try:
            await asyncio.wait_for(self.stopping.wait(), timeout=seconds)
        except TimeoutError:
            return

    def close(self) -> None:
        """Give the ledger's file back."""
        if self._file is not None:
            self._file.close()

    def _replay(self) -> None:
        if self._file is None:
            return
        try:
            for event in self._file.replay():
                self.ledger.replay(event)
                self.loans.replay(event)
        except BaseException:
            self._file.close()
            raise
        if self.ledger.records:
            self.requests.start_after(self.ledger.records[-1].request)
