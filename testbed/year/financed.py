"""Which loans Kiva has, and under which id, amount and status: as lenders, the coordinator and old mistakes made them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from testbed.institution.fineract import Status
from testbed.kiva.control import Sandbox
from testbed.year.village import Borrowing, Village

ODD = ("as it is", "a blank behind it", "another id", "another case", "twice", "another currency", "half of the amount")
"""How a loan stands at Kiva. All but the first two need a person, sooner or later."""

_EVERY = 9
"""One loan in so many is odd."""

_FUNDED, _PAYS = timedelta(days=3), timedelta(days=9)


@dataclass
class Financed:
    """Kiva's side of it. `day` does what happens there on a day."""

    village: Village
    kiva: Sandbox
    statuses: dict[str, str] = field(default_factory=dict)
    """By the institution's own id, what Kiva was told last."""
    spelled: dict[str, str] = field(default_factory=dict)
    """By the institution's own id, how Kiva spells it."""
    done: Counter[str] = field(default_factory=Counter)
    _odd: Iterator[str] = field(default_factory=lambda: itertools.cycle(ODD[1:]))
    _untold: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def day(self, today: date) -> None:
        """New loans are listed, funded, paid back; what was given up is defaulted."""
        new: list[dict[str, Any]] = []
        for one in self.village.borrowings:
            if not one.kiva:
                continue
            status = self.statuses.get(one.identity)
            if status is None and today >= one.starts + _FUNDED:
                new += self._list(one, "payingBack" if today >= one.starts + _PAYS else "fundRaising")
            elif status == "fundRaising" and today >= one.starts + _PAYS:
                self._becomes(one.identity, "payingBack")
            elif status == "payingBack" and all(each.status is Status.WRITTEN_OFF for each in one.accounts):
                self._becomes(one.identity, "defaulted")
        if new:
            self.kiva.seed_loans(new)
        self._tell()

    def end(self, loan_ids: list[str]) -> None:
        """These were reported as repaid in a report that is finalised: nothing more is expected of them."""
        by_spelling = {spelled: identity for identity, spelled in self.spelled.items()}
        for loan_id in loan_ids:
            if loan_id in by_spelling:
                self._becomes(by_spelling[loan_id], "ended")
        self._tell()

    def _becomes(self, identity: str, status: str) -> None:
        self._untold[self.spelled[identity]] = status
        self.statuses[identity] = status
        self.done[status] += 1

    def _tell(self) -> None:
        """What became of the loans, in one call."""
        if self._untold:
            self.kiva.set_statuses(self._untold)
            self._untold = {}

    def _list(self, one: Borrowing, status: str) -> list[dict[str, Any]]:
        self._count += 1
        how = next(self._odd) if self._count % _EVERY == 0 else ODD[0]
        spelled, price, currency = one.identity, one.lent, one.currency
        if how == "a blank behind it":
            spelled = f"{spelled} "
        elif how == "another id":
            spelled = f"KV-{self._count}"
        elif how == "another case":
            if spelled == spelled.swapcase():
                how = ODD[0]
            spelled = spelled.swapcase()
        elif how == "another currency":
            price, currency = (price / 4).quantize(Decimal(1)), "USD"
        elif how == "half of the amount":
            price = (price / 2).quantize(Decimal(1))
        self.done[how] += 1
        self.statuses[one.identity], self.spelled[one.identity] = status, spelled
        row = {
            "internal_loan_id": spelled,
            "internal_client_id": one.client,
            "price": f"{price:.2f}",
            "currency": currency,
            "borrower_count": max(1, len(one.accounts)),
            "status": status,
        }
        return [row, dict(row)] if how == "twice" else [row]
