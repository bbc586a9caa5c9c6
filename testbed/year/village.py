"""Who borrows, and what the branches do day by day: the regular, the late, the wrong and the odd."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from testbed.institution import schedule
from testbed.institution.branch import BRANCHES, KIVA_FUND
from testbed.institution.fineract import Kind, Status
from testbed.institution.institution import Member, office_of, officer_of
from testbed.institution.loan import Terms
from testbed.institution.portfolio import COUNTS, RATES
from testbed.year.account import Account, Entry
from testbed.year.mis import Mis

PLACES = (0, 2)
"""Two branches, with a currency each; one has cents, the other has none."""

OTHER_FUND = 1
DAY = timedelta(days=1)

_HABITS = {"good": 70, "slow": 12, "early": 7, "stops": 8, "over": 3}
_KINDS = {Kind.INDIVIDUAL: 70, Kind.JLG: 12, Kind.GROUP: 8, Kind.GLIM: 10}
_LEAST = 5
_MEMBERS = 5


@dataclass
class Borrowing:
    """What Kiva knows as one loan: one account, or those of all members of a group's application."""

    identity: str
    client: str
    kind: Kind
    accounts: list[Account]
    starts: date
    habit: str
    kiva: bool
    glim: int | None = None
    now_called: str = ""
    """Its number in the MIS, where that was changed."""

    @property
    def lent(self) -> Decimal:
        """What was lent to all of them."""
        return sum((one.terms.principal for one in self.accounts), Decimal(0))

    @property
    def currency(self) -> str:
        """Of all of them."""
        return self.accounts[0].terms.currency

    @property
    def is_over(self) -> bool:
        """Is nothing owed any more?"""
        return all(one.status in {Status.CLOSED, Status.OVERPAID} for one in self.accounts)


