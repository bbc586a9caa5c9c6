"""What happens to single loans in the institution's database, so that Kiva expects what is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from testbed.institution.branch import KIVA_FUND
from testbed.institution.fineract import Kind, Status
from testbed.year.village import OTHER_FUND, Borrowing, Village


@dataclass
class Mishaps:
    """Some of each kind a month; a part of them is put right the month after."""

    village: Village
    done: Counter[str] = field(default_factory=Counter)
    _moved: list[Borrowing] = field(default_factory=list)

    def month(self, today: date, *, each: int = 1) -> None:
        """So many of each kind."""
        for one in self._moved[: len(self._moved) // 2]:
            self._fund(one, KIVA_FUND)
            self._moved.remove(one)
            self.done["moved back to Kiva's fund"] += 1
        kinds: dict[str, Callable[[Borrowing, date], None]] = {
            "moved to another fund": self._move,
            "deleted": self._delete,
            "disbursal undone": self._undo,
            "numbered anew": self._number_anew,
        }
        for name, act in kinds.items():
            for one in self.village.some(each, lambda one: one.kiva and one not in self._moved):
                act(one, today)
                self.done[name] += 1

    def _move(self, one: Borrowing, _: date) -> None:
        self._fund(one, OTHER_FUND)
        self._moved.append(one)

    def _fund(self, one: Borrowing, fund: int) -> None:
        for account in one.accounts:
            self.village.mis.change("m_loan", account.number, {"fund_id": fund})

    def _delete(self, one: Borrowing, _: date) -> None:
        mis = self.village.mis
        for account in one.accounts:
            mis.forget(account.number)
        if one.glim is not None:
            mis.delete("glim_accounts", "id", one.glim)
        self.village.borrowings.remove(one)
        for account in one.accounts:
            account.start = None  # nothing that was planned for it happens any more
            account.entries.clear()
            account.status = Status.WITHDRAWN

    def _undo(self, one: Borrowing, today: date) -> None:
        for account in one.accounts:
            account.undo_disbursal(today)

    def _number_anew(self, one: Borrowing, _: date) -> None:
        """A migration gave it another number; Kiva has the old one."""
        new = f"NEW-{one.accounts[0].number}"
        if one.kind is Kind.GLIM and one.glim is not None:
            self.village.mis.change("glim_accounts", one.glim, {"account_number": new})
        else:
            self.village.mis.change("m_loan", one.accounts[0].number, {"account_no": new})
        one.now_called = new
