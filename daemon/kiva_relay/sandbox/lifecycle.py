"""The Kiva Coordinator, played: publishes drafts after a while, and lenders fund them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import orjson

from kiva_relay.sandbox import loan, publishing

if TYPE_CHECKING:
    from datetime import datetime

    from kiva_relay.sandbox.config import Delays
    from kiva_relay.sandbox.ledger import Ledger
    from kiva_relay.sandbox.loan import SandboxLoan, SandboxLoans


class Lifecycle:
    """Moves loans on when their time has come: draft → fundRaising → payingBack.

    Nothing runs by itself: `work` is called before anybody looks, and does what had become due, each step
    with the time at which it was due.
    """

    def __init__(self, loans: SandboxLoans, ledger: Ledger, pace: Delays) -> None:
        self._loans = loans
        self._ledger = ledger
        self._pace = pace
        self._due: list[tuple[datetime, int, str]] = []
        for one in loans:
            self.expect(one)

    def expect(self, one: SandboxLoan) -> None:
        """Note when a loan that came into its status is to move on."""
        if one.status == loan.DRAFT and self._pace.publish_after is not None and not one.refused:
            heapq.heappush(self._due, (one.since + self._pace.publish_after, one.kiva_id, loan.DRAFT))
        # Only what came from a draft goes on by itself; a seeded loan stays what the test made it.
        if one.status == "fundRaising" and self._pace.fund_after is not None and one.record:
            heapq.heappush(self._due, (one.since + self._pace.fund_after, one.kiva_id, "fundRaising"))

    def work(self, now: datetime) -> None:
        """Do what is due by `now`."""
        while self._due and self._due[0][0] <= now:
            at, kiva_id, status = heapq.heappop(self._due)
            one = self._loans.numbered(kiva_id)
            if one is None or one.status != status:
                continue
            if status == loan.DRAFT:
                self.publish(one, at)
            else:
                self.move(one, "payingBack", at)

    def publish(self, draft: SandboxLoan, at: datetime) -> bool:
        """Try to publish a draft; false when PA2 refuses, and then the draft keeps the reasons."""
        body = orjson.loads(self._ledger.records[draft.record - 1].body)
        draft.refused = publishing.refusals(body, today=at.date())
        if draft.refused:
            self._loans.put(draft)
            return False
        self.move(draft, "fundRaising", at)
        return True

    def move(self, one: SandboxLoan, status: str, at: datetime) -> None:
        """Put a loan into a status."""
        one.status = status
        one.since = at
        self._loans.put(one)
        self.expect(one)
