"""Tellers at work: each action is one transaction, written as Fineract writes it, and says what it did.

The application server stamps rows before it writes them and commits later; so do the tellers. Inside a
transaction that the caller has open, an action becomes visible when the caller commits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from kiva_relay.clock import SystemClock
from testbed.institution import credit, fineract, photo, remark, till
from testbed.institution.branch import BRANCHES, COMMON_PURPOSES, KIVA_FUND, PURPOSES, Branch
from testbed.institution.fineract import LOAN_NOTE, Kind, Row, Status
from testbed.institution.institution import officer_of
from testbed.institution.loan import Stamp, Terms
from testbed.institution.portfolio import COUNTS, RATES
from testbed.institution.schedule import rounded
from testbed.institution.shelf import LAST_REPAYMENT, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from psycopg import Connection

    from kiva_relay.clock import Clock


@dataclass(frozen=True)
class Action:
    """What a teller did: to which loans (`m_loan.id`), and the one identity that Kiva knows them by.

    `kiva`: Kiva finances these loans. `detail` holds what a judge may want to follow, as the new note's id.
    """

    what: str
    identity: str
    loans: tuple[int, ...]
    kiva: bool
    detail: str = ""


class Teller:
    """One teller, with a connection of its own. Several may work at once."""

    def __init__(
        self,
        connection: Connection,
        rng: Random,
        *,
        today: date,
        photos: Path,
        clock: Clock | None = None,
        kiva_share: float = 0.8,
    ) -> None:
        self.connection = connection
        self.rng = rng
        self.today = today
        self.photos = photos
        self._clock = clock or SystemClock()
        self._kiva_share = kiva_share
        self._shelf = Shelf(connection, rng, today=today, kiva_share=kiva_share)

    def act(self) -> Action | None:
        """Do something, as often as it happens in a branch. None: there was nothing of that kind to do."""
        often: dict[Callable[[], Action | None], int] = {
            self.repay: 30,
            self.grant_individual: 12,
            self.disburse: 12,
            self.correct: 6,
            self.note_for_kiva: 6,
            self.grant_jlg: 5,
            self.reverse: 5,
            self.repay_late_entry: 5,
            self.note_internally: 5,
            self.change_client: 5,
            self.reject: 4,
            self.grant_glim: 3,
            self.approve: 3,
            self.grant_group: 2,
        }
        return self.rng.choices(list(often), list(often.values()))[0]()

    def grant_individual(self) -> Action | None:
        """Enter and approve a loan of one person."""
        with self.connection.transaction():
            client = self._shelf.client()
            if client is None:
                return None
            terms = replace(self._terms(Kind.INDIVIDUAL, client["office_id"]), client_id=client["id"])
            return self._grant(terms, [credit.apply(self.connection, terms, stamp=self._stamp(client))], client)

    def grant_jlg(self) -> Action | None:
        """Enter and approve a loan of one member of a group."""
        with self.connection.transaction():
            group, members = self._shelf.group()
            if group is None:
                return None
            terms = self._terms(Kind.JLG, group["office_id"])
            terms = replace(terms, group_id=group["id"], client_id=self.rng.choice(members))
            return self._grant(terms, [credit.apply(self.connection, terms, stamp=self._stamp(group))], group)

    def grant_group(self) -> Action | None:
        """Enter and approve one loan for a whole group."""
        with self.connection.transaction():
            group, members = self._shelf.group()
            if group is None:
                return None
            terms = self._terms(Kind.GROUP, group["office_id"])
            total = terms.principal * len(members)
            terms = replace(terms, group_id=group["id"], principal=total, proposed=total)
            return self._grant(terms, [credit.apply(self.connection, terms, stamp=self._stamp(group))], group)

    def grant_glim(self) -> Action | None:
        """Enter an application of a group and approve a loan for each member; now and then one stays behind."""
        with self.connection.transaction():
            group, members = self._shelf.group()
            if group is None:
                return None
            terms = replace(self._terms(Kind.GLIM, group["office_id"]), group_id=group["id"])
            unit = self._branch(group["office_id"]).unit
            amounts = [(member, unit * self.rng.randrange(8, 60)) for member in members]
            loans = credit.apply_together(self.connection, terms, amounts, stamp=self._stamp(group))
            behind = 1 if self.rng.randrange(5) == 0 else 0
            return self._grant(terms, loans, group, approved=len(loans) - behind)

    def approve(self) -> Action | None:
        """Approve an application that waits, also the last of a group's."""
        with self.connection.transaction():
            loan = self._shelf.loan("loan_status_id = 100")
            if loan is None:
                return None
            credit.approve(self.connection, loan["id"], on=self.today, stamp=self._stamp(loan))
            if loan["glim_id"]:
                credit.follow_children(self.connection, loan["glim_id"], Status.APPROVED)
            return self._done("approved", [loan])

    def correct(self) -> Action | None:
        """Change the amount, the day or the purpose of a loan that was approved and not disbursed."""
        with self.connection.transaction():
            loan = self._shelf.loan("loan_status_id = 200")
            if loan is None:
                return None
            terms = credit.terms_of(loan)
            unit = self._branch(self._shelf.office(loan)).unit
            match self.rng.randrange(3):
                case 0:
                    terms = replace(terms, principal=terms.principal + unit * self.rng.randrange(1, 6))
                case 1 if terms.kind is not Kind.GLIM:
                    terms = replace(terms, expected=self.today + timedelta(self.rng.randrange(1, 15)))
                case _:
                    terms = replace(terms, purpose_id=self._purpose())
            credit.correct(self.connection, loan, terms, stamp=self._stamp(loan))
            return self._done("corrected", [loan])

    def reject(self) -> Action | None:
        """Reject a loan that was approved; of a group's application, all of them."""
        with self.connection.transaction():
            loans = self._shelf.together("loan_status_id = 200")
            for loan in loans:
                credit.reject(self.connection, loan["id"], on=self.today, stamp=self._stamp(loan))
            return self._followed("rejected", loans, Status.REJECTED)

    def disburse(self) -> Action | None:
        """Pay out a loan that was approved, today or a day or two ago; of a group's application, all of them."""
        with self.connection.transaction():
            loans = self._shelf.together("loan_status_id = 200 AND expected_disbursedon_date <= %(today)s + 14")
            on = self.today - timedelta(self.rng.randrange(3))
            for loan in loans:
                credit.disburse(
                    self.connection,
                    loan,
                    on=max(on, loan["approvedon_date"]),
                    today=self.today,
                    office_id=self._shelf.office(loan),
                    stamp=self._stamp(loan),
                )
            return self._followed("disbursed", loans, Status.ACTIVE)

    def repay(self) -> Action | None:
        """Take a repayment today: an instalment, a part of one, or now and then all that is left."""
        with self.connection.transaction():
            loan = self._shelf.loan("loan_status_id = 300 AND NOT is_charged_off")
            if loan is None:
                return None
            due = till.due(self.connection, loan["id"])
            share = self.rng.randrange(20)
            amount = sum(due[1:], due[0]) if share == 0 else due[0]
            if share > 16:
                amount = rounded(due[0] / 2, loan["currency_digits"]) or due[0]
            till.post(
                self.connection,
                loan["id"],
                on=self.today,
                amount=amount,
                today=self.today,
                stamp=self._stamp(loan),
            )
            return self._done("repaid", [loan], detail=str(amount))

    def repay_late_entry(self) -> Action | None:
        """Enter a repayment that was taken before others already entered: what follows is replayed."""
        with self.connection.transaction():
            loan = self._shelf.loan(
                f"loan_status_id = 300 AND NOT is_charged_off AND ({LAST_REPAYMENT}) > disbursedon_date + 2"
            )
            if loan is None:
                return None
            last = self._shelf.last_repayment(loan)
            on = last - timedelta(self.rng.randrange(1, min(60, (last - loan["disbursedon_date"]).days)))
            due = till.due(self.connection, loan["id"])
            amount = rounded(due[0] / 3, loan["currency_digits"]) or due[0]
            till.post(self.connection, loan["id"], on=on, amount=amount, today=self.today, stamp=self._stamp(loan))
            return self._done("entered late", [loan], detail=on.isoformat())

    def reverse(self) -> Action | None:
        """Reverse a repayment, mostly the last one."""
        with self.connection.transaction():
            loan = self._shelf.loan(
                f"loan_status_id IN (300, 600, 700) AND NOT is_charged_off AND ({LAST_REPAYMENT}) IS NOT NULL"
            )
            if loan is None:
                return None
            found = self.connection.execute(
                "SELECT id FROM m_loan_transaction t WHERE t.loan_id = %(id)s AND NOT is_reversed "
                "AND transaction_type_enum = 2 ORDER BY transaction_date, id",
                {"id": loan["id"]},
            ).fetchall()
            place = -1 if self.rng.randrange(4) else self.rng.randrange(len(found))
            till.reverse(self.connection, loan["id"], found[place][0], today=self.today, stamp=self._stamp(loan))
            return self._done("reversed", [loan], detail=str(found[place][0]))

    def note_for_kiva(self) -> Action | None:
        """Write a follow-up that is marked for Kiva."""
        return self._note("noted for Kiva", lambda branch: remark.for_kiva(branch, self.rng))

    def note_internally(self) -> Action | None:
        """Write a remark that is nobody's business."""
        return self._note("noted internally", lambda _: remark.internal(self.rng))

    def change_client(self) -> Action | None:
        """Give a borrower another last name, or another photo: the file and at most `m_image` change then."""
        with self.connection.transaction():
            loan = self._shelf.loan("loan_status_id IN (200, 300) AND loan_type_enum = 1")
            if loan is None:
                return None
            key, stamp = loan["client_id"], self._stamp(loan)
            client = self._shelf.row("SELECT * FROM m_client WHERE id = %(id)s FOR UPDATE", id=key)
            if client["image_id"] and self.rng.randrange(2):
                location = photo.save(self.photos, key, self.rng, name=f"image{self.rng.randrange(9)}.jpeg")
                fineract.update(self.connection, "m_image", client["image_id"], {"location": location})
                return self._done("photographed", [loan])
            first, _, last = (client["fullname"] or client["display_name"]).partition(" ")
            first = (client["firstname"] or first).strip()  # a name that was in one text is put in order
            last = f"{(client['lastname'] or last or first).split('-')[0]}-{self.rng.choice('ABCDEFGH')}"
            name = {"firstname": first, "lastname": last, "fullname": None, "display_name": f"{first} {last}"}
            fineract.update(self.connection, "m_client", key, name | stamp.modified)
            return self._done("renamed", [loan])

    def _grant(self, terms: Terms, loans: list[int], owner: Row, *, approved: int | None = None) -> Action:
        stamp = self._stamp(owner)
        for loan_id in loans[:approved]:
            credit.approve(self.connection, loan_id, on=self.today, stamp=stamp)
        rows = [self._shelf.row("SELECT * FROM m_loan WHERE id = %(id)s", id=loan_id) for loan_id in loans]
        if rows[0]["glim_id"]:
            credit.follow_children(self.connection, rows[0]["glim_id"], Status.APPROVED)
        if terms.fund_id == KIVA_FUND and self.rng.randrange(3):
            at = stamp.at.replace(tzinfo=None)
            story = (loans[0], self._branch(owner["office_id"]).story, True, at, at)
            self.connection.execute(
                "INSERT INTO dt_kiva (loan_id, story, waiver_signed, created_at, updated_at) "
                "VALUES (%s, %s, %s, %s, %s)",
                story,
            )
        return self._done(f"granted {terms.kind.name.lower()}", rows)

    def _note(self, what: str, write: Callable[[Branch], str]) -> Action | None:
        with self.connection.transaction():
            loan = self._shelf.loan("loan_status_id IN (200, 300)")
            if loan is None:
                return None
            row = {
                "client_id": loan["client_id"],
                "loan_id": loan["id"],
                "note_type_enum": LOAN_NOTE,
                "note": write(self._branch(self._shelf.office(loan))),
            }
            note = fineract.insert(self.connection, "m_note", row | self._stamp(loan).created)
            return self._done(what, [loan], detail=str(note))

    def _terms(self, kind: Kind, office_id: int) -> Terms:
        branch = self._branch(office_id)
        principal = branch.unit * self.rng.randrange(8, 80)
        return Terms(
            kind=kind,
            client_id=None,
            group_id=None,
            glim_id=None,
            product_id=BRANCHES.index(branch) + 1,
            fund_id=KIVA_FUND if self.rng.random() < self._kiva_share else 1,
            officer_id=officer_of(BRANCHES.index(branch)),
            purpose_id=self._purpose(),
            currency=branch.currency,
            digits=branch.digits,
            proposed=principal,
            principal=principal,
            monthly_rate=self.rng.choice(RATES),
            count=self.rng.choice(COUNTS),
            submitted=self.today,
            expected=self.today + timedelta(self.rng.randrange(15)),
        )

    def _purpose(self) -> int:
        common = self.rng.randrange(40) > 0
        name = self.rng.choice(COMMON_PURPOSES if common else tuple(PURPOSES))
        query = "SELECT v.id FROM m_code_value v JOIN m_code c ON c.id = v.code_id"
        return int(self._shelf.value(f"{query} WHERE code_name = 'LoanPurpose' AND code_value = %(name)s", name=name))

    def _branch(self, office_id: int) -> Branch:
        return BRANCHES[office_id - 2]

    def _stamp(self, row: Row) -> Stamp:
        """Now, by the application server's clock, as the teller of that row's branch."""
        return Stamp(row["office_id"] if "office_id" in row else self._shelf.office(row), self._clock.now())

    def _done(self, what: str, loans: list[Row], *, detail: str = "") -> Action:
        identity = loans[0]["account_no"]
        if loans[0]["glim_id"]:
            identity = self._shelf.value(
                "SELECT account_number FROM glim_accounts WHERE id = %(id)s", id=loans[0]["glim_id"]
            )
        kiva = loans[0]["fund_id"] == KIVA_FUND
        return Action(what, identity, tuple(int(loan["id"]) for loan in loans), kiva, detail)

    def _followed(self, what: str, loans: list[Row], status: Status) -> Action | None:
        if not loans:
            return None
        if loans[0]["glim_id"]:
            credit.follow_children(self.connection, loans[0]["glim_id"], status)
        return self._done(what, loans)