@dataclass
class Village:
    """All of it. `day` does what happens on a day; nothing is written before the MIS commits."""

    mis: Mis
    dice: Random
    loans: int
    first: date
    last: date
    borrowings: list[Borrowing] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """How often what happened; a year in which something never happened has not tried it."""
    typos: list[tuple[Account, Entry]] = field(default_factory=list)
    """Typed wrong today, and to be corrected by `correct`, minutes later."""
    _plan: list[tuple[date, int, Callable[[date], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for number in range(self.loans):
            self._apply(number + 1)

    def day(self, today: date) -> None:
        """What is planned for a day, and what nobody planned."""
        while self._plan and self._plan[0][0] <= today:
            _, _, act = heapq.heappop(self._plan)
            act(today)

    def correct(self, today: date) -> None:
        """What was typed wrong a few minutes ago is reversed, and typed again."""
        for account, entry in self.typos:
            if entry in account.entries:
                account.reverse(entry, today)
                account.repay(entry.amount / 10, entry.on, today)
        self.typos.clear()

    def mistype(self, today: date, *, as_of: date, number: int) -> None:
        """Money of an earlier day is typed late, and tenfold: it is in the books for a few minutes."""
        for one in self.some(number, lambda one: one.kiva and one.accounts[0].due() > 0):
            account = one.accounts[0]
            on = max(as_of, account.start or as_of)
            amount = self._part(account, 6)
            if amount and on <= as_of:
                self.typos.append((account, account.repay(amount * 10, on, today)))
                self.done["typed wrong, corrected in minutes"] += 1

    def some(self, number: int, wanted: Callable[[Borrowing], bool]) -> list[Borrowing]:
        """Some of those that are being paid back, and are wanted."""
        found = [one for one in self.borrowings if self._is_active(one) and wanted(one)]
        return self.dice.sample(found, min(number, len(found)))

    def later(self, on: date, act: Callable[[date], None]) -> None:
        """Plan something."""
        heapq.heappush(self._plan, (on, next(self._order), act))

    # ---------------------------------------------------------------- lending

    def _apply(self, number: int) -> None:
        dice = self.dice
        kind = dice.choices([*_KINDS], [*_KINDS.values()])[0]
        place = dice.choice(PLACES)
        starts = self.first + dice.randrange((self.last - self.first).days) * DAY
        kiva = dice.random() < 0.9
        terms = self._terms(kind, place, starts, kiva=kiva)
        identity = self._identity(number)
        here = [group for group in self.mis.groups if group[1][0].branch == place]
        group, members = dice.choice(here)
        habit = dice.choices([*_HABITS], [*_HABITS.values()])[0]
        accounts: list[Account] = []
        glim = None
        if kind is Kind.GLIM:
            members = members[:_MEMBERS]
            amounts = [BRANCHES[place].unit * dice.randrange(8, 60) for _ in members]
            glim = self.mis.add(
                "glim_accounts",
                {
                    "group_id": group,
                    "account_number": identity,
                    "principal_amount": sum(amounts),
                    "child_accounts_count": len(members),
                    "accepting_child": False,
                    "loan_status_id": int(Status.APPROVED),
                },
            )
            for running, (member, amount) in enumerate(zip(members, amounts, strict=True), 1):
                own = _of(terms, client=member, group=group, glim=glim, principal=amount)
                accounts.append(Account(self.mis, own, f"G{number}-{running}", office_of(place)))
        else:
            client = dice.choice(members if kind is not Kind.INDIVIDUAL else self._clients(place))
            principal = terms.principal * (len(members) if kind is Kind.GROUP else 1)
            own = _of(
                terms,
                client=None if kind is Kind.GROUP else client,
                group=None if kind is Kind.INDIVIDUAL else group,
                glim=None,
                principal=principal,
            )
            accounts.append(Account(self.mis, own, identity, office_of(place)))
        of_group = kind in {Kind.GROUP, Kind.GLIM}
        client_no = f"{group if of_group else accounts[0].terms.client_id:09}"
        one = Borrowing(identity, client_no, kind, accounts, starts, habit, kiva, glim)
        self.borrowings.append(one)
        self.later(starts - 5 * DAY, lambda today: self._approve(one, today))
        self.later(starts, lambda today: self._disburse(one, today))

    def _approve(self, one: Borrowing, today: date) -> None:
        for account in one.accounts:
            account.approve(today)

    def _clients(self, place: int) -> list[Member]:
        return [one for one in self.mis.clients if one.branch == place and not one.grouped]

    def _terms(self, kind: Kind, place: int, starts: date, *, kiva: bool) -> Terms:
        branch = BRANCHES[place]
        principal = branch.unit * self.dice.randrange(8, 80)
        return Terms(
            kind=kind,
            client_id=None,
            group_id=None,
            glim_id=None,
            product_id=place + 1,
            fund_id=KIVA_FUND if kiva else OTHER_FUND,
            officer_id=officer_of(place),
            purpose_id=None,
            currency=branch.currency,
            digits=branch.digits,
            proposed=principal,
            principal=principal,
            monthly_rate=self.dice.choice(RATES),
            count=self.dice.choice(COUNTS),
            submitted=starts - 9 * DAY,
            expected=starts,
        )

    def _identity(self, number: int) -> str:
        """As institutions number their loans: with zeros, slashes, blanks and letters."""
        shapes = (f"{number:09}", f"LOAN/{number}/2026", f"A-2026-{number}", f"K {number:05} b", f"PÉ/{number}")
        return self.dice.choices(shapes, [60, 15, 10, 10, 5])[0]

    # ---------------------------------------------------------------- paying back

    def _disburse(self, one: Borrowing, today: date) -> None:
        dice = self.dice
        for account in one.accounts:
            account.disburse(one.starts, today)
        if one.glim is not None:
            self.mis.change("glim_accounts", one.glim, {"loan_status_id": int(Status.ACTIVE)})
        self.done[f"disbursed {one.kind.name.lower()}"] += 1
        count = one.accounts[0].terms.count
        stops = dice.randrange(1, max(2, count // 2)) if one.habit in {"stops", "early"} else count
        for place in range(1, count + 1):
            if place > stops:
                break
            on = schedule.months_after(one.starts, place) + dice.randrange(-3, 6) * DAY
            self.later(max(on, one.starts + DAY), lambda day, place=place: self._instalment(one, place, stops, day))  # type: ignore[misc]
        if one.habit == "stops":
            given_up = schedule.months_after(one.starts, stops) + dice.randrange(60, 150) * DAY
            self.later(given_up, lambda day: self._give_up(one, day))
        if one.habit == "over" and dice.random() < 0.5:
            self.later(one.starts + 20 * DAY, lambda day: self._capitalise(one.accounts[0], day))

    def _capitalise(self, account: Account, today: date) -> None:
        """Income that is owed like what was lent: all of it repaid, the position is more than was lent."""
        if account.status is Status.ACTIVE and account.start is not None:
            branch = next(one for one in BRANCHES if one.currency == account.terms.currency)
            account.capitalise(branch.unit, today, today)
            self.done["income capitalised"] += 1

    def _instalment(self, one: Borrowing, place: int, stops: int, today: date) -> None:
        dice = self.dice
        for account in one.accounts:
            if account.status is not Status.ACTIVE or account.start is None:
                continue
            due = account.due(schedule.months_after(account.start, place)) or self._part(account, 6)
            if one.habit == "early" and place == stops:
                due = account.due()
                self.done["paid off early"] += 1
            elif one.habit == "over" and place == stops:
                due = account.due() + self._part(account, 2)
                self.done["overpaid"] += 1
            elif one.habit == "slow" and dice.random() < 0.3:
                self.done["not paid"] += 1
                continue
            elif one.habit == "slow" and dice.random() < 0.3:
                due = schedule.rounded(due / 2, account.terms.digits)
            if due:
                self._pay(account, due, today)

    def _pay(self, account: Account, amount: Decimal, today: date) -> None:
        """An entry as it is made: now and then days late, wrong, or undone."""
        luck = self.dice.random()
        if luck < 0.04:
            self.later(
                today + self.dice.randrange(1, 25) * DAY, lambda day: self._enter_late(account, amount, today, day)
            )
            return
        if luck < 0.06:
            entry = account.repay(amount * 10, today, today)
            when = today + self.dice.randrange(12, 60) * DAY
            self.later(when, lambda day: self._correct_late(account, entry, amount, day))
            return
        entry = account.repay(amount, today, today)
        self.done["repaid"] += 1
        if luck < 0.08:
            self.later(today + self.dice.randrange(1, 45) * DAY, lambda day: self._reverse(account, entry, day))

    def _enter_late(self, account: Account, amount: Decimal, on: date, today: date) -> None:
        if self._may_move(account):
            account.repay(amount, on, today)
            self.done["typed late" if on.month == today.month else "typed late, into another month"] += 1

    def _correct_late(self, account: Account, entry: Entry, amount: Decimal, today: date) -> None:
        if self._may_move(account) and entry in account.entries:
            account.reverse(entry, today)
            account.repay(amount, entry.on, today)
            self.done["typed wrong, corrected weeks later"] += 1

    def _reverse(self, account: Account, entry: Entry, today: date) -> None:
        if self._may_move(account) and entry in account.entries:
            account.reverse(entry, today)
            self.done["reversed" if entry.on.month == today.month else "reversed in another month"] += 1

    def _give_up(self, one: Borrowing, today: date) -> None:
        dice = self.dice
        how = dice.choice(("write-off", "charge-off", "both"))
        for account in one.accounts:
            if account.status is not Status.ACTIVE:
                continue
            if how != "write-off":
                account.charge_off(today)
                self.done["charged off"] += 1
                self.later(today + 15 * DAY, lambda day, account=account: self._late_money(account, day))  # type: ignore[misc]
            if how != "charge-off":
                self.later(today + 40 * DAY, lambda day, account=account: self._write_off(account, day))  # type: ignore[misc]

    def _late_money(self, account: Account, today: date) -> None:
        if account.status is Status.ACTIVE and account.start is not None:
            account.repay(self._part(account, 8), today, today)
            self.done["repaid after the charge-off"] += 1

    def _write_off(self, account: Account, today: date) -> None:
        if account.status is not Status.ACTIVE or account.start is None:
            return
        account.write_off(today)
        self.done["written off"] += 1
        for days in (20, 50, 80):
            self.later(today + days * DAY, lambda day: self._recover(account, day))

    def _recover(self, account: Account, today: date) -> None:
        if account.status is Status.WRITTEN_OFF and account.written_off:
            # The last of them is more than was written off, with the interest: it counts up to that.
            account.recover(schedule.rounded(account.written_off / 2, account.terms.digits) or Decimal(1), today, today)
            self.done["recovered"] += 1

    def _may_move(self, account: Account) -> bool:
        return (
            account.start is not None
            and account.status in {Status.ACTIVE, Status.CLOSED, Status.OVERPAID}
            and not account.charged_off
        )

    def _is_active(self, one: Borrowing) -> bool:
        return all(account.status is Status.ACTIVE and account.start is not None for account in one.accounts)

    def _part(self, account: Account, parts: int) -> Decimal:
        return schedule.rounded(account.left() / parts, account.terms.digits)


def _of(terms: Terms, *, client: Member | None, group: int | None, glim: int | None, principal: Decimal) -> Terms:
    number = None if client is None else client.id
    return replace(terms, client_id=number, group_id=group, glim_id=glim, principal=principal, proposed=principal)
