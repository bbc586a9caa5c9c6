"""The loans of the demo's institution, of every kind and in every state, with notes and stories."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from testbed.institution import past, remark
from testbed.institution.branch import BRANCHES, COMMON_PURPOSES, KIVA_FUND, PURPOSES
from testbed.institution.fineract import CLIENT_NOTE, LOAN_NOTE, TRANSACTION_NOTE, Kind, Status
from testbed.institution.institution import Institution, Member, officer_of
from testbed.institution.loan import Terms

if TYPE_CHECKING:
    from random import Random

    from testbed.institution.fineract import Row
    from testbed.institution.past import Desk, Past

# How many of a hundred loans are what. Active ones that turn out to be paid off are closed.
_WISHES = {
    Status.SUBMITTED: 4,
    Status.APPROVED: 8,
    Status.ACTIVE: 52,
    Status.CLOSED: 23,
    Status.WRITTEN_OFF: 3,
    Status.OVERPAID: 3,
    Status.REJECTED: 4,
    Status.WITHDRAWN: 3,
}
_FUNDS = {KIVA_FUND: 45, 1: 35, 3: 10, None: 10}
_KINDS = {Kind.GROUP: 2, Kind.JLG: 3, Kind.GLIM: 3}
RATES = tuple(Decimal(rate) for rate in ("0.015", "0.018", "0.02", "0.025"))
COUNTS = (6, 8, 10, 12)


class Portfolio:
    """Adds loans, and all that hangs on them, to the rows of an institution."""

    def __init__(self, rng: Random, institution: Institution, today: date) -> None:
        self.rng = rng
        self.institution = institution
        self.today = today

    def lend(self) -> dict[str, list[Row]]:
        """Give everybody a loan; returns the rows of all tables."""
        for group, members in self.institution.groups:
            self._to_group(group, members)
        for client in self.institution.clients:
            if not client.grouped:
                for _ in range(1 if self.rng.randrange(8) else 2):
                    terms, wish = self._terms(Kind.INDIVIDUAL, client.branch)
                    self._add(replace(terms, client_id=client.id), wish, client.branch)
        return self.institution.rows

    def _to_group(self, group: int, members: list[Member]) -> None:
        place = members[0].branch
        kind = self.rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        terms, wish = self._terms(kind, place)
        terms = replace(terms, group_id=group)
        if kind is Kind.GROUP:
            total = terms.principal * len(members)
            self._add(replace(terms, principal=total, proposed=total), wish, place)
        elif kind is Kind.JLG:
            for member in members:
                own, wish = self._terms(kind, place)
                self._add(replace(own, group_id=group, client_id=member.id, fund_id=terms.fund_id), wish, place)
        else:
            self._glim(terms, wish, members)

    def _glim(self, terms: Terms, wish: Status, members: list[Member]) -> None:
        number = f"{len(self.institution.rows['m_loan']) + 1:09}"
        unit = BRANCHES[members[0].branch].unit
        amounts = [unit * self.rng.randrange(8, 60) for _ in members]
        glim = self.institution.add(
            "glim_accounts",
            group_id=terms.group_id,
            account_number=number,
            principal_amount=sum(amounts),
            child_accounts_count=len(members),
            accepting_child=False,
            loan_status_id=int(wish if wish is not Status.OVERPAID else Status.CLOSED),
        )
        # Members are approved one by one: now and then one is not yet.
        late = wish is Status.APPROVED and self.rng.randrange(4) == 0
        for running, (member, amount) in enumerate(zip(members, amounts, strict=True), 1):
            own = replace(terms, client_id=member.id, glim_id=glim, principal=amount, proposed=amount)
            mine = Status.SUBMITTED if late and running == len(members) else wish
            self._add(own, mine, member.branch, account_no=f"{number}{running}")

    def _terms(self, kind: Kind, place: int) -> tuple[Terms, Status]:
        rng, branch = self.rng, BRANCHES[place]
        wish = rng.choices(list(_WISHES), list(_WISHES.values()))[0]
        count = rng.choice(COUNTS)
        submitted, expected = self._days(wish, count)
        principal = branch.unit * rng.randrange(8, 80)
        common = rng.randrange(60) > 0
        purpose = rng.choice(COMMON_PURPOSES if common else tuple(PURPOSES))
        terms = Terms(
            kind=kind,
            client_id=None,
            group_id=None,
            glim_id=None,
            product_id=place + 1,
            fund_id=rng.choices(list(_FUNDS), list(_FUNDS.values()))[0],
            officer_id=officer_of(place),
            purpose_id=self.institution.purposes[purpose] if rng.randrange(80) else None,
            currency=branch.currency,
            digits=branch.digits,
            proposed=principal + branch.unit * (0 if rng.randrange(10) else 2),
            principal=principal,
            monthly_rate=rng.choice(RATES),
            count=count,
            submitted=submitted,
            expected=expected,
        )
        return terms, wish

    def _days(self, wish: Status, count: int) -> tuple[date, date]:
        """When it was submitted, and when it was to be disbursed."""
        rng = self.rng
        match wish:
            case Status.SUBMITTED:
                ahead, before = rng.randrange(1, 21), rng.randrange(1, 16)
                return self.today - timedelta(before), self.today + timedelta(ahead)
            case Status.APPROVED:
                ahead, before = rng.randrange(-2, 41), rng.randrange(4, 26)
                return self.today - timedelta(before), self.today + timedelta(ahead)
            case Status.ACTIVE:
                ago = rng.randrange(4, 28) if rng.randrange(4) == 0 else rng.randrange(28, 330)
            case Status.WRITTEN_OFF:
                ago = rng.randrange(400, 700)
            case Status.CLOSED | Status.OVERPAID:
                ago = 31 * count + rng.randrange(12, 300)
            case _:
                ago = rng.randrange(10, 500)
        expected = self.today - timedelta(ago)
        return expected - timedelta(rng.randrange(5, 21)), expected

    def _add(self, terms: Terms, wish: Status, place: int, *, account_no: str = "") -> None:
        rows = self.institution.rows
        loan_id = len(rows["m_loan"]) + 1
        desk = self.institution.desk(place)
        made = past.of(terms, wish, loan_id=loan_id, account_no=account_no or f"{loan_id:09}", desk=desk)
        self.institution.add("m_loan", **made.loan)
        for line in made.schedule:
            self.institution.add("m_loan_repayment_schedule", **line)
        money = [self.institution.add("m_loan_transaction", **row) for row in made.money]
        for copy, original in made.replayed:
            self.institution.add(
                "m_loan_transaction_relation",
                from_loan_transaction_id=money[copy],
                to_loan_transaction_id=money[original],
                relation_type_enum=3,
                **desk.stamp(self.today).created,
            )
        self._write_down(terms, made, loan_id, place)

    def _write_down(self, terms: Terms, made: Past, loan_id: int, place: int) -> None:
        desk, kiva = self.institution.desk(place), terms.fund_id == KIVA_FUND
        rows = self.institution.rows
        if kiva and desk.chance(60):
            at = made.loan["created_on_utc"].replace(tzinfo=None)
            rows["dt_kiva"].append(
                {
                    "loan_id": loan_id,
                    "story": BRANCHES[place].story,
                    "loan_use": None,
                    "waiver_signed": self.rng.choice((True, True, True, True, False, None)),
                    "created_at": at,
                    "updated_at": at,
                }
            )
        if made.money and desk.chance(12):
            self._note(desk, terms, remark.internal(self.rng), loan_id=loan_id)
        if made.money and desk.chance(10):
            self._note(desk, terms, remark.for_kiva(BRANCHES[place], self.rng), loan_id=loan_id)
        if terms.client_id and desk.chance(2):
            self._note(desk, terms, remark.internal(self.rng))
        if made.money and desk.chance(2):
            last = len(rows["m_loan_transaction"])
            self._note(desk, terms, remark.internal(self.rng), loan_id=loan_id, transaction_id=last)

    def _note(
        self,
        desk: Desk,
        terms: Terms,
        text: str,
        *,
        loan_id: int | None = None,
        transaction_id: int | None = None,
    ) -> None:
        kind = TRANSACTION_NOTE if transaction_id else LOAN_NOTE if loan_id else CLIENT_NOTE
        self.institution.add(
            "m_note",
            client_id=terms.client_id,
            loan_id=loan_id,
            loan_transaction_id=transaction_id,
            note_type_enum=kind,
            note=text,
            **desk.stamp(self.today - timedelta(self.rng.randrange(1, 60))).created,
        )
