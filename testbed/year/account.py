"""The money of one loan: lent, repaid, reversed, replayed, charged off, written off; each step as the rows Fineract writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from testbed.institution import loan, schedule
from testbed.institution.fineract import Money, Row, Status
from testbed.institution.loan import Terms
from testbed.institution.schedule import ZERO, Instalment, Movement, Split
from testbed.year.mis import USER, Mis

_REPLAYED = 3
"""`m_loan_transaction_relation.relation_type_enum`."""

CAPITALISED = 35
"""`transaction_type_enum`: income that is owed like what was lent, and that the borrower never got."""


@dataclass
class Entry:
    """One row of `m_loan_transaction` that counts: its number, and what it says."""

    number: int
    kind: Money
    on: date
    amount: Decimal
    row: Row = field(repr=False)

    @property
    def movement(self) -> Movement:
        """What it does to the schedule."""
        return Movement(self.on, self.amount)


@dataclass
class Account:
    """One row of `m_loan`, from its approval on. Nothing is written before `mis.commit`."""

    mis: Mis
    terms: Terms
    account_no: str
    office: int
    number: int = 0
    start: date | None = None
    status: Status = Status.APPROVED
    entries: list[Entry] = field(default_factory=list)
    charged_off: date | None = None
    written_off: Decimal = ZERO
    capitalised: Decimal = ZERO
    capitalised_on: date = date.max
    disbursal: Entry | None = None
    others: list[Entry] = field(default_factory=list)
    """Charge-offs, write-offs and recoveries, which move nothing of the schedule."""

    def approve(self, on: date) -> None:
        """Enter and approve it."""
        row = loan.application(self.terms, account_no=self.account_no) | loan.sums([])
        self.number = self.mis.add("m_loan", row | loan.approved(on, USER) | {"is_charged_off": False})

    def disburse(self, on: date, today: date) -> None:
        """Pay it out."""
        self.start, self.status = on, Status.ACTIVE
        lines = self._plan()
        self.mis.change("m_loan", self.number, loan.disbursed(on, USER, lines))
        for line in lines:
            self.mis.add("m_loan_repayment_schedule", loan.instalment(self.number, line))
        split = Split(ZERO, ZERO, ZERO, self.terms.principal)
        self.disbursal = self._enter(Money.DISBURSEMENT, on, self.terms.principal, today, split)

    def capitalise(self, amount: Decimal, on: date, today: date) -> None:
        """Add income to what is owed, on the last instalment."""
        self.capitalised, self.capitalised_on = amount, on
        row = self._row(Money.REPAYMENT, on, amount, today, Split(ZERO, ZERO, ZERO, self.left()))
        self.mis.add("m_loan_transaction", row | {"transaction_type_enum": CAPITALISED})
        self._settle(today)

    def repay(self, amount: Decimal, on: date, today: date) -> Entry:
        """Take money as of a day, which may lie before others; what follows is replayed."""
        entry = self._enter(Money.REPAYMENT, on, amount, today, Split(ZERO, ZERO, ZERO, ZERO))
        self.entries.append(entry)
        self.entries.sort(key=lambda one: one.on)  # of one day they stay in the order in which they were typed
        self._settle(today)
        return entry

    def reverse(self, entry: Entry, today: date) -> None:
        """Undo one entry, as a person does it."""
        undone = {"is_reversed": True, "manually_adjusted_or_reversed": True, "reversed_on_date": today}
        self.mis.change("m_loan_transaction", entry.number, undone)
        if entry in self.others:
            self.others.remove(entry)
        else:
            self.entries.remove(entry)
        self._settle(today)

    def charge_off(self, on: date) -> None:
        """Move it to the bad ones: no principal moves, and Fineract's balance reads 0 from there on."""
        owed = self._owed()
        self.charged_off = on
        self.others.append(self._enter(Money.CHARGE_OFF, on, owed.principal + owed.interest, on, owed))
        self.mis.change("m_loan", self.number, {"is_charged_off": True, "charged_off_on_date": on})
        self._settle(on)

    def write_off(self, on: date) -> None:
        """Give it up: what is owed ends, and nobody paid it."""
        owed = self._owed()
        self.others.append(self._enter(Money.WRITE_OFF, on, owed.principal + owed.interest, on, owed))
        self.written_off, self.status = owed.principal, Status.WRITTEN_OFF
        changed = {"loan_status_id": int(self.status), "writtenoffon_date": on, "closedon_date": on}
        changed |= {"principal_writtenoff_derived": owed.principal, "principal_outstanding_derived": ZERO}
        self.mis.change("m_loan", self.number, changed)

    def recover(self, amount: Decimal, on: date, today: date) -> Entry:
        """Take money after the write-off."""
        entry = self._enter(Money.RECOVERY, on, amount, today, None)
        self.others.append(entry)
        return entry

    def undo_disbursal(self, today: date) -> None:
        """Take the disbursal back: every row of the loan is reversed, and it is approved again."""
        undone = {"is_reversed": True, "manually_adjusted_or_reversed": True, "reversed_on_date": today}
        for entry in [*self.entries, *self.others, *([self.disbursal] if self.disbursal else [])]:
            self.mis.change("m_loan_transaction", entry.number, undone)
        self.entries, self.others, self.disbursal, self.start = [], [], None, None
        self.status = Status.APPROVED
        changed = {"loan_status_id": int(self.status), "disbursedon_date": None, "disbursedon_userid": None}
        self.mis.change("m_loan", self.number, loan.sums([]) | changed)

    def left(self) -> Decimal:
        """The principal that is owed."""
        return self.terms.principal + self.capitalised - sum((row.principal for row in self._splits()), ZERO)

    def due(self, until: date | None = None) -> Decimal:
        """What is still to be paid, of instalments due up to a day, or of all."""
        lines = self._plan()
        schedule.replay(lines, [one.movement for one in self.entries])
        return sum((line.outstanding for line in lines if until is None or line.due <= until), ZERO)

    def _plan(self) -> list[Instalment]:
        lines = self.terms.plan(self.start)
        lines[-1].principal += self.capitalised
        return lines

    def _splits(self) -> list[Split]:
        return schedule.replay(self._plan(), [one.movement for one in self.entries])

    def _owed(self) -> Split:
        lines = self._plan()
        schedule.replay(lines, [one.movement for one in self.entries])
        principal = sum((line.principal - line.principal_paid for line in lines), ZERO)
        return Split(principal, sum((line.outstanding for line in lines), ZERO) - principal, ZERO, ZERO)

    def _row(self, kind: Money, on: date, amount: Decimal, today: date, split: Split | None) -> Row:
        return loan.transaction(self.number, self.office, kind, on=on, submitted=today, amount=amount, split=split)

    def _enter(self, kind: Money, on: date, amount: Decimal, today: date, split: Split | None) -> Entry:
        row = self._row(kind, on, amount, today, split)
        return Entry(self.mis.add("m_loan_transaction", row), kind, on, amount, row)

    def _settle(self, today: date) -> None:
        """Replay all entries, and write what is different from what the MIS has."""
        lines = self._plan()
        splits = schedule.replay(lines, [one.movement for one in self.entries])
        for entry, split in zip(self.entries, splits, strict=True):
            after = self.charged_off is not None and entry.on >= self.charged_off
            owed = split.balance - (self.capitalised if entry.on < self.capitalised_on else ZERO)
            balance = {"outstanding_loan_balance_derived": ZERO if after else owed}
            portions = loan.portions(split)
            known = {name: entry.row[name] for name in portions}
            is_new = entry.row["outstanding_loan_balance_derived"] == ZERO and not any(known.values())
            if portions == known or is_new:
                if entry.row != entry.row | portions | balance:
                    entry.row |= portions | balance
                    self.mis.change("m_loan_transaction", entry.number, portions | balance)
            else:
                self._replace(entry, portions | balance, today)
        if self.status is Status.WRITTEN_OFF:
            return
        overpaid = sum((split.overpaid for split in splits), ZERO)
        last = max((entry.on for entry in self.entries), default=today)
        standing = loan.standing(lines, overpaid=overpaid, on=last, user=USER)
        self.status = Status(standing["loan_status_id"])
        sums = loan.sums(lines, overpaid=overpaid) | {"principal_disbursed_derived": self.terms.principal}
        self.mis.change("m_loan", self.number, sums | standing)

    def _replace(self, entry: Entry, new: Row, today: date) -> None:
        """A replayed row is reversed, and copied."""
        self.mis.change("m_loan_transaction", entry.number, {"is_reversed": True, "reversed_on_date": today})
        before, entry.row = entry.number, entry.row | new
        entry.number = self.mis.add("m_loan_transaction", entry.row)
        relation = {"from_loan_transaction_id": entry.number, "to_loan_transaction_id": before}
        self.mis.add("m_loan_transaction_relation", relation | {"relation_type_enum": _REPLAYED})
